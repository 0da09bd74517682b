//! What logical expressions hold: calls, and what else decides where these may go.

use std::sync::Arc;

use datafusion::{
    common::tree_node::{TreeNode, TreeNodeRecursion},
    error::Result,
    logical_expr::{Expr, LogicalPlan},
};
use keyloom_common::functions::{KvCall, KvFunction};

/// The call that this expression is, if it is one, and its key.
pub(crate) fn as_call(expr: &Expr) -> Option<(&Arc<KvCall>, &Expr)> {
    let Expr::ScalarFunction(function) = expr else { return None };
    let marker = function.func.inner().downcast_ref::<KvFunction>()?;
    Some((marker.call(), function.args.first()?))
}

/// Whether a call stands anywhere in the expression.
pub(crate) fn contains_call(expr: &Expr) -> bool {
    contains(
        expr,
        |node| matches!(node, Expr::ScalarFunction(function) if function.func.inner().is::<KvFunction>()),
    )
}

/// Whether a node of the plan, or of a subquery in it, is such a one. To look costs a small part of
/// a rewrite, which takes all expressions apart.
pub(crate) fn has_node(plan: &LogicalPlan, is_it: impl Fn(&LogicalPlan) -> bool) -> Result<bool> {
    let mut found = false;
    plan.apply_with_subqueries(|node| {
        found = is_it(node);
        Ok(if found { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    })?;
    Ok(found)
}

/// Whether a call stands in a node of the plan.
pub(crate) fn has_call(plan: &LogicalPlan) -> Result<bool> {
    let mut found = false;
    plan.apply(|node| {
        node.apply_expressions(|expr| {
            found |= contains_call(expr);
            Ok(if found { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
        })
    })?;
    Ok(found)
}

/// Whether an expression holds a subquery, which DataFusion plans as a join of the node that the
/// expression stands in.
pub(crate) fn has_subquery(expr: &Expr) -> bool {
    contains(expr, |node| {
        matches!(
            node,
            Expr::InSubquery(_)
                | Expr::Exists(_)
                | Expr::ScalarSubquery(_)
                | Expr::SetComparison(_)
        )
    })
}

/// Whether one stands in the expressions of a node.
pub(crate) fn any_subquery(plan: &LogicalPlan) -> Result<bool> {
    let mut found = false;
    plan.apply_expressions(|expr| {
        found |= has_subquery(expr);
        Ok(if found { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    })?;
    Ok(found)
}

/// The most nodes of an expression in which others were put for columns, unless it had more.
const MOST_NODES: usize = 4096;

/// Whether an expression has become large by what was put in for its columns: where each of them is
/// read twice, it doubles with every projection that it is said over.
pub(crate) fn has_grown(after: &Expr, before: &Expr) -> bool {
    let nodes = nodes(after);
    nodes > MOST_NODES && nodes > self::nodes(before)
}

fn nodes(expr: &Expr) -> usize {
    let mut nodes = 0;
    let counted = expr.apply(|_| {
        nodes += 1;
        Ok(TreeNodeRecursion::Continue)
    });
    // The closure cannot fail.
    counted.map_or(usize::MAX, |_| nodes)
}

/// Whether such an expression stands anywhere in it.
pub(crate) fn contains(expr: &Expr, is_wanted: impl Fn(&Expr) -> bool) -> bool {
    // The closure cannot fail.
    expr.exists(|node| Ok(is_wanted(node))).unwrap_or(false)
}
