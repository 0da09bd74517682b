//! Limits that stand in a join: they are put above it. A plan that travels does not carry them.

use std::sync::Arc;

use datafusion::{
    common::tree_node::{Transformed, TransformedResult, TreeNode},
    config::ConfigOptions,
    error::Result,
    physical_optimizer::PhysicalOptimizerRule,
    physical_plan::{ExecutionPlan, joins::HashJoinExec, limit::LocalLimitExec},
};

/// Puts the limits of hash joins above them.
#[derive(Debug, Default)]
pub struct KeepFetch;

impl PhysicalOptimizerRule for KeepFetch {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        _config: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        plan.transform_up(limited).data()
    }

    fn name(&self) -> &'static str {
        "keep_fetch"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// A join under its limit, which holds for each partition as the join's own does.
fn limited(node: Arc<dyn ExecutionPlan>) -> Result<Transformed<Arc<dyn ExecutionPlan>>> {
    let Some(fetch) = node.fetch().filter(|_| node.is::<HashJoinExec>()) else {
        return Ok(Transformed::no(node));
    };
    Ok(match node.with_fetch(None) {
        Some(join) => Transformed::yes(Arc::new(LocalLimitExec::new(join, fetch))),
        None => Transformed::no(node),
    })
}
