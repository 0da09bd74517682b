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

use crate::holds::has_node;

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
        let tells = |node: &LogicalPlan| !node.schema().functional_dependencies().is_empty();
        if !has_node(&plan, tells)? {
            return Ok(Transformed::no(plan));
        }
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
    use datafusion::prelude::SessionContext;

    use super::*;

    #[tokio::test]
    async fn a_plan_tells_nothing_of_its_columns() {
        let context = SessionContext::new();
        let rows = "(VALUES (1, 1), (1, 2), (2, 3)) AS t(k, j)";
        let groups = format!("SELECT k, count(*) AS n FROM {rows} GROUP BY k ORDER BY k LIMIT 1");
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
