//! What workers can run by themselves, each on its own slice of the rows.

use std::sync::Arc;

use datafusion::{
    common::tree_node::{TreeNode, TreeNodeRecursion},
    error::Result,
    physical_plan::{
        ExecutionPlan,
        aggregates::{AggregateExec, AggregateMode},
        coop::CooperativeExec,
        empty::EmptyExec,
        filter::FilterExec,
        limit::LocalLimitExec,
        placeholder_row::PlaceholderRowExec,
        projection::ProjectionExec,
        sorts::sort::SortExec,
        union::UnionExec,
        unnest::UnnestExec,
    },
};
use keyloom_common::{
    lookup::KvLookupExec,
    output::WriteExec,
    plan::{FrameScanExec, InputScanExec},
};

/// Whether workers can run the plan partition by partition, each on its own slice.
pub(crate) fn is_fragment(plan: &Arc<dyn ExecutionPlan>) -> bool {
    let local = if let Some(aggregate) = plan.downcast_ref::<AggregateExec>() {
        matches!(aggregate.mode(), AggregateMode::Partial | AggregateMode::PartialReduce)
    } else if let Some(sort) = plan.downcast_ref::<SortExec>() {
        sort.preserve_partitioning()
    } else {
        is_row_by_row(plan)
            || plan.is::<InputScanExec>()
            || plan.is::<FrameScanExec>()
            || plan.is::<EmptyExec>()
            || plan.is::<PlaceholderRowExec>()
            || plan.is::<LocalLimitExec>()
            // Its limit is one of each partition, too.
            || plan.is::<FilterExec>()
            || plan.is::<UnionExec>()
    };
    local && plan.children().into_iter().all(is_fragment)
}

/// Whether a node makes of each row what it makes of it whatever rows stand beside it.
pub(crate) fn is_row_by_row(plan: &Arc<dyn ExecutionPlan>) -> bool {
    plan.is::<KvLookupExec>()
        || plan.is::<ProjectionExec>()
        || plan.downcast_ref::<FilterExec>().is_some_and(|filter| filter.fetch().is_none())
        || plan.is::<UnnestExec>()
        || plan.is::<CooperativeExec>()
}

/// Only workers read files, hold frames, make lookups and write.
pub(crate) fn needs_worker(plan: &Arc<dyn ExecutionPlan>) -> Result<bool> {
    let mut needs = false;
    plan.apply(|node| {
        needs |= node.is::<InputScanExec>()
            || node.is::<FrameScanExec>()
            || node.is::<KvLookupExec>()
            || node.is::<WriteExec>();
        Ok(if needs { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    })?;
    Ok(needs)
}
