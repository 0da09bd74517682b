//! Keeping branches with calls as lazy as they are written.
//!
//! DataFusion turns a CASE of booleans into ANDs and ORs that compute later conditions before
//! earlier ones, which is right for plain expressions but makes lookups that nobody asked for. It
//! leaves `CASE TRUE WHEN … END` alone, which means the same.

use datafusion::{
    arrow::datatypes::DataType,
    common::{
        DFSchema,
        tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion},
    },
    error::Result,
    logical_expr::{
        Case, Expr, ExprSchemable, LogicalPlan, expr::ScalarFunction, expr_rewriter::NamePreserver,
        lit, utils::merge_schema,
    },
};

use super::lift::contains_call;

/// Rewrites what DataFusion would reorder among the expressions of a node.
pub(super) fn keep_lazy(node: LogicalPlan) -> Result<LogicalPlan> {
    if !node.expressions().iter().any(contains_call) {
        return Ok(node);
    }
    let schema = merge_schema(&node.inputs());
    let names = NamePreserver::new(&node);
    // Sort keys have no names to keep.
    let named = !matches!(node, LogicalPlan::Sort(_));
    let rewritten = node.map_expressions(|expr| {
        let name = names.save(&expr);
        let rewritten = rewrite(expr, &schema)?;
        Ok(if named { rewritten.update_data(|expr| name.restore(expr)) } else { rewritten })
    });
    rewritten.data()?.recompute_schema()
}

fn rewrite(expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    expr.transform_down(|node| {
        if !contains_call(&node) {
            return Ok(Transformed::new(node, false, TreeNodeRecursion::Jump));
        }
        Ok(match node {
            Expr::Case(Case { expr: None, when_then_expr, else_expr }) => {
                let operand = Some(Box::new(lit(true)));
                Transformed::yes(Expr::Case(Case { expr: operand, when_then_expr, else_expr }))
            }
            Expr::ScalarFunction(function) => match as_case(&function, schema) {
                Some(case) => Transformed::yes(Expr::Case(case)),
                None => Transformed::no(Expr::ScalarFunction(function)),
            },
            other => Transformed::no(other),
        })
    })
}

/// The CASE that a function stands for, if it is one of booleans: of others DataFusion makes it by
/// itself, once types are settled.
fn as_case(function: &ScalarFunction, schema: &DFSchema) -> Option<Case> {
    let is_boolean = |expr: &Expr| matches!(expr.get_type(schema), Ok(DataType::Boolean));
    let branch = |tested: &Expr, then: &Expr| {
        (Box::new(tested.clone().is_not_null()), Box::new(then.clone()))
    };
    let (branches, last) = match (function.name(), function.args.as_slice()) {
        ("coalesce" | "nvl", [first @ .., last]) if function.args.iter().any(is_boolean) => {
            (first.iter().map(|arg| branch(arg, arg)).collect(), last)
        }
        ("nvl2", [tested, some, none]) if is_boolean(some) || is_boolean(none) => {
            (vec![branch(tested, some)], none)
        }
        _ => return None,
    };
    let operand = Some(Box::new(lit(true)));
    Some(Case { expr: operand, when_then_expr: branches, else_expr: Some(Box::new(last.clone())) })
}
