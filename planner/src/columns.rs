//! Columns in the places of expressions: a projection below computes what holds calls.

use datafusion::{
    common::{
        Column,
        tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion},
    },
    error::Result,
    logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, expr::Alias},
};

use crate::holds::{contains_call, has_subquery};

/// The names of columns that hold lifted expressions.
const PREFIX: &str = "__lifted";

/// The plan with more columns.
pub(crate) fn with_columns(plan: LogicalPlan, computed: Vec<Expr>) -> Result<LogicalPlan> {
    if computed.is_empty() {
        return Ok(plan);
    }
    let columns = columns_of(&plan).chain(computed).collect::<Vec<_>>();
    LogicalPlanBuilder::from(plan).project(columns)?.build()
}

/// A plan's columns as expressions.
pub(crate) fn columns_of(plan: &LogicalPlan) -> impl Iterator<Item = Expr> + use<> {
    plan.schema().columns().into_iter().map(Expr::Column)
}

/// Puts columns into the place of what holds calls.
pub(crate) fn lift_expr(expr: Expr, computed: &mut Vec<Expr>, lifted: &mut usize) -> Result<Expr> {
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
        if wraps || has_subquery(&node) {
            return Ok(Transformed::no(node));
        }
        let column = column_for(node, computed, lifted);
        Ok(Transformed::new(column, true, TreeNodeRecursion::Jump))
    })
    .data()
}

/// The column that holds an expression, among those that are computed anyway or a new one.
pub(crate) fn column_for(expr: Expr, computed: &mut Vec<Expr>, lifted: &mut usize) -> Expr {
    let same = |known: &&Expr| matches!(known, Expr::Alias(a) if *a.expr == expr);
    let name = match computed.iter().find(same) {
        Some(Expr::Alias(known)) => known.name.clone(),
        _ => {
            *lifted += 1;
            let name = format!("{PREFIX}{lifted}");
            computed.push(Expr::Alias(Alias::new(expr, None::<&str>, name.clone())));
            name
        }
    };
    Expr::Column(Column::new_unqualified(name))
}
