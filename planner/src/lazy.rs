//! Keeping branches with calls as lazy as they are written.
//!
//! DataFusion turns a CASE of booleans into ANDs and ORs that compute later conditions before
//! earlier ones, which is right for plain expressions but makes lookups that nobody asked for. It
//! leaves `CASE TRUE WHEN … END` alone, which means the same. Conditionals that are nested deep are
//! kept from it anyway: see [`KeepNested`](crate::KeepNested).

use datafusion::{
    arrow::datatypes::DataType,
    common::{
        DFSchema,
        tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion, TreeNodeVisitor},
    },
    error::Result,
    logical_expr::{
        Case, Expr, ExprSchemable, LogicalPlan, expr::ScalarFunction, expr_rewriter::NamePreserver,
        lit, utils::merge_schema,
    },
};

use crate::holds::contains_call;

/// The most conditionals within each other that DataFusion may write as CASEs, each of which
/// repeats what is within.
const MOST_NESTED: usize = 4;

/// Rewrites what DataFusion would reorder among the expressions of a node.
pub(crate) fn keep_lazy(node: LogicalPlan) -> Result<LogicalPlan> {
    if !node.expressions().iter().any(contains_call) {
        return Ok(node);
    }
    let schema = merge_schema(&node.inputs());
    let names = NamePreserver::new(&node);
    let is_sort = matches!(node, LogicalPlan::Sort(_));
    let rewritten = node.map_expressions(|expr| {
        // Sort keys have no names to keep, and sets of groups are none any more under a name.
        let named = !is_sort && !matches!(expr, Expr::GroupingSet(_));
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
            node if is_nested_deep(&node) => Transformed::no(node),
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

/// Whether so many conditionals stand within each other that all of them are kept as they are.
pub(crate) fn is_nested_deep(expr: &Expr) -> bool {
    let mut measure = Measure::default();
    // The visitor cannot fail.
    expr.visit(&mut measure).is_ok() && is_deep(measure.depth)
}

/// Whether this is too deep for DataFusion's CASEs.
pub(crate) fn is_deep(depth: usize) -> bool {
    depth > MOST_NESTED
}

/// Counts how many conditionals stand within each other, on the way through an expression.
#[derive(Debug, Default)]
pub(crate) struct Nesting {
    /// For each expression that is not yet left, how many do in what was left of it.
    open: Vec<usize>,
}

impl Nesting {
    /// Begins with an expression.
    pub(crate) fn enter(&mut self) {
        self.open.push(0);
    }

    /// Ends with an expression, and says how many it holds, itself included.
    pub(crate) fn leave(&mut self, expr: &Expr) -> usize {
        let within = self.open.pop().unwrap_or_default();
        let depth = within + usize::from(is_conditional(expr));
        if let Some(around) = self.open.last_mut() {
            *around = depth.max(*around);
        }
        depth
    }
}

fn is_conditional(expr: &Expr) -> bool {
    match expr {
        Expr::Case(_) => true,
        Expr::ScalarFunction(function) => {
            matches!(function.name(), "coalesce" | "nvl" | "nvl2" | "case")
        }
        _ => false,
    }
}

#[derive(Default)]
struct Measure {
    nesting: Nesting,
    /// Of the expression that was left last.
    depth: usize,
}

impl<'n> TreeNodeVisitor<'n> for Measure {
    type Node = Expr;

    fn f_down(&mut self, _node: &'n Expr) -> Result<TreeNodeRecursion> {
        self.nesting.enter();
        Ok(TreeNodeRecursion::Continue)
    }

    fn f_up(&mut self, node: &'n Expr) -> Result<TreeNodeRecursion> {
        self.depth = self.nesting.leave(node);
        Ok(TreeNodeRecursion::Continue)
    }
}
