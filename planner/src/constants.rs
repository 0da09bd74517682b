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

#[cfg(test)]
mod tests {
    use datafusion::{execution::SessionStateBuilder, prelude::*};

    use crate::rules::logical_rules;

    async fn count(sql: &str) -> usize {
        let state = SessionStateBuilder::new()
            .with_default_features()
            .with_optimizer_rules(logical_rules());
        let context = SessionContext::new_with_state(state.build());
        context.sql(sql).await.unwrap().count().await.unwrap()
    }

    #[tokio::test]
    async fn no_rows_are_of_no_group() {
        let none = "FROM (VALUES (1), (2)) AS t(k) WHERE k > 2";
        for group in ["1", "1, 1 + 1", "1, k", "1, k, k + 1"] {
            let sql = format!("SELECT 'all', count(*) {none} GROUP BY {group}");
            assert_eq!(count(&sql).await, 0, "{sql}");
        }
        assert_eq!(count(&format!("SELECT count(*) {none}")).await, 1);
    }

    #[tokio::test]
    async fn rows_are_of_the_groups_that_they_were_of() {
        for (group, groups) in [("1", 1), ("1, 1 + 1", 1), ("1, k", 2), ("1, k, k + 1", 2)] {
            let sql = format!(
                "SELECT 'all', count(*) FROM (VALUES (1), (2), (2)) AS t(k) GROUP BY {group}"
            );
            assert_eq!(count(&sql).await, groups, "{sql}");
        }
    }
}
