//! Unions whose inputs have timestamps of different units.

use std::sync::Arc;

use arrow::datatypes::{DataType, TimeUnit};
use datafusion::{
    common::{Column, DFSchema, DFSchemaRef, tree_node::Transformed},
    error::Result,
    logical_expr::{Expr, LogicalPlan, Projection, Union},
};

use super::{has_other, in_unit, retyped};

/// A union whose inputs have the finest unit that a column has in any of them.
pub(super) fn in_finest_units(Union { inputs, schema }: Union) -> Result<Transformed<LogicalPlan>> {
    let inputs = inputs.into_iter().map(with_own_types).collect::<Result<Vec<_>>>()?;
    let columns = 0..schema.fields().len();
    let units: Vec<_> = columns.map(|column| finest(&inputs, column)).collect();
    let is_other = |of: &DFSchemaRef| {
        let mut columns = of.fields().iter().zip(&units);
        columns.any(|(field, unit)| unit.is_some_and(|unit| has_other(field.data_type(), unit)))
    };
    if !is_other(&schema) && !inputs.iter().any(|input| is_other(input.schema())) {
        return Ok(Transformed::no(LogicalPlan::Union(Union { inputs, schema })));
    }
    let inputs = inputs.into_iter().map(|input| in_units(input, &units));
    let inputs = inputs.collect::<Result<_>>()?;
    let fields = schema.iter().zip(&units).map(|((qualifier, field), unit)| {
        let ty = unit.and_then(|unit| retyped(field.data_type(), unit));
        let field = field.as_ref().clone();
        let ty = ty.unwrap_or_else(|| field.data_type().clone());
        (qualifier.cloned(), Arc::new(field.with_data_type(ty)))
    });
    let schema = DFSchema::new_with_metadata(fields.collect(), schema.metadata().clone())?;
    Ok(Transformed::yes(LogicalPlan::Union(Union { inputs, schema: Arc::new(schema) })))
}

/// An input of a union with the types that it has: those of one that is told by its columns' names
/// are said to be the first input's.
fn with_own_types(input: Arc<LogicalPlan>) -> Result<Arc<LogicalPlan>> {
    if !matches!(input.as_ref(), LogicalPlan::Projection(_)) {
        return Ok(input);
    }
    Ok(Arc::new(Arc::unwrap_or_clone(input).recompute_schema()?))
}

/// The finest unit of a column, if it is a timestamp in all inputs that have it.
fn finest(inputs: &[Arc<LogicalPlan>], column: usize) -> Option<TimeUnit> {
    let types = inputs.iter().filter_map(|input| input.schema().fields().get(column));
    let types = types.map(|field| field.data_type()).filter(|ty| **ty != DataType::Null);
    let units = types.map(|ty| match ty {
        DataType::Timestamp(unit, _) => Some(*unit),
        _ => None,
    });
    units.collect::<Option<Vec<_>>>()?.into_iter().max()
}

/// The rows with these units in the places of columns that have one.
fn in_units(rows: Arc<LogicalPlan>, units: &[Option<TimeUnit>]) -> Result<Arc<LogicalPlan>> {
    let schema = Arc::clone(rows.schema());
    let columns = schema.iter().zip(units).map(|((qualifier, field), unit)| {
        let column = Expr::Column(Column::new(qualifier.cloned(), field.name()));
        match unit.filter(|unit| has_other(field.data_type(), *unit)) {
            Some(unit) => in_unit(column, field.data_type(), unit)
                .alias_qualified(qualifier.cloned(), field.name()),
            None => column,
        }
    });
    let projection = Projection::try_new(columns.collect(), rows)?;
    Ok(Arc::new(LogicalPlan::Projection(projection)))
}
