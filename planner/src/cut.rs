//! Cutting a physical plan: the largest parts that workers can run on slices of their input become
//! fragments; what stands above them runs on the coordinator.
//!
//! A part whose rows are shuffled is a fragment, too, of one task: it is run by several workers,
//! who do that among themselves.
//!
//! A fragment's rows are gathered in task order, so a cut plan has one partition wherever it reads
//! a fragment, except below a merge of sorted runs.
//!
//! What a job writes, it writes at its end: the root of a plan may be a node that writes, which
//! becomes part of a fragment, and nothing else may.

mod write;

use std::{mem, sync::Arc};

use datafusion::{
    error::Result,
    physical_expr::LexOrdering,
    physical_plan::{
        ExecutionPlan, ExecutionPlanProperties,
        coalesce_partitions::CoalescePartitionsExec,
        sorts::{sort::SortExec, sort_preserving_merge::SortPreservingMergeExec},
        union::UnionExec,
    },
};
use keyloom_common::{
    lookup::KvLookupExec,
    output::{PreparedOutput, WriteExec},
    plan::{FramePartition, FrameScanExec},
};

use crate::{
    fragment::{Fragment, KeySet, Reading, Source},
    key_sets::{cuts_short, key_sets},
    local::{is_fragment, is_row_by_row, needs_worker},
    shuffle::is_shuffled,
    slice::{Grain, chains},
};

/// The coordinator's operators for the places where a plan is cut. What they do when they are
/// executed is no business of planning.
pub trait Gather {
    /// The operator whose rows are those of a fragment, run by workers. A fragment whose input is
    /// rows has the operator that makes them for its only child.
    fn remote(&self, fragment: Fragment) -> Arc<dyn ExecutionPlan>;

    /// The operator whose one partition is those of another, one after the other.
    fn concat(&self, parts: Arc<dyn ExecutionPlan>) -> Arc<dyn ExecutionPlan>;

    /// The operator that makes visible what tasks have written, of which its input tells, and whose
    /// one row says what that is.
    fn commit(
        &self,
        pieces: Arc<dyn ExecutionPlan>,
        output: Arc<PreparedOutput>,
    ) -> Arc<dyn ExecutionPlan>;
}

/// The part of a plan for the coordinator: one partition, whose rows stand in order. In the places
/// of the fragments for workers it has operators that `gather` makes.
///
/// # Errors
/// `invalid` if the plan writes elsewhere than at its end.
pub fn cut(
    plan: Arc<dyn ExecutionPlan>,
    grain: Grain,
    gather: &dyn Gather,
) -> Result<Arc<dyn ExecutionPlan>> {
    let mut cutter = Cutter { stages: 0, collects: false, grain, gather };
    match plan.downcast_ref::<WriteExec>() {
        Some(write) => cutter.write(write),
        None => {
            write::refuse_writes(&plan)?;
            cutter.single(plan, false)
        }
    }
}

struct Cutter<'a> {
    stages: u32,
    /// Whether what is being cut collects keys.
    collects: bool,
    grain: Grain,
    gather: &'a dyn Gather,
}

impl Cutter<'_> {
    /// The plan, cut, with one partition whose rows stand in order. Of one that is cut short, only
    /// some rows may be wanted.
    fn single(
        &mut self,
        plan: Arc<dyn ExecutionPlan>,
        is_cut_short: bool,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let plan = self.plan(plan, is_cut_short)?;
        Ok(match plan.output_partitioning().partition_count() {
            1 => plan,
            _ => self.gather.concat(plan),
        })
    }

    fn plan(
        &mut self,
        plan: Arc<dyn ExecutionPlan>,
        is_cut_short: bool,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        if is_fragment(&plan) {
            // Rows that the coordinator would only pass to itself need no worker.
            return if needs_worker(&plan)? {
                self.sliced(plan, Reading::Ordered, is_cut_short)
            } else {
                Ok(plan)
            };
        }
        if is_shuffled(&plan)? {
            let merged = Arc::new(CoalescePartitionsExec::new(plan));
            return Ok(self.remote(merged, Source::Shuffle, Reading::Ordered, Vec::new()));
        }
        if let Some(merge) = plan.downcast_ref::<CoalescePartitionsExec>()
            && merge.fetch().is_none()
        {
            return self.single(Arc::clone(merge.input()), is_cut_short);
        }
        if let Some(merge) = plan.downcast_ref::<SortPreservingMergeExec>() {
            let below = cuts_short(&plan, is_cut_short);
            let runs = self.runs(merge.input(), merge.expr(), below)?;
            return plan.with_new_children(vec![runs]);
        }
        if let Some(lookup) = lowest_lookup(&plan) {
            return self.over_coordinator(&plan, lookup.children()[0], is_cut_short);
        }
        self.above(plan, is_cut_short)
    }

    /// Sorted runs that are to be merged, cut: each partition is one. Where the partitions of a plan
    /// become one, they are sorted anew.
    fn runs(
        &mut self,
        plan: &Arc<dyn ExecutionPlan>,
        order: &LexOrdering,
        is_cut_short: bool,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        if is_fragment(plan) {
            return self.sliced(Arc::clone(plan), Reading::Runs, is_cut_short);
        }
        if plan.is::<UnionExec>() {
            let inputs = plan.children().into_iter();
            let inputs = inputs.map(|input| self.runs(input, order, is_cut_short));
            let inputs = inputs.collect::<Result<_>>()?;
            return Arc::clone(plan).with_new_children(inputs);
        }
        if is_shuffled(plan)? {
            // Merged where they are: one run comes here.
            let merged = SortPreservingMergeExec::new(order.clone(), Arc::clone(plan));
            let (merged, source) = (Arc::new(merged), Source::Shuffle);
            return Ok(self.remote(merged, source, Reading::Ordered, Vec::new()));
        }
        let is_one_run = plan.output_partitioning().partition_count() == 1;
        let run = self.single(Arc::clone(plan), is_cut_short)?;
        Ok(if is_one_run { run } else { Arc::new(SortExec::new(order.clone(), run)) })
    }

    /// A node that the coordinator runs.
    fn above(
        &mut self,
        plan: Arc<dyn ExecutionPlan>,
        is_cut_short: bool,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let children: Vec<_> = plan.children().into_iter().cloned().collect();
        if children.is_empty() {
            return Ok(plan);
        }
        let below = cuts_short(&plan, is_cut_short);
        let children =
            children.into_iter().map(|child| self.single(child, below)).collect::<Result<_>>()?;
        plan.with_new_children(children)
    }

    /// A chain of nodes for workers down to rows that are the coordinator's: these are sent out in
    /// slices.
    fn over_coordinator(
        &mut self,
        plan: &Arc<dyn ExecutionPlan>,
        rows: &Arc<dyn ExecutionPlan>,
        is_cut_short: bool,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let input = self.single(Arc::clone(rows), is_cut_short)?;
        let schema = input.schema();
        let leaf: Arc<dyn ExecutionPlan> =
            Arc::new(FrameScanExec::try_new(vec![FramePartition::NONE], schema, None)?);
        let fragment = replace(plan, rows, leaf)?;
        Ok(self.remote(fragment, Source::Rows(input), Reading::Ordered, Vec::new()))
    }

    fn sliced(
        &mut self,
        fragment: Arc<dyn ExecutionPlan>,
        reading: Reading,
        is_cut_short: bool,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let chains = chains(&fragment, self.grain)?;
        let mut key_sets = key_sets(&fragment, is_cut_short)?;
        for key_set in &mut key_sets {
            key_set.keys = self.keys(Arc::clone(&key_set.keys))?;
        }
        Ok(self.remote(fragment, Source::Slices(chains.into()), reading, key_sets))
    }

    /// The plan that collects keys, cut.
    fn keys(&mut self, plan: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
        let before = mem::replace(&mut self.collects, true);
        let plan = self.single(plan, false);
        self.collects = before;
        plan
    }

    fn remote(
        &mut self,
        plan: Arc<dyn ExecutionPlan>,
        source: Source,
        reading: Reading,
        key_sets: Vec<KeySet>,
    ) -> Arc<dyn ExecutionPlan> {
        let (stage, collects) = (self.stages, self.collects);
        self.stages += 1;
        self.gather.remote(Fragment { stage, plan, source, reading, key_sets, collects })
    }
}

/// The lowest lookup below nodes that treat each row by itself, if the plan is such a chain.
fn lowest_lookup(plan: &Arc<dyn ExecutionPlan>) -> Option<Arc<dyn ExecutionPlan>> {
    let (mut node, mut lowest) = (plan, None);
    while is_row_by_row(node) {
        if node.is::<KvLookupExec>() {
            lowest = Some(Arc::clone(node));
        }
        node = *node.children().first()?;
    }
    lowest
}

/// The chain down to a node, with another in the place of that node.
fn replace(
    plan: &Arc<dyn ExecutionPlan>,
    node: &Arc<dyn ExecutionPlan>,
    by: Arc<dyn ExecutionPlan>,
) -> Result<Arc<dyn ExecutionPlan>> {
    if Arc::ptr_eq(plan, node) {
        return Ok(by);
    }
    let below = replace(plan.children()[0], node, by)?;
    Arc::clone(plan).with_new_children(vec![below])
}

#[cfg(test)]
mod tests;
