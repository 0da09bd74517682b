//! Cutting a fragment into tasks: each is a chain of the fragment's operators over a slice of its
//! input.
//!
//! A fragment has a chain for each input that its unions put together; most have one. A slice is a
//! partition of a chain's leaf or, where a partition is known to hold many rows (a Parquet row
//! group cannot be cut smaller) or its lookups are expected to answer with many bytes, some of its
//! rows. Except in a frame or a single row group, a task then reads the rows before these, too, and
//! drops them, so there is a bound on the slices of a partition. Partitions whose rows become
//! columns of a dataset's fragments are not cut, for such a task needs whole ones. Of what is
//! written otherwise, each task makes files of its own, so it is cut coarsely ([`written`]).

mod written;

use std::{ops::Range, sync::Arc};

use datafusion::physical_plan::{
    ExecutionPlan, ExecutionPlanProperties, filter::FilterExec, limit::LocalLimitExec,
    union::UnionExec,
};
use keyloom_common::{
    Error, Result,
    lookup::{Fetch, KvLookupExec},
    plan::{FrameScanExec, InputScanExec, RowRange, Slice, without_input},
};

use self::written::Coarse;
use crate::write::wants_whole_fragments;

pub use written::WriteGrain;

/// How finely partitions are cut, unless their rows are written as columns of whole fragments.
#[derive(Clone, Copy, Debug)]
pub struct Grain {
    /// How many rows of a file make a slice.
    pub rows: usize,
    /// The most slices of one partition for the sake of its rows.
    pub row_slices: usize,
    /// How many bytes of answers make a slice.
    pub answer_bytes: u64,
    /// The most slices of one partition for the sake of its answers.
    pub answer_slices: usize,
    /// The same of rows that are written.
    pub write: WriteGrain,
}

/// One chain of a fragment's operators, and the slices that tasks run it over.
#[derive(Debug)]
pub struct Chain {
    /// The operators, above a leaf that reads nothing.
    pub plan: Arc<dyn ExecutionPlan>,
    /// Where these stand among the nodes of the fragment, both in pre-order.
    pub places: Vec<usize>,
    /// The leaf with all that it reads.
    leaf: Arc<dyn ExecutionPlan>,
    cuts: Vec<Cut>,
}

/// Where a slice is.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Cut {
    /// In a partition, all of it or some rows.
    In { partition: usize, rows: Option<RowRange> },
    /// In several partitions of a frame or of files, all of them.
    Over(Range<usize>),
}

/// The chains of a fragment and their slices, in the order of their rows.
pub(crate) fn chains(fragment: &Arc<dyn ExecutionPlan>, grain: Grain) -> Result<Vec<Chain>> {
    let mut chains = uncut(fragment, &mut 0)?;
    let coarse = Coarse::of(fragment, &chains, grain);
    for chain in &mut chains {
        let lookups = Lookups::of(&chain.plan);
        chain.cuts = match &coarse {
            Some(coarse) => coarse.cuts(&chain.leaf, &lookups, grain),
            None => lookups.cuts(&chain.leaf, grain),
        };
    }
    Ok(chains)
}

impl Chain {
    /// How many slices there are.
    pub fn tasks(&self) -> usize {
        self.cuts.len()
    }

    /// The slices, in the order of their rows.
    ///
    /// # Errors
    /// Of a slice: `internal`, never for a chain that was cut here.
    pub fn slices(&self) -> impl Iterator<Item = Result<Slice>> {
        self.cuts.iter().map(|cut| match cut {
            Cut::In { partition, rows } => Slice::of(&self.leaf, *partition, *rows),
            Cut::Over(partitions) => Slice::joined(&self.leaf, partitions.clone()),
        })
    }
}

/// The chains of a fragment, not cut yet. Its nodes stand at the places from the next one on.
fn uncut(plan: &Arc<dyn ExecutionPlan>, next: &mut usize) -> Result<Vec<Chain>> {
    let place = *next;
    *next += 1;
    let mut chains = Vec::new();
    match plan.children().as_slice() {
        [] => {
            let (bare, leaf) = (without_input(plan), Arc::clone(plan));
            chains.push(Chain { plan: bare, places: vec![place], leaf, cuts: Vec::new() });
        }
        // The partitions of a union are those of its inputs, one after the other.
        inputs if plan.is::<UnionExec>() => {
            for input in inputs {
                chains.extend(uncut(input, next)?);
            }
        }
        [input] => {
            chains = uncut(input, next)?;
            for chain in &mut chains {
                let below = Arc::clone(&chain.plan);
                chain.plan = Arc::clone(plan).with_new_children(vec![below])?;
                chain.places.insert(0, place);
            }
        }
        _ => {
            let node = plan.name();
            return Err(Error::internal(format!("{node} in a fragment has several inputs")));
        }
    }
    Ok(chains)
}

/// What is known of the lookups of a chain.
#[derive(Debug, Default)]
struct Lookups {
    /// Whether only some of the rows may be wanted: each slice would look so many up.
    are_limited: bool,
    /// The bytes that they are expected to add to a row.
    answer_bytes: u64,
    /// Whether what becomes of the rows needs all of a partition.
    are_whole: bool,
}

impl Lookups {
    fn of(chain: &Arc<dyn ExecutionPlan>) -> Self {
        let children = chain.children();
        let Some(input) = children.first() else { return Self::default() };
        let mut known = Self::of(input);
        let has_limit = chain.is::<LocalLimitExec>() || chain.is::<FilterExec>();
        known.are_limited |= has_limit && chain.fetch().is_some();
        known.are_whole |= wants_whole_fragments(chain);
        if let Some(lookup) = chain.downcast_ref::<KvLookupExec>() {
            let fetches = lookup.waves().iter().flat_map(|wave| &wave.fetches);
            known.answer_bytes += fetches.map(Fetch::answer_bytes).sum::<u64>();
        }
        known
    }

    fn cuts(&self, leaf: &Arc<dyn ExecutionPlan>, grain: Grain) -> Vec<Cut> {
        let partitions = 0..leaf.output_partitioning().partition_count();
        let cuts = partitions.flat_map(|partition| self.cuts_of(leaf, partition, grain));
        cuts.collect()
    }

    fn cuts_of(&self, leaf: &Arc<dyn ExecutionPlan>, partition: usize, grain: Grain) -> Vec<Cut> {
        let whole = vec![Cut::In { partition, rows: None }];
        let Some(rows) = known_rows(leaf, partition).filter(|_| !self.are_whole) else {
            return whole;
        };
        // Whoever made a frame has cut it by rows.
        let by_rows = if leaf.is::<FrameScanExec>() { 1 } else { cuts_by_rows(rows, grain) };
        let count = by_rows.max(self.cuts_by_answers(rows, grain));
        if count <= 1 {
            return whole;
        }
        let length = rows.div_ceil(count);
        let count = rows.div_ceil(length);
        let range = |index| RowRange {
            start: index * length,
            // The last one goes to the end, whatever was known before.
            length: (index + 1 < count).then_some(length),
        };
        (0..count).map(|index| Cut::In { partition, rows: Some(range(index)) }).collect()
    }

    fn cuts_by_answers(&self, rows: usize, grain: Grain) -> usize {
        if self.are_limited {
            return 1;
        }
        let bytes = self.answer_bytes.saturating_mul(rows as u64);
        let cuts = bytes.div_ceil(grain.answer_bytes.max(1));
        usize::try_from(cuts).unwrap_or(usize::MAX).min(grain.answer_slices).min(rows)
    }
}

fn cuts_by_rows(rows: usize, grain: Grain) -> usize {
    rows.div_ceil(grain.rows.max(1)).min(grain.row_slices)
}

/// How many rows are wanted of a partition, if it is a frame's, or of files that all say how many
/// they hold.
fn known_rows(leaf: &Arc<dyn ExecutionPlan>, partition: usize) -> Option<usize> {
    if let Some(frame) = leaf.downcast_ref::<FrameScanExec>() {
        return Some(frame.partitions().get(partition)?.rows as usize);
    }
    let scan = leaf.downcast_ref::<InputScanExec>()?;
    let rows = scan.partitions().get(partition)?.known_rows()? as usize;
    Some(rows.min(scan.limit().unwrap_or(usize::MAX)))
}

#[cfg(test)]
mod tests;
