//! Groups by constants alone, as of `SELECT 'all', count(*) FROM t GROUP BY 1`.
//!
//! DataFusion takes constants out of what is grouped by. Where that is all, the aggregate that is
//! left makes one row of no rows at all, though no group is there.

use std::sync::Arc;

use datafusion::{
    common::tree_node::Transformed,
    error::Result,
    logical_expr::LogicalPlan,
    optimizer::{ApplyOrder, OptimizerConfig, OptimizerRule},
};

/// DataFusion's rule that takes out constants, which leaves groups that are by them alone.
#[derive(Debug)]
pub(crate) struct KeepGroups(pub(crate) Arc<dyn OptimizerRule + Send + Sync>);

impl OptimizerRule for KeepGroups {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        self.0.apply_order()
    }

    fn rewrite(
        &self,
        plan: LogicalPlan,
        config: &dyn OptimizerConfig,
    ) -> Result<Transformed<LogicalPlan>> {
        if !matches!(plan, LogicalPlan::Aggregate(_)) {
            return self.0.rewrite(plan, config);
        }
        let grouped = plan.clone();
        let rewritten = self.0.rewrite(plan, config)?;
        let is_lost = rewritten.transformed && rewritten.data.inputs().iter().any(is_ungrouped);
        Ok(if is_lost { Transformed::no(grouped) } else { rewritten })
    }
}

fn is_ungrouped(plan: &&LogicalPlan) -> bool {
    matches!(plan, LogicalPlan::Aggregate(aggregate) if aggregate.group_expr.is_empty())
}
