//! Columns that DataFusion takes for determined by others, above computed ones.
//!
//! What makes groups determines their other columns, and sorts and `DISTINCT` are cut short by
//! that. But past a projection it counts columns without those that are computed, so that another
//! one is taken for what stands behind them: `ORDER BY k, b, j` lost `j` above
//! `SELECT k, k + 1 AS b, j … GROUP BY k, j`. So neither is cut short above a computed column.

use std::sync::Arc;

use datafusion::{
    common::tree_node::{Transformed, TreeNode},
    error::Result,
    logical_expr::{Aggregate, Distinct, Expr, LogicalPlan},
    optimizer::{ApplyOrder, OptimizerConfig, OptimizerRule},
};

use crate::narrow::unaliased;

type Rule = Arc<dyn OptimizerRule + Send + Sync>;

/// DataFusion's rules by which sorts lose columns and `DISTINCT` goes.
const CUTTING: [&str; 2] = ["eliminate_duplicated_expr", "replace_distinct_aggregate"];

/// One of DataFusion's rules that cut sorts and `DISTINCT` short, where it counts rightly.
#[derive(Debug)]
pub struct KeepDetermined(Rule);

impl KeepDetermined {
    /// The rules, with it in the places of those that cut short.
    #[must_use]
    pub fn among(rules: Vec<Rule>) -> Vec<Rule> {
        let kept = |rule: Rule| -> Rule {
            let cuts = CUTTING.contains(&rule.name());
            if cuts { Arc::new(Self(rule)) } else { rule }
        };
        rules.into_iter().map(kept).collect()
    }
}

impl OptimizerRule for KeepDetermined {
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
        match &plan {
            LogicalPlan::Sort(sort) if has_computed(&sort.input)? => Ok(Transformed::no(plan)),
            LogicalPlan::Distinct(Distinct::All(input)) if has_computed(input)? => {
                let columns = input.schema().columns().into_iter().map(Expr::Column).collect();
                let groups = Aggregate::try_new(Arc::clone(input), columns, Vec::new())?;
                Ok(Transformed::yes(LogicalPlan::Aggregate(groups)))
            }
            _ => self.0.rewrite(plan, config),
        }
    }
}

/// Whether columns are computed somewhere below.
fn has_computed(plan: &LogicalPlan) -> Result<bool> {
    plan.exists(|node| {
        let LogicalPlan::Projection(projection) = node else { return Ok(false) };
        Ok(projection.expr.iter().any(|expr| !matches!(unaliased(expr), Expr::Column(_))))
    })
}

#[cfg(test)]
mod tests {
    use datafusion::{
        arrow::{array::AsArray, datatypes::Int64Type},
        execution::SessionStateBuilder,
        optimizer::Optimizer,
        prelude::*,
    };

    use super::*;

    const ROWS: &str = "(VALUES (1, 1), (1, 2), (1, 3), (2, 4), (2, 5)) AS t(k, j)";

    /// The values of the last column.
    async fn last(sql: &str) -> Vec<i64> {
        let state = SessionStateBuilder::new()
            .with_default_features()
            .with_optimizer_rules(KeepDetermined::among(Optimizer::new().rules));
        let context = SessionContext::new_with_state(state.build());
        let batches = context.sql(sql).await.unwrap().collect().await.unwrap();
        let values = batches.iter().flat_map(|batch| {
            batch.column(batch.num_columns() - 1).as_primitive::<Int64Type>().values().to_vec()
        });
        values.collect()
    }

    #[tokio::test]
    async fn rows_are_sorted_by_what_stands_behind_computed_columns() {
        for sql in [
            format!("SELECT k, k + 1 AS b, j FROM {ROWS} GROUP BY k, j ORDER BY k, b, j DESC"),
            format!("SELECT k, sum(j) * 0 AS b, j FROM {ROWS} GROUP BY k, j ORDER BY k, b, j DESC"),
        ] {
            assert_eq!(last(&sql).await, [3, 2, 1, 5, 4], "{sql}");
        }
    }

    #[tokio::test]
    async fn distinct_rows_beside_computed_columns_come_once() {
        let groups = format!("SELECT j % 2 AS b, k, j FROM {ROWS} GROUP BY k, j");
        let sql = format!("SELECT DISTINCT b, k FROM ({groups}) AS q ORDER BY k, b");
        assert_eq!(last(&sql).await, [1, 1, 2, 2]);
    }
}
