//! Cutting a fragment into tasks: each is the same plan over a slice of the input.
//!
//! A slice is one partition of the fragment or, where a partition is known to hold many rows (a
//! Parquet row group cannot be cut smaller) or its lookups are expected to answer with many bytes, a
//! range of its rows. Except in a frame or a single row group, a task then reads the rows before its
//! range, too, and drops them, so there is a bound on the ranges of a partition.

use std::sync::Arc;

use datafusion::{
    error::Result,
    physical_plan::{
        ExecutionPlan, ExecutionPlanProperties,
        limit::{GlobalLimitExec, LocalLimitExec},
        union::UnionExec,
    },
};
use keyloom_common::{
    Error,
    lookup::{Fetch, KvLookupExec},
    plan::{FrameScanExec, InputScanExec, RowRange, ScanPartition},
};

/// How finely partitions are cut.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Grain {
    /// How many rows of a file make a slice.
    pub(crate) rows: usize,
    /// The most slices of one partition for the sake of its rows.
    pub(crate) row_slices: usize,
    /// How many bytes of answers make a slice.
    pub(crate) answer_bytes: u64,
    /// The most slices of one partition for the sake of its answers.
    pub(crate) answer_slices: usize,
}

/// The input of one task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Slice {
    partition: usize,
    rows: Option<RowRange>,
}

/// The slices of a fragment, in the order of their rows.
pub(crate) fn slices(fragment: &Arc<dyn ExecutionPlan>, grain: Grain) -> Vec<Slice> {
    let partitions = 0..fragment.output_partitioning().partition_count();
    partitions.flat_map(|partition| slices_of(fragment, partition, grain)).collect()
}

fn slices_of(fragment: &Arc<dyn ExecutionPlan>, partition: usize, grain: Grain) -> Vec<Slice> {
    let whole = vec![Slice { partition, rows: None }];
    let Some(branch) = branch(fragment, partition) else { return whole };
    let count = branch.slices_by_rows(grain).max(branch.slices_by_answers(grain));
    if count <= 1 {
        return whole;
    }
    let length = branch.rows.div_ceil(count);
    let count = branch.rows.div_ceil(length);
    let range = |index| RowRange {
        start: index * length,
        // The last one goes to the end, whatever was known before.
        length: (index + 1 < count).then_some(length),
    };
    (0..count).map(|index| Slice { partition, rows: Some(range(index)) }).collect()
}

/// What is known of a partition of a fragment.
struct Branch {
    /// The rows of its input that are wanted.
    rows: usize,
    /// Whether the input is a frame: whoever made it has cut it by rows.
    is_frame: bool,
    /// Whether only some of the rows may be wanted: each slice would look so many up.
    is_limited: bool,
    /// The bytes that its lookups are expected to add to a row.
    answer_bytes: u64,
}

impl Branch {
    fn of(rows: usize, is_frame: bool) -> Self {
        Self { rows, is_frame, is_limited: false, answer_bytes: 0 }
    }

    fn slices_by_rows(&self, grain: Grain) -> usize {
        if self.is_frame { 1 } else { self.rows.div_ceil(grain.rows.max(1)).min(grain.row_slices) }
    }

    fn slices_by_answers(&self, grain: Grain) -> usize {
        if self.is_limited {
            return 1;
        }
        let bytes = self.answer_bytes.saturating_mul(self.rows as u64);
        let slices = bytes.div_ceil(grain.answer_bytes.max(1));
        usize::try_from(slices).unwrap_or(usize::MAX).min(grain.answer_slices).min(self.rows)
    }
}

/// The branch that ends in a partition's input, if that is a frame or files that all say how many
/// rows they hold.
fn branch(plan: &Arc<dyn ExecutionPlan>, partition: usize) -> Option<Branch> {
    if let Some(frame) = plan.downcast_ref::<FrameScanExec>() {
        return Some(Branch::of(frame.partitions().get(partition)?.rows as usize, true));
    }
    if let Some(scan) = plan.downcast_ref::<InputScanExec>() {
        let rows = scan.partitions().get(partition)?.known_rows()? as usize;
        return Some(Branch::of(rows.min(scan.limit().unwrap_or(usize::MAX)), false));
    }
    if plan.is::<UnionExec>() {
        let (input, partition) = input_of_union(plan, partition)?;
        return branch(input, partition);
    }
    let children = plan.children();
    let [input] = children.as_slice() else { return None };
    let mut branch = branch(input, partition)?;
    branch.is_limited |= plan.is::<LocalLimitExec>();
    if let Some(lookup) = plan.downcast_ref::<KvLookupExec>() {
        let fetches = lookup.waves().iter().flat_map(|wave| &wave.fetches);
        branch.answer_bytes += fetches.map(Fetch::answer_bytes).sum::<u64>();
    }
    Some(branch)
}

/// The fragment over one slice.
pub(crate) fn cut_out(
    fragment: &Arc<dyn ExecutionPlan>,
    slice: Slice,
) -> Result<Arc<dyn ExecutionPlan>> {
    narrow(fragment, slice.partition, slice.rows)
}

fn narrow(
    plan: &Arc<dyn ExecutionPlan>,
    partition: usize,
    rows: Option<RowRange>,
) -> Result<Arc<dyn ExecutionPlan>> {
    if let Some(frame) = plan.downcast_ref::<FrameScanExec>() {
        let only = frame.with_partitions(vec![frame.partitions()[partition]])?;
        return Ok(limited(Arc::new(only), rows));
    }
    if let Some(scan) = plan.downcast_ref::<InputScanExec>() {
        let slices = scan.partitions()[partition].slices.clone();
        return Ok(Arc::new(scan.with_partitions(vec![ScanPartition { slices, rows }])));
    }
    if plan.is::<UnionExec>() {
        let (input, partition) = input_of_union(plan, partition)
            .ok_or_else(|| Error::internal(format!("a union has no partition {partition}")))?;
        return narrow(input, partition, rows);
    }
    let children = plan.children();
    let [input] = children.as_slice() else { return Ok(Arc::clone(plan)) };
    Arc::clone(plan).with_new_children(vec![narrow(input, partition, rows)?])
}

fn limited(scan: Arc<dyn ExecutionPlan>, rows: Option<RowRange>) -> Arc<dyn ExecutionPlan> {
    match rows {
        Some(rows) => Arc::new(GlobalLimitExec::new(scan, rows.start, rows.length)),
        None => scan,
    }
}

/// The partitions of a union are those of its inputs, one after the other.
fn input_of_union(
    plan: &Arc<dyn ExecutionPlan>,
    partition: usize,
) -> Option<(&Arc<dyn ExecutionPlan>, usize)> {
    let mut before = 0;
    for input in plan.children() {
        let partitions = input.output_partitioning().partition_count();
        if partition < before + partitions {
            return Some((input, partition - before));
        }
        before += partitions;
    }
    None
}

#[cfg(test)]
mod tests;
