//! How deep a query's plan may be, however it was built: told before it is planned further.

use datafusion::{
    common::tree_node::{TreeNode, TreeNodeRecursion},
    error::{DataFusionError, Result},
    logical_expr::{Expr, LogicalPlan},
};
use keyloom_common::stack::{MAX_DEPTH, deep, too_deep};

/// Refuses a plan that is nested too deep, in its operators or in their expressions.
pub(crate) fn check(plan: &LogicalPlan) -> keyloom_common::Result<()> {
    deep(|| check_plan(plan, 0)).map_err(Into::into)
}

fn check_plan(plan: &LogicalPlan, depth: usize) -> Result<()> {
    let depth = below(depth)?;
    plan.apply_expressions(|expr| {
        check_expr(expr, depth)?;
        Ok(TreeNodeRecursion::Continue)
    })?;
    plan.inputs().into_iter().try_for_each(|input| check_plan(input, depth))
}

fn check_expr(expr: &Expr, depth: usize) -> Result<()> {
    let depth = below(depth)?;
    match expr {
        Expr::ScalarSubquery(subquery) => check_plan(&subquery.subquery, depth)?,
        Expr::Exists(exists) => check_plan(&exists.subquery.subquery, depth)?,
        Expr::InSubquery(within) => check_plan(&within.subquery.subquery, depth)?,
        _ => {}
    }
    expr.apply_children(|child| {
        check_expr(child, depth)?;
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(())
}

fn below(depth: usize) -> Result<usize> {
    if depth < MAX_DEPTH { Ok(depth + 1) } else { Err(DataFusionError::from(too_deep())) }
}
