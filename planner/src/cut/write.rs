//! Cutting a plan that writes. Writing is the work of a fragment's tasks, each of which writes its
//! own rows and hands in what it has written; above them stands the commit.

use std::sync::Arc;

use datafusion::{
    common::tree_node::{TreeNode, TreeNodeRecursion},
    error::Result,
    physical_plan::{ExecutionPlan, coalesce_partitions::CoalescePartitionsExec},
};
use keyloom_common::{Error, output::WriteExec};

use super::{Cutter, lowest_lookup};
use crate::{fragment::Reading, local::is_fragment};

impl Cutter<'_> {
    /// The commit of what a fragment writes. Rows that are not a fragment's are the coordinator's,
    /// and sent out in slices: those of a shuffle, too, which come to it first.
    pub(super) fn write(&mut self, write: &WriteExec) -> Result<Arc<dyn ExecutionPlan>> {
        let input = unmerged(write.input());
        refuse_writes(input)?;
        let output = write.output();
        let plan: Arc<dyn ExecutionPlan> =
            Arc::new(WriteExec::new(Arc::clone(input), Arc::clone(output)));
        let pieces = if is_fragment(input) {
            self.sliced(plan, Reading::Ordered, false)?
        } else {
            match lowest_lookup(input) {
                Some(lookup) => self.over_coordinator(&plan, lookup.children()[0], false)?,
                None => self.over_coordinator(&plan, input, false)?,
            }
        };
        Ok(self.gather.commit(pieces, Arc::clone(output)))
    }
}

/// Rows before they are put together: pieces have an order of their own.
fn unmerged(plan: &Arc<dyn ExecutionPlan>) -> &Arc<dyn ExecutionPlan> {
    match plan.downcast_ref::<CoalescePartitionsExec>() {
        Some(merge) if merge.fetch().is_none() => unmerged(merge.input()),
        _ => plan,
    }
}

/// Refuses a plan that writes: a job has one output, which is the end of it.
pub(super) fn refuse_writes(plan: &Arc<dyn ExecutionPlan>) -> Result<()> {
    let mut writes = false;
    plan.apply(|node| {
        writes |= node.is::<WriteExec>();
        Ok(if writes { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    })?;
    if !writes {
        return Ok(());
    }
    Err(Error::invalid("a job has one output, which is written at its end").into())
}
