//! What subqueries know of the rows around them: the types of their columns are noted where they are
//! named.

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::{
    common::{
        DFSchema,
        tree_node::{Transformed, TransformedResult, TreeNode},
    },
    error::Result,
    logical_expr::{Expr, LogicalPlan, utils::merge_schema},
};

use super::retyped;

/// A node whose subqueries know in which units the timestamps of its rows are now.
pub(super) fn with_outer_columns(node: LogicalPlan) -> Result<LogicalPlan> {
    let schema = merge_schema(&node.inputs());
    node.map_subqueries(|subquery| {
        // Those within it are within nodes of its own.
        subquery.transform_up(|node| {
            let renew = |expr: Expr| expr.transform_up(|expr| Ok(renewed(expr, &schema)));
            node.map_expressions(renew)?.map_data(LogicalPlan::recompute_schema)
        })
    })
    .data()
}

/// A column of the rows around in the unit that it has there.
fn renewed(expr: Expr, schema: &DFSchema) -> Transformed<Expr> {
    let ty = match &expr {
        Expr::OuterReferenceColumn(field, column) => {
            let own = schema.field_with_name(column.relation.as_ref(), &column.name).ok();
            own.and_then(|own| in_unit_of(field.data_type(), own.data_type()))
        }
        _ => None,
    };
    match (expr, ty) {
        (Expr::OuterReferenceColumn(field, column), Some(ty)) => {
            let field = Arc::new(field.as_ref().clone().with_data_type(ty));
            Transformed::yes(Expr::OuterReferenceColumn(field, column))
        }
        (expr, _) => Transformed::no(expr),
    }
}

/// A type of timestamps in the unit of another one, if they differ.
fn in_unit_of(ty: &DataType, other: &DataType) -> Option<DataType> {
    match other {
        DataType::Timestamp(unit, _) => retyped(ty, *unit),
        _ => None,
    }
}
