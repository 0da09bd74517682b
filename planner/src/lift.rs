//! Moving calls out of logical nodes that cannot make lookups, into a projection below them.
//!
//! `ORDER BY kv_get(id)['score']` becomes a sort on a column; aggregates and windows alike. What
//! holds a call is moved whole, so that a CASE around it keeps its laziness.

use std::sync::Arc;

use datafusion::{
    common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion},
    config::ConfigOptions,
    error::Result,
    logical_expr::{Expr, LogicalPlan, Projection, expr_rewriter::NamePreserver},
    optimizer::AnalyzerRule,
};
use keyloom_common::Error;

use crate::{
    columns::{column_for, lift_expr, with_columns},
    conditions::{lift_filter, lift_join},
    holds::{contains_call, has_subquery},
    lazy::keep_lazy,
    rows::rows_as_queries,
};

/// Puts a projection with the calls below sorts, aggregates, windows and joins, and keeps
/// DataFusion from reordering branches and moving conditions with calls.
#[derive(Debug, Default)]
pub struct LiftCalls;

impl AnalyzerRule for LiftCalls {
    fn analyze(&self, plan: LogicalPlan, _config: &ConfigOptions) -> Result<LogicalPlan> {
        let mut lifted = 0;
        plan.transform_up_with_subqueries(|node| lift_node(keep_lazy(node)?, &mut lifted)).data()
    }

    fn name(&self) -> &'static str {
        "lift_calls"
    }
}

fn lift_node(node: LogicalPlan, lifted: &mut usize) -> Result<Transformed<LogicalPlan>> {
    let node = window_keys_as_columns(node, lifted)?;
    if !node.expressions().iter().any(contains_call) {
        return Ok(Transformed::yes(node));
    }
    match &node {
        LogicalPlan::Projection(_) => Ok(Transformed::yes(node)),
        LogicalPlan::Filter(filter) => lift_filter(filter, lifted).map(Transformed::yes),
        LogicalPlan::Join(join) => match lift_join(join, lifted)? {
            Some(plan) => Ok(Transformed::yes(plan)),
            None => Err(refusal("the condition of such a join").into()),
        },
        LogicalPlan::Aggregate(_) | LogicalPlan::Window(_) => {
            lift_from(&node, lifted).map(Transformed::yes)
        }
        LogicalPlan::Values(values) => rows_as_queries(values).map(Transformed::yes),
        LogicalPlan::Sort(_) => {
            let columns = node.schema().columns().into_iter().map(Expr::Column).collect();
            let sorted = lift_from(&node, lifted)?;
            let plan = Projection::try_new(columns, Arc::new(sorted))?;
            Ok(Transformed::yes(LogicalPlan::Projection(plan)))
        }
        other => {
            let shown = other.display().to_string().to_lowercase();
            let kind = match other {
                LogicalPlan::Distinct(_) => "distinct on",
                _ => shown.split([':', ' ']).next().unwrap_or_default(),
            };
            Err(refusal(&format!("a {kind}")).into())
        }
    }
}

fn refusal(place: &str) -> Error {
    Error::invalid(format!(
        "a lookup cannot be made within {place}; compute it as a column of a subquery first, and \
         use that column"
    ))
}

/// Sorts for windows by columns alone. A key that is computed from a column of one value,
/// DataFusion does not find again in the order that it has sorted by.
fn window_keys_as_columns(node: LogicalPlan, lifted: &mut usize) -> Result<LogicalPlan> {
    let LogicalPlan::Window(window) = &node else { return Ok(node) };
    let mut computed = Vec::new();
    let names = NamePreserver::new(&node);
    let exprs = window.window_expr.iter().cloned().map(|expr| {
        let name = names.save(&expr);
        let by_columns = |expr| {
            let Expr::WindowFunction(mut function) = expr else { return Ok(Transformed::no(expr)) };
            let order_by = function.params.order_by.iter_mut().map(|key| &mut key.expr);
            for key in function.params.partition_by.iter_mut().chain(order_by) {
                let is_plain = matches!(key, Expr::Column(_) | Expr::Literal(..));
                // With calls, keys are lifted together with what else has calls.
                if !is_plain && !has_subquery(key) && !contains_call(key) {
                    *key = column_for(key.clone(), &mut computed, lifted);
                }
            }
            let expr = Expr::WindowFunction(function);
            Ok(Transformed::new(expr, true, TreeNodeRecursion::Jump))
        };
        expr.transform_down(by_columns).data().map(|expr| name.restore(expr))
    });
    let exprs = exprs.collect::<Result<Vec<_>>>()?;
    if computed.is_empty() {
        return Ok(node);
    }
    let input = with_columns(LogicalPlan::clone(&window.input), computed)?;
    node.with_new_exprs(exprs, vec![input])?.recompute_schema()
}

/// The node over a projection that computes what holds calls.
fn lift_from(node: &LogicalPlan, lifted: &mut usize) -> Result<LogicalPlan> {
    // Their columns are found again by the expressions that are written.
    let is_set = |expr: &Expr| matches!(expr, Expr::GroupingSet(_)) && contains_call(expr);
    if node.expressions().iter().any(is_set) {
        return Err(refusal("ROLLUP, CUBE or GROUPING SETS").into());
    }
    let mut computed = Vec::new();
    let names = NamePreserver::new(node);
    let exprs = node
        .expressions()
        .into_iter()
        .map(|expr| {
            let name = names.save(&expr);
            let rewritten = lift_expr(expr, &mut computed, lifted)?;
            // Sort keys have no names to keep.
            Ok(if matches!(node, LogicalPlan::Sort(_)) {
                rewritten
            } else {
                name.restore(rewritten)
            })
        })
        .collect::<Result<Vec<_>>>()?;
    let input = with_columns(node.inputs()[0].clone(), computed)?;
    node.with_new_exprs(exprs, vec![input])?.recompute_schema()
}
