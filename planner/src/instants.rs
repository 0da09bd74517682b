//! Timestamps of different units, compared as they are and kept where one stands for another.
//!
//! DataFusion rounds the finer one to the unit of the coarser: instants within one millisecond
//! would be equal, and a union, a CASE or a `coalesce` would cut off what its coarsest input has no
//! room for. So the coarser one is cast before, which changes no value; one that is too far away for
//! the finer unit is an error. Constants are left alone: they are read in the unit of what they
//! meet.

mod outer;
mod unions;
mod values;

use std::{mem, sync::Arc};

use arrow::datatypes::{DataType, TimeUnit};
use datafusion::{
    common::{
        Column, DFSchema,
        tree_node::{Transformed, TransformedResult, TreeNode},
    },
    config::ConfigOptions,
    error::Result,
    logical_expr::{
        Between, BinaryExpr, Expr, ExprSchemable, Join, LogicalPlan, Operator, Projection,
        Subquery, cast,
        expr::{InSubquery, SetComparison},
        expr_rewriter::NamePreserver,
        utils::merge_schema,
    },
    optimizer::AnalyzerRule,
};

use crate::lazy::is_nested_deep;
use outer::with_outer_columns;
use unions::in_finest_units;
use values::{chosen_among, keep_in_value};

/// Casts timestamps to the finer of the units that meet.
#[derive(Debug, Default)]
pub struct KeepInstants;

impl AnalyzerRule for KeepInstants {
    fn analyze(&self, plan: LogicalPlan, _config: &ConfigOptions) -> Result<LogicalPlan> {
        // What is compared has its unit once all unions and values have theirs.
        let plan = cast_up(plan, keep_in_values)?;
        cast_up(plan, keep_in_node)
    }

    fn name(&self) -> &'static str {
        "keep_instants"
    }
}

/// A plan whose nodes are changed from the leaves up, and know what has changed below them.
fn cast_up(
    plan: LogicalPlan,
    keep: impl Fn(LogicalPlan) -> Result<Transformed<LogicalPlan>>,
) -> Result<LogicalPlan> {
    let mut has_cast = false;
    plan.transform_up_with_subqueries(|node| {
        let kept = keep(node)?;
        has_cast |= kept.transformed;
        // What is below may have other units than before.
        if has_cast {
            kept.map_data(|node| with_outer_columns(node)?.recompute_schema())
        } else {
            Ok(kept)
        }
    })
    .data()
}

fn keep_in_node(node: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    match node {
        LogicalPlan::Join(join) => {
            let Transformed { data: join, transformed, .. } = keep_in_join(join);
            let kept = keep_in_exprs(LogicalPlan::Join(join), keep_in_expr)?;
            let is_cast = transformed || kept.transformed;
            Ok(Transformed::new_transformed(kept.data, is_cast))
        }
        // Its inputs know more of the rows around them than before.
        LogicalPlan::Union(union) => in_finest_units(union),
        node => keep_in_exprs(node, keep_in_expr),
    }
}

fn keep_in_exprs(
    node: LogicalPlan,
    keep: impl Fn(Expr, &DFSchema) -> Result<Transformed<Expr>>,
) -> Result<Transformed<LogicalPlan>> {
    // The columns of grouping sets are found again by the expressions that are written.
    if node.expressions().iter().any(|expr| matches!(expr, Expr::GroupingSet(_))) {
        return Ok(Transformed::no(node));
    }
    let schema = merge_schema(&node.inputs());
    let names = NamePreserver::new(&node);
    // Sort keys have no names to keep.
    let is_named = !matches!(node, LogicalPlan::Sort(_));
    node.map_expressions(|expr| {
        let name = names.save(&expr);
        let kept = expr.transform_up(|expr| keep(expr, &schema))?;
        Ok(if is_named { kept.update_data(|expr| name.restore(expr)) } else { kept })
    })
}

fn keep_in_join(mut join: Join) -> Transformed<Join> {
    let mut is_cast = false;
    for (left, right) in &mut join.on {
        let types = (left.get_type(join.left.schema()), right.get_type(join.right.schema()));
        if let (Ok(one), Ok(other)) = types
            && let Some(unit) = finer(&one, &other)
        {
            *left = in_unit(mem::take(left), &one, unit);
            *right = in_unit(mem::take(right), &other, unit);
            is_cast = true;
        }
    }
    Transformed::new_transformed(join, is_cast)
}

fn keep_in_expr(expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    Ok(match expr {
        Expr::BinaryExpr(BinaryExpr { left, op, right }) if compares(op) => {
            let ([left, right], is_cast) = in_one_unit([*left, *right], schema);
            let expr = BinaryExpr::new(Box::new(left), op, Box::new(right));
            Transformed::new_transformed(Expr::BinaryExpr(expr), is_cast)
        }
        Expr::Between(Between { expr, negated, low, high }) => {
            let ([expr, low, high], is_cast) = in_one_unit([*expr, *low, *high], schema);
            let expr = Between::new(Box::new(expr), negated, Box::new(low), Box::new(high));
            Transformed::new_transformed(Expr::Between(expr), is_cast)
        }
        Expr::InSubquery(among) => match with_rows(&among.expr, &among.subquery, schema)? {
            Some((expr, subquery)) => {
                let among = InSubquery::new(Box::new(expr), subquery, among.negated);
                Transformed::yes(Expr::InSubquery(among))
            }
            None => Transformed::no(Expr::InSubquery(among)),
        },
        Expr::SetComparison(any) => match with_rows(&any.expr, &any.subquery, schema)? {
            Some((expr, subquery)) => {
                let any = SetComparison::new(Box::new(expr), subquery, any.op, any.quantifier);
                Transformed::yes(Expr::SetComparison(any))
            }
            None => Transformed::no(Expr::SetComparison(any)),
        },
        other => keep_in_value(other, schema),
    })
}

/// Expressions that are compared with each other in one unit, and whether one had another.
fn in_one_unit<const N: usize>(sides: [Expr; N], schema: &DFSchema) -> ([Expr; N], bool) {
    match common_unit(&sides, schema) {
        Some(unit) => (sides.map(|side| side_in_unit(side, unit, schema)), true),
        None => (sides, false),
    }
}

/// The finest unit of timestamps that meet, if one of them has another. Constants have none.
fn common_unit<'a>(
    sides: impl IntoIterator<Item = &'a Expr>,
    schema: &DFSchema,
) -> Option<TimeUnit> {
    let others = sides.into_iter().filter(|side| !is_constant(side));
    let units: Vec<_> = others.filter_map(|side| unit_of(side, schema)).collect();
    let (coarsest, finest) = (units.iter().min()?, *units.iter().max()?);
    (*coarsest != finest).then_some(finest)
}

/// One of them in that unit, but for constants.
fn side_in_unit(side: Expr, unit: TimeUnit, schema: &DFSchema) -> Expr {
    match side.get_type(schema) {
        Ok(ty) if !is_constant(&side) => in_unit(side, &ty, unit),
        _ => side,
    }
}

/// The unit of a timestamp.
fn unit_of(expr: &Expr, schema: &DFSchema) -> Option<TimeUnit> {
    if let Some(mut values) = chosen_among(expr) {
        let unit = values.find_map(|value| unit_of(value, schema));
        if unit.is_some() || is_nested_deep(expr) {
            return unit;
        }
    }
    match expr.get_type(schema) {
        Ok(DataType::Timestamp(unit, _)) => Some(unit),
        _ => None,
    }
}

/// What is looked for among the rows of a subquery, and the subquery, in the finer of their units
/// if they differ.
fn with_rows(
    asked: &Expr,
    subquery: &Subquery,
    schema: &DFSchema,
) -> Result<Option<(Expr, Subquery)>> {
    let found = subquery.subquery.schema().fields().first();
    let types = asked.get_type(schema).ok().zip(found.map(|found| found.data_type().clone()));
    let Some((own, found)) = types else { return Ok(None) };
    let Some(unit) = finer(&own, &found) else { return Ok(None) };
    let rows = found_in_unit(&subquery.subquery, unit)?;
    Ok(Some((in_unit(asked.clone(), &own, unit), subquery.with_plan(rows))))
}

/// The rows of one column in a unit. It gets a name of its own: a condition that names rows around
/// moves up to them, with the columns that it reads.
fn found_in_unit(rows: &Arc<LogicalPlan>, unit: TimeUnit) -> Result<Arc<LogicalPlan>> {
    let (qualifier, field) = rows.schema().qualified_field(0);
    if !has_other(field.data_type(), unit) {
        return Ok(Arc::clone(rows));
    }
    let column = Expr::Column(Column::new(qualifier.cloned(), field.name()));
    let name = format!("{} in another unit", field.name());
    let found = in_unit(column, field.data_type(), unit).alias(name);
    let projection = Projection::try_new(vec![found], Arc::clone(rows))?;
    Ok(Arc::new(LogicalPlan::Projection(projection)))
}

/// A union whose inputs have one unit, or a node whose values do.
fn keep_in_values(node: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    match node {
        LogicalPlan::Union(union) => in_finest_units(union),
        node => keep_in_exprs(node, |expr, schema| Ok(keep_in_value(expr, schema))),
    }
}

/// The finer of two units of timestamps, if they differ.
fn finer(one: &DataType, other: &DataType) -> Option<TimeUnit> {
    match (one, other) {
        (DataType::Timestamp(one, _), DataType::Timestamp(other, _)) if one != other => {
            Some(*one.max(other))
        }
        _ => None,
    }
}

/// A timestamp in a unit, if it is in another one.
fn in_unit(expr: Expr, ty: &DataType, unit: TimeUnit) -> Expr {
    match retyped(ty, unit) {
        Some(ty) => cast(expr, ty),
        None => expr,
    }
}

fn has_other(ty: &DataType, unit: TimeUnit) -> bool {
    retyped(ty, unit).is_some()
}

/// A type of timestamps in a unit, if it has another one.
fn retyped(ty: &DataType, unit: TimeUnit) -> Option<DataType> {
    match ty {
        DataType::Timestamp(own, zone) if *own != unit => {
            Some(DataType::Timestamp(unit, zone.clone()))
        }
        _ => None,
    }
}

fn compares(op: Operator) -> bool {
    use Operator::{Eq, Gt, GtEq, IsDistinctFrom, IsNotDistinctFrom, Lt, LtEq, NotEq};
    matches!(op, Eq | NotEq | Lt | LtEq | Gt | GtEq | IsDistinctFrom | IsNotDistinctFrom)
}

fn is_constant(expr: &Expr) -> bool {
    !expr.any_column_refs() && !expr.contains_outer() && !expr.contains_scalar_subquery()
}

#[cfg(test)]
mod tests;
