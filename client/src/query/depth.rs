//! How deep a query's plan may be, however it was built: told before it is planned further.

use datafusion::{
    common::tree_node::{TreeNode, TreeNodeRecursion},
    error::{DataFusionError, Result},
    logical_expr::{Expr, LogicalPlan},
};
use keyloom_common::stack::{MAX_DEPTH, deep, too_deep};

use super::sealed::opened;

/// So many levels are planned on any stack.
const SHALLOW: usize = 64;

/// Refuses a plan that is nested too deep, in its operators or in their expressions.
pub(crate) fn check(plan: &LogicalPlan) -> keyloom_common::Result<()> {
    deep(|| check_plan(plan, MAX_DEPTH)).map_err(Into::into)
}

/// Whether a plan is nested so little that any stack is large enough for it.
pub(super) fn is_shallow(plan: &LogicalPlan) -> bool {
    deep(|| check_plan(plan, SHALLOW)).is_ok()
}

/// Looks so many levels down, and fails if there are more.
fn check_plan(plan: &LogicalPlan, levels: usize) -> Result<()> {
    let plan = opened(plan);
    let levels = below(levels)?;
    plan.apply_expressions(|expr| {
        check_expr(expr, levels)?;
        Ok(TreeNodeRecursion::Continue)
    })?;
    plan.inputs().into_iter().try_for_each(|input| check_plan(input, levels))
}

fn check_expr(expr: &Expr, levels: usize) -> Result<()> {
    let levels = below(levels)?;
    match expr {
        Expr::ScalarSubquery(subquery) => check_plan(&subquery.subquery, levels)?,
        Expr::Exists(exists) => check_plan(&exists.subquery.subquery, levels)?,
        Expr::InSubquery(within) => check_plan(&within.subquery.subquery, levels)?,
        _ => {}
    }
    expr.apply_children(|child| {
        check_expr(child, levels)?;
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(())
}

fn below(levels: usize) -> Result<usize> {
    levels.checked_sub(1).ok_or_else(|| DataFusionError::from(too_deep()))
}
