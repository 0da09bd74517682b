//! What logical expressions hold: calls, and what else decides where these may go.

use datafusion::{common::tree_node::TreeNode, logical_expr::Expr};
use keyloom_common::functions::KvFunction;

/// Whether a call stands anywhere in the expression.
pub(crate) fn contains_call(expr: &Expr) -> bool {
    contains(
        expr,
        |node| matches!(node, Expr::ScalarFunction(function) if function.func.inner().is::<KvFunction>()),
    )
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

/// Whether such an expression stands anywhere in it.
pub(crate) fn contains(expr: &Expr, is_wanted: impl Fn(&Expr) -> bool) -> bool {
    // The closure cannot fail.
    expr.exists(|node| Ok(is_wanted(node))).unwrap_or(false)
}
