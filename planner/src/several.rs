//! Failing where a scalar subquery finds several rows.
//!
//! DataFusion makes left joins of such subqueries, and with each row that one finds, the rows
//! around it come once more. Here, a subquery that is not known to find one row at most is an
//! aggregate of its rows, which knows whether there were several. Where it depends on no row around
//! it, it fails by itself. Otherwise the expression around it does, for the rows that read its
//! value: what is joined has groups, too, that no row asks for.

mod shape;

use std::sync::Arc;

use datafusion::{
    common::tree_node::{Transformed, TransformedResult, TreeNode},
    config::ConfigOptions,
    error::Result,
    logical_expr::{
        Aggregate, Expr, LogicalPlan, Projection, Subquery, expr_rewriter::NamePreserver,
    },
    optimizer::AnalyzerRule,
};
use keyloom_common::functions::{SingleRow, SingleValue};

use crate::{columns::columns_of, holds::contains, narrow::unaliased};
use shape::{is_equated, is_single};

/// Lets no scalar subquery give several rows. It runs before types are settled, so that what is
/// read of a subquery may be null to all that is planned after it.
#[derive(Debug, Default)]
pub struct RefuseSeveralRows;

impl AnalyzerRule for RefuseSeveralRows {
    fn analyze(&self, plan: LogicalPlan, _config: &ConfigOptions) -> Result<LogicalPlan> {
        plan.transform_up_with_subqueries(check_node).data()
    }

    fn name(&self) -> &'static str {
        "refuse_several_rows"
    }
}

fn check_node(node: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    let is_unchecked =
        |expr: &Expr| matches!(expr, Expr::ScalarSubquery(subquery) if may_be_several(subquery));
    if !node.expressions().iter().any(|expr| contains(expr, is_unchecked)) {
        return Ok(Transformed::no(node));
    }
    let names = NamePreserver::new(&node);
    // Sort keys have no names to keep.
    let is_named = !matches!(node, LogicalPlan::Sort(_));
    let checked = node.map_expressions(|expr| {
        let name = names.save(&expr);
        let checked = expr.transform_up(check_expr)?;
        Ok(if is_named { checked.update_data(|expr| name.restore(expr)) } else { checked })
    });
    checked.data()?.recompute_schema().map(Transformed::yes)
}

fn check_expr(expr: Expr) -> Result<Transformed<Expr>> {
    match expr {
        Expr::ScalarSubquery(subquery) if may_be_several(&subquery) => {
            checked(&subquery).map(Transformed::yes)
        }
        other => Ok(Transformed::no(other)),
    }
}

/// Whether a subquery may find several rows. Others than these, DataFusion refuses.
fn may_be_several(subquery: &Subquery) -> bool {
    let plan = &subquery.subquery;
    plan.schema().fields().len() == 1
        && !is_single(plan)
        && (subquery.outer_ref_columns.is_empty() || is_equated(plan))
}

/// The value of the one row that a subquery of one column finds.
fn checked(subquery: &Subquery) -> Result<Expr> {
    let plan = &subquery.subquery;
    let column = plan.schema().field(0).name();
    if !subquery.outer_ref_columns.is_empty() {
        let row = single_row(without_alias(plan)?)?;
        let row = Expr::ScalarSubquery(subquery.with_plan(Arc::new(row)));
        return Ok(SingleValue::call(column, true, row));
    }
    let row = single_row(Arc::clone(plan))?;
    let value = |row| SingleValue::call(column, false, row).alias(column);
    let value = Projection::try_new(columns_of(&row).map(value).collect(), Arc::new(row))?;
    let value = subquery.with_plan(Arc::new(LogicalPlan::Projection(value)));
    Ok(Expr::ScalarSubquery(value))
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
