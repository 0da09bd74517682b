//! What DataFusion takes for determined by other columns, forgotten.
//!
//! What makes groups determines their other columns, and DataFusion cuts groups, sorts and
//! `DISTINCT` short by that. But past a projection it counts columns without those that are
//! computed, so that another one is taken for what stands behind them: above
//! `SELECT k, k + 1 AS b, j … GROUP BY k, j`, `GROUP BY k, b, j` and `ORDER BY k, b, j` lost `j`.
//! And what determined the rows of one side of a join counts as if it determined groups by more
//! than that.

use std::sync::Arc;

use datafusion::{
    common::{
        DFSchemaRef, FunctionalDependencies,
        tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion},
    },
    error::Result,
    logical_expr::{Distinct, LogicalPlan},
    optimizer::{OptimizerConfig, OptimizerRule},
};

/// Forgets what determines what, for the rule after it. Other rules make it anew.
#[derive(Debug)]
pub(crate) struct ForgetDependencies;

impl OptimizerRule for ForgetDependencies {
    fn name(&self) -> &'static str {
        "forget_dependencies"
    }

    fn rewrite(
        &self,
        plan: LogicalPlan,
        _config: &dyn OptimizerConfig,
    ) -> Result<Transformed<LogicalPlan>> {
        plan.transform_down_with_subqueries(forget)
    }
}

/// A plan that tells those above it of no column that others determine it.
///
/// `GROUP BY k, b` has the planner of SQL group by what `k` and `b` determine, too, so that it can
/// be among the outputs: nobody could tell later that it is not what was written.
///
/// # Errors
/// DataFusion's.
pub fn forget_dependencies(plan: LogicalPlan) -> Result<LogicalPlan> {
    let told = plan.transform_down(|mut node| {
        let below = match schema(&mut node) {
            Some(_) => TreeNodeRecursion::Stop,
            None => TreeNodeRecursion::Continue,
        };
        let forgotten = forget(node)?;
        Ok(Transformed::new(forgotten.data, forgotten.transformed, below))
    });
    told.data()
}

fn forget(mut node: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    let known = schema(&mut node).filter(|schema| !schema.functional_dependencies().is_empty());
    let Some(known) = known else { return Ok(Transformed::no(node)) };
    let bare = known.as_ref().clone();
    *known = Arc::new(bare.with_functional_dependencies(FunctionalDependencies::empty())?);
    Ok(Transformed::yes(node))
}

/// The schema of a node that has one of its own, and not its input's.
fn schema(node: &mut LogicalPlan) -> Option<&mut DFSchemaRef> {
    Some(match node {
        LogicalPlan::Projection(projection) => &mut projection.schema,
        LogicalPlan::Aggregate(aggregate) => &mut aggregate.schema,
        LogicalPlan::Window(window) => &mut window.schema,
        LogicalPlan::Join(join) => &mut join.schema,
        LogicalPlan::SubqueryAlias(alias) => &mut alias.schema,
        LogicalPlan::Unnest(unnest) => &mut unnest.schema,
        LogicalPlan::Union(union) => &mut union.schema,
        LogicalPlan::Distinct(Distinct::On(distinct)) => &mut distinct.schema,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use datafusion::{
        arrow::{array::AsArray, datatypes::Int64Type},
        execution::SessionStateBuilder,
        prelude::*,
    };

    use super::*;
    use crate::rules::logical_rules;

    const ROWS: &str = "(VALUES (1, 1), (1, 2), (1, 3), (2, 4), (2, 5)) AS t(k, j)";

    /// The values of the last column.
    async fn last(sql: &str) -> Vec<i64> {
        let state = SessionStateBuilder::new()
            .with_default_features()
            .with_optimizer_rules(logical_rules());
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

    #[tokio::test]
    async fn groups_are_by_what_stands_behind_computed_columns() {
        let rows = format!("SELECT k, k + 1 AS b, j FROM {ROWS} GROUP BY k, j");
        let sql = format!("SELECT k, b, count(*) FROM ({rows}) AS q GROUP BY k, b, j");
        assert_eq!(last(&sql).await, [1; 5]);
    }

    #[tokio::test]
    async fn groups_of_joined_rows_are_by_columns_of_both_sides() {
        let groups = format!("SELECT k, max(j) AS most FROM {ROWS} GROUP BY k");
        let rows = format!("SELECT q.k, j FROM ({groups}) AS q JOIN {ROWS} ON q.k = t.k");
        let rows = format!("SELECT k, j, count(*) FROM ({rows}) AS r GROUP BY k, j");
        let sql = format!("SELECT k, count(*) FROM ({rows}) AS s GROUP BY k, j");
        assert_eq!(last(&sql).await, [1; 5]);
    }

    #[tokio::test]
    async fn a_plan_tells_nothing_of_its_columns() {
        let context = SessionContext::new();
        let groups = format!("SELECT k, count(*) AS n FROM {ROWS} GROUP BY k ORDER BY k LIMIT 1");
        for sql in [groups.clone(), format!("SELECT * FROM ({groups}) AS q WHERE n > 1")] {
            let plan = context.state().create_logical_plan(&sql).await.unwrap();
            assert!(!plan.schema().functional_dependencies().is_empty(), "{sql}");
            let told = forget_dependencies(plan.clone()).unwrap();
            assert!(told.schema().functional_dependencies().is_empty(), "{sql}");
            let show = |plan: &LogicalPlan| plan.display_indent_schema().to_string();
            assert_eq!(show(&told), show(&plan));
        }
    }
}
