//! One value of a scalar subquery: null where it finds no row, and an error where it finds several.
//!
//! DataFusion makes left joins of such subqueries, and with each row that one finds, the rows
//! around it come once more. Here, a subquery that is not known to find one row at most is an
//! aggregate of its rows, which knows whether there were several. Where it depends on no row around
//! it, it fails by itself. Otherwise the expression around it does, for the rows that read its
//! value: what is joined has groups, too, that no row asks for.
//!
//! DataFusion also takes a subquery for never null where its column is not. So one that may find no
//! row of such a column is made one that may be null: by that same aggregate, or by [`Nullable`].

mod shape;

use std::sync::Arc;

use datafusion::{
    common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion},
    config::ConfigOptions,
    error::Result,
    logical_expr::{
        Aggregate, Expr, LogicalPlan, Projection, Subquery, expr_rewriter::NamePreserver,
    },
    optimizer::AnalyzerRule,
};
use keyloom_common::functions::{Nullable, SingleRow, SingleValue};

use crate::{columns::columns_of, holds::contains, narrow::unaliased};
use shape::{has_a_row, is_equated, is_single};

/// Lets no scalar subquery give several rows, or none without a null. It runs before types are
/// settled, so that what is read of a subquery may be null to all that is planned after it.
#[derive(Debug, Default)]
pub struct OneValue;

impl AnalyzerRule for OneValue {
    fn analyze(&self, plan: LogicalPlan, _config: &ConfigOptions) -> Result<LogicalPlan> {
        plan.transform_up_with_subqueries(check_node).data()
    }

    fn name(&self) -> &'static str {
        "one_value"
    }
}

fn check_node(node: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    let needs_check = |expr: &Expr| match expr {
        Expr::ScalarSubquery(subquery) => Check::of(subquery).is_some(),
        _ => false,
    };
    if !node.expressions().iter().any(|expr| contains(expr, needs_check)) {
        return Ok(Transformed::no(node));
    }
    let names = NamePreserver::new(&node);
    // Sort keys have no names to keep.
    let is_named = !matches!(node, LogicalPlan::Sort(_));
    let checked = node.map_expressions(|expr| {
        let name = names.save(&expr);
        let checked = expr.transform_down(check_expr)?;
        Ok(if is_named { checked.update_data(|expr| name.restore(expr)) } else { checked })
    });
    checked.data()?.recompute_schema().map(Transformed::yes)
}

fn check_expr(expr: Expr) -> Result<Transformed<Expr>> {
    match expr {
        Expr::ScalarFunction(function) if function.func.inner().is::<Nullable>() => {
            Ok(Transformed::new(Expr::ScalarFunction(function), false, TreeNodeRecursion::Jump))
        }
        Expr::ScalarSubquery(subquery) => match Check::of(&subquery) {
            // What is within has been visited.
            Some(check) => {
                let checked = check.made_of(subquery)?;
                Ok(Transformed::new(checked, true, TreeNodeRecursion::Jump))
            }
            None => Ok(Transformed::no(Expr::ScalarSubquery(subquery))),
        },
        other => Ok(Transformed::no(other)),
    }
}

/// What holds a subquery to one value.
enum Check {
    /// An aggregate of all its rows.
    OfAll,
    /// An aggregate of its rows for each row around it, where they may be several.
    OfEach,
    /// It finds one row at most for each row around it, and if none, it is null.
    MayBeNone,
}

impl Check {
    /// The check that a subquery needs. Those of several columns are refused by DataFusion, and so
    /// are those that depend on the rows around them in other ways than these.
    fn of(subquery: &Subquery) -> Option<Self> {
        let plan = &subquery.subquery;
        let [column] = plan.schema().fields().as_ref() else { return None };
        let may_be_several = !is_single(plan);
        let is_wrongly_typed = !column.is_nullable() && !has_a_row(plan);
        if subquery.outer_ref_columns.is_empty() {
            (may_be_several || is_wrongly_typed).then_some(Self::OfAll)
        } else if may_be_several && is_equated(plan) {
            Some(Self::OfEach)
        } else {
            is_wrongly_typed.then_some(Self::MayBeNone)
        }
    }

    fn made_of(self, subquery: Subquery) -> Result<Expr> {
        let plan = &subquery.subquery;
        let column = plan.schema().field(0).name();
        match self {
            Self::OfAll => {
                let row = single_row(Arc::clone(plan))?;
                let value = |row| SingleValue::call(column, false, row).alias(column);
                let value =
                    Projection::try_new(columns_of(&row).map(value).collect(), Arc::new(row))?;
                let value = subquery.with_plan(Arc::new(LogicalPlan::Projection(value)));
                Ok(Expr::ScalarSubquery(value))
            }
            Self::OfEach => {
                let row = single_row(without_alias(plan)?)?;
                let row = Expr::ScalarSubquery(subquery.with_plan(Arc::new(row)));
                Ok(SingleValue::call(column, true, row))
            }
            Self::MayBeNone => Ok(Nullable::call(Expr::ScalarSubquery(subquery))),
        }
    }
}

/// What is known of the rows of a plan with one column.
fn single_row(plan: Arc<LogicalPlan>) -> Result<LogicalPlan> {
    let rows = columns_of(&plan).map(SingleRow::call).collect();
    Aggregate::try_new(plan, Vec::new(), rows).map(LogicalPlan::Aggregate)
}

/// The plan without the name that it gives its column. The column that a subquery is joined by
/// comes to stand beside it, and may be called the same.
fn without_alias(plan: &Arc<LogicalPlan>) -> Result<Arc<LogicalPlan>> {
    let LogicalPlan::Projection(projection) = plan.as_ref() else { return Ok(Arc::clone(plan)) };
    let exprs = projection.expr.iter().map(|expr| unaliased(expr).clone()).collect();
    let plan = Projection::try_new(exprs, Arc::clone(&projection.input))?;
    Ok(Arc::new(LogicalPlan::Projection(plan)))
}

#[cfg(test)]
mod tests;
