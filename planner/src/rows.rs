//! VALUES whose rows hold calls, as queries of one row each: those can make lookups.

use std::sync::Arc;

use datafusion::{
    error::Result,
    logical_expr::{LogicalPlan, LogicalPlanBuilder, Union, Values},
};

/// The rows of VALUES as a union in their order.
pub(crate) fn rows_as_queries(values: &Values) -> Result<LogicalPlan> {
    let rows = values.values.iter().map(|row| {
        let columns = row.iter().zip(values.schema.fields());
        let columns = columns.map(|(value, field)| value.clone().alias(field.name()));
        let row = LogicalPlanBuilder::empty(true).project(columns)?.build()?;
        Ok(Arc::new(row))
    });
    let rows = rows.collect::<Result<Vec<_>>>()?;
    match rows.as_slice() {
        [row] => Ok(LogicalPlan::clone(row)),
        // Types are settled when VALUES are planned.
        _ => Ok(LogicalPlan::Union(Union::try_new(rows)?)),
    }
}
