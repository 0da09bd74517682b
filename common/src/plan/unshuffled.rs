//! Plans whose rows are shuffled, as such that do without.

use std::sync::Arc;

use datafusion::{
    common::tree_node::{Transformed, TransformedResult, TreeNode},
    error::Result,
    physical_plan::{
        ExecutionPlan, Partitioning, coalesce_partitions::CoalescePartitionsExec,
        repartition::RepartitionExec,
    },
};

/// The node as one that repartitions rows by hash, if it is.
pub fn by_hash(node: &Arc<dyn ExecutionPlan>) -> Option<&RepartitionExec> {
    let repartition = node.downcast_ref::<RepartitionExec>()?;
    matches!(repartition.partitioning(), Partitioning::Hash(..)).then_some(repartition)
}

/// A plan that gives the same rows without a shuffle.
///
/// # Errors
/// Never, for a plan that exists.
pub fn unshuffled(plan: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    plan.transform_up(|node| {
        Ok(match by_hash(&node) {
            Some(repartition) => {
                let merged = CoalescePartitionsExec::new(Arc::clone(repartition.input()));
                Transformed::yes(Arc::new(merged) as Arc<dyn ExecutionPlan>)
            }
            None => Transformed::no(node),
        })
    })
    .data()
}
