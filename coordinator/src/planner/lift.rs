//! Moving calls out of logical nodes that cannot make lookups, into a projection below them.
//!
//! `ORDER BY kv_get(id)['score']` becomes a sort on a column; aggregates and windows alike. What holds a call is moved whole, so that a CASE around it keeps its
//! laziness.

use std::sync::Arc;

use datafusion::{
    common::{
        Column,
        tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion},
    },
    config::ConfigOptions,
    error::Result,
    logical_expr::{
        Expr, LogicalPlan, LogicalPlanBuilder, Projection, expr::Alias,
        expr_rewriter::NamePreserver,
    },
    optimizer::AnalyzerRule,
};
use keyloom_common::{Error, functions::KvFunction};

use super::lazy::keep_lazy;

/// The names of columns that hold lifted expressions.
const PREFIX: &str = "__lifted";

/// Puts a projection with the calls below sorts, aggregates and windows, and keeps DataFusion from
/// reordering branches with calls.
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
    if !node.expressions().iter().any(contains_call) {
        return Ok(Transformed::no(node));
    }
    match &node {
        LogicalPlan::Projection(_) | LogicalPlan::Filter(_) => Ok(Transformed::yes(node)),
        LogicalPlan::Aggregate(_) | LogicalPlan::Window(_) => {
            lift_from(&node, lifted).map(Transformed::yes)
        }
        LogicalPlan::Sort(_) => {
            let columns = node.schema().columns().into_iter().map(Expr::Column).collect();
            let sorted = lift_from(&node, lifted)?;
            let plan = Projection::try_new(columns, Arc::new(sorted))?;
            Ok(Transformed::yes(LogicalPlan::Projection(plan)))
        }
        other => {
            let shown = other.display().to_string().to_lowercase();
            let kind = match other {
                LogicalPlan::Join(_) => "join",
                LogicalPlan::Distinct(_) => "distinct on",
                _ => shown.split([':', ' ']).next().unwrap_or_default(),
            };
            Err(Error::invalid(format!(
                "a lookup cannot be made within a {kind}; compute it as a column of a subquery \
                 first, and use that column"
            ))
            .into())
        }
    }
}

/// The node over a projection that computes what holds calls.
fn lift_from(node: &LogicalPlan, lifted: &mut usize) -> Result<LogicalPlan> {
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
    let input = node.inputs()[0].clone();
    let columns = input.schema().columns().into_iter().map(Expr::Column);
    let columns: Vec<_> = columns.chain(computed).collect();
    let input = LogicalPlanBuilder::from(input).project(columns)?.build()?;
    node.with_new_exprs(exprs, vec![input])?.recompute_schema()
}

fn lift_expr(expr: Expr, computed: &mut Vec<Expr>, lifted: &mut usize) -> Result<Expr> {
    expr.transform_down(|node| {
        if !contains_call(&node) {
            return Ok(Transformed::new(node, false, TreeNodeRecursion::Jump));
        }
        let wraps = matches!(
            node,
            Expr::Alias(_)
                | Expr::AggregateFunction(_)
                | Expr::WindowFunction(_)
                | Expr::GroupingSet(_)
        );
        if wraps {
            return Ok(Transformed::no(node));
        }
        let same = |known: &&Expr| matches!(known, Expr::Alias(a) if *a.expr == node);
        let name = match computed.iter().find(same) {
            Some(Expr::Alias(known)) => known.name.clone(),
            _ => {
                *lifted += 1;
                let name = format!("{PREFIX}{lifted}");
                computed.push(Expr::Alias(Alias::new(node, None::<&str>, name.clone())));
                name
            }
        };
        let column = Expr::Column(Column::new_unqualified(name));
        Ok(Transformed::new(column, true, TreeNodeRecursion::Jump))
    })
    .data()
}

pub(super) fn contains_call(expr: &Expr) -> bool {
    expr.exists(|node| {
        Ok(matches!(node, Expr::ScalarFunction(function)
            if function.func.inner().downcast_ref::<KvFunction>().is_some()))
    })
    // The closure cannot fail.
    .unwrap_or(false)
}
