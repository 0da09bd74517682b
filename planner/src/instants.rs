//! Comparing timestamps of different units as they are.
//!
//! DataFusion rounds the finer one to the unit of the coarser: instants within one millisecond
//! would be equal, and a union would cut off what its coarsest input has no room for. So the coarser
//! one is cast before, which changes no value; one that is too far away for the finer unit is an
//! error. Constants are left alone: they are read in the unit of what they are compared with.

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
        BinaryExpr, Expr, ExprSchemable, Join, LogicalPlan, Operator, Projection, Union, cast,
        expr::InSubquery, expr_rewriter::NamePreserver, utils::merge_schema,
    },
    optimizer::AnalyzerRule,
};

/// Casts timestamps to the finer of the units that meet.
#[derive(Debug, Default)]
pub struct KeepInstants;

impl AnalyzerRule for KeepInstants {
    fn analyze(&self, plan: LogicalPlan, _config: &ConfigOptions) -> Result<LogicalPlan> {
        let mut has_cast = false;
        plan.transform_up_with_subqueries(|node| {
            let kept = keep_in_node(node)?;
            has_cast |= kept.transformed;
            // What is below may have other units than before.
            if has_cast { kept.map_data(LogicalPlan::recompute_schema) } else { Ok(kept) }
        })
        .data()
    }

    fn name(&self) -> &'static str {
        "keep_instants"
    }
}

fn keep_in_node(node: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    match node {
        LogicalPlan::Join(join) => {
            let Transformed { data: join, transformed, .. } = keep_in_join(join);
            let kept = keep_in_exprs(LogicalPlan::Join(join))?;
            let is_cast = transformed || kept.transformed;
            Ok(Transformed::new_transformed(kept.data, is_cast))
        }
        LogicalPlan::Union(union) => keep_in_union(union),
        node => keep_in_exprs(node),
    }
}

fn keep_in_exprs(node: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
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
        let kept = expr.transform_up(|expr| keep_in_expr(expr, &schema))?;
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
        Expr::BinaryExpr(BinaryExpr { left, op, right })
            if compares(op) && !is_constant(&left) && !is_constant(&right) =>
        {
            let (left, right, is_cast) = in_one_unit(*left, *right, schema);
            let expr = BinaryExpr::new(Box::new(left), op, Box::new(right));
            Transformed::new_transformed(Expr::BinaryExpr(expr), is_cast)
        }
        Expr::InSubquery(among) => keep_in_subquery(among, schema)?,
        other => Transformed::no(other),
    })
}

fn in_one_unit(left: Expr, right: Expr, schema: &DFSchema) -> (Expr, Expr, bool) {
    let (Ok(one), Ok(other)) = (left.get_type(schema), right.get_type(schema)) else {
        return (left, right, false);
    };
    match finer(&one, &other) {
        Some(unit) => (in_unit(left, &one, unit), in_unit(right, &other, unit), true),
        None => (left, right, false),
    }
}

fn keep_in_subquery(among: InSubquery, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let found = among.subquery.subquery.schema().fields().first();
    let types = among.expr.get_type(schema).ok().zip(found.map(|found| found.data_type().clone()));
    let Some((asked, found)) = types else { return Ok(Transformed::no(Expr::InSubquery(among))) };
    let Some(unit) = finer(&asked, &found) else {
        return Ok(Transformed::no(Expr::InSubquery(among)));
    };
    let rows = in_units(Arc::clone(&among.subquery.subquery), &[Some(unit)])?;
    Ok(Transformed::yes(Expr::InSubquery(InSubquery {
        expr: Box::new(in_unit(*among.expr, &asked, unit)),
        subquery: among.subquery.with_plan(rows),
        negated: among.negated,
    })))
}

/// The inputs with the finest unit that a column has in any of them.
fn keep_in_union(union: Union) -> Result<Transformed<LogicalPlan>> {
    let columns = 0..union.schema.fields().len();
    let units: Vec<_> = columns.map(|column| finest(&union.inputs, column)).collect();
    if units.iter().all(Option::is_none) {
        return Ok(Transformed::no(LogicalPlan::Union(union)));
    }
    let inputs = union.inputs.into_iter().map(|input| in_units(input, &units));
    let inputs = inputs.collect::<Result<_>>()?;
    let fields = union.schema.iter().zip(&units).map(|((qualifier, field), unit)| {
        let ty = unit.and_then(|unit| retyped(field.data_type(), unit));
        let field = field.as_ref().clone();
        let ty = ty.unwrap_or_else(|| field.data_type().clone());
        (qualifier.cloned(), Arc::new(field.with_data_type(ty)))
    });
    let schema = DFSchema::new_with_metadata(fields.collect(), union.schema.metadata().clone())?;
    Ok(Transformed::yes(LogicalPlan::Union(Union { inputs, schema: Arc::new(schema) })))
}

/// The finest unit of a column, if inputs differ in it.
fn finest(inputs: &[Arc<LogicalPlan>], column: usize) -> Option<TimeUnit> {
    let types = inputs.iter().map(|input| input.schema().fields().get(column));
    let units = types.map(|field| match field?.data_type() {
        DataType::Timestamp(unit, _) => Some(*unit),
        _ => None,
    });
    let units = units.collect::<Option<Vec<_>>>()?;
    let (coarsest, finest) = (units.iter().min()?, units.iter().max()?);
    (coarsest != finest).then_some(*finest)
}

/// The rows with these units in the places of columns that have one.
fn in_units(rows: Arc<LogicalPlan>, units: &[Option<TimeUnit>]) -> Result<Arc<LogicalPlan>> {
    let schema = Arc::clone(rows.schema());
    let columns = schema.iter().zip(units).map(|((qualifier, field), unit)| {
        let column = Expr::Column(Column::new(qualifier.cloned(), field.name()));
        match unit.filter(|unit| retyped(field.data_type(), *unit).is_some()) {
            Some(unit) => in_unit(column, field.data_type(), unit)
                .alias_qualified(qualifier.cloned(), field.name()),
            None => column,
        }
    });
    let projection = Projection::try_new(columns.collect(), rows)?;
    Ok(Arc::new(LogicalPlan::Projection(projection)))
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
    !expr.any_column_refs() && !expr.contains_outer()
}

#[cfg(test)]
mod tests {
    use arrow::{
        array::{ArrayRef, RecordBatch, TimestampMicrosecondArray, TimestampMillisecondArray},
        util::pretty::pretty_format_batches,
    };
    use datafusion::{
        execution::SessionStateBuilder, optimizer::Analyzer, prelude::SessionContext,
    };

    use super::*;

    /// Tables `fine` in microseconds and `coarse` in milliseconds, with one instant in common.
    fn context() -> SessionContext {
        let mut rules = Analyzer::default().rules;
        rules.insert(0, Arc::new(KeepInstants));
        let state = SessionStateBuilder::new().with_default_features().with_analyzer_rules(rules);
        let context = SessionContext::new_with_state(state.build());
        let fine: ArrayRef = Arc::new(TimestampMicrosecondArray::from(vec![1000, 1001, 2001]));
        let coarse: ArrayRef = Arc::new(TimestampMillisecondArray::from(vec![1, 2]));
        for (name, column) in [("fine", fine), ("coarse", coarse)] {
            let batch = RecordBatch::try_from_iter([("t", column)]).unwrap();
            context.register_batch(name, batch).unwrap();
        }
        context
    }

    async fn count(query: &str) -> String {
        let sql = format!("SELECT CAST(count(*) AS VARCHAR) AS n FROM ({query}) AS x");
        let batches = context().sql(&sql).await.unwrap().collect().await.unwrap();
        let text = pretty_format_batches(&batches).unwrap().to_string();
        text.lines().nth(3).unwrap().replace(['|', ' '], "")
    }

    #[tokio::test]
    async fn instants_of_different_units_are_equal_if_they_are_the_same() {
        for (query, expected) in [
            ("SELECT f.t FROM fine f JOIN coarse c ON f.t = c.t", "1"),
            ("SELECT t FROM coarse JOIN fine USING (t)", "1"),
            ("SELECT f.t FROM fine f, coarse c WHERE f.t > c.t", "3"),
            ("SELECT t FROM fine WHERE t IN (SELECT t FROM coarse)", "1"),
            ("SELECT t FROM coarse WHERE t NOT IN (SELECT t FROM fine)", "1"),
            ("SELECT t FROM coarse c WHERE EXISTS (SELECT 1 FROM fine f WHERE f.t = c.t)", "1"),
            ("SELECT t FROM fine INTERSECT SELECT t FROM coarse", "1"),
            ("SELECT t FROM fine EXCEPT SELECT t FROM coarse", "2"),
            ("SELECT t FROM coarse UNION SELECT t FROM fine", "4"),
            ("SELECT DISTINCT t FROM (SELECT t FROM coarse UNION ALL SELECT t FROM fine)", "4"),
        ] {
            assert_eq!(count(query).await, expected, "{query}");
        }
    }
}
