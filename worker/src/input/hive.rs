//! Columns that the names of folders give.

use std::sync::Arc;

use arrow::{
    array::ArrayRef,
    datatypes::{Schema, SchemaRef},
};
use datafusion::scalar::ScalarValue;
use keyloom_common::{Result, plan::FileSlice};
use object_store::{ObjectMeta, path::Path};

pub(super) fn partitions(
    _base: &Path,
    files: &[ObjectMeta],
    _given: &Schema,
) -> Result<(SchemaRef, Vec<Vec<Option<String>>>)> {
    Ok((Arc::new(Schema::empty()), vec![Vec::new(); files.len()]))
}

/// The value of each partition column for a slice.
pub(super) fn scalars(schema: &Schema, slice: &FileSlice) -> Result<Vec<ScalarValue>> {
    let values = schema.fields().iter().zip(&slice.partition_values);
    let scalar = |(field, value): (&Arc<arrow::datatypes::Field>, &Option<String>)| match value {
        Some(text) => Ok(ScalarValue::try_from_string(text.clone(), field.data_type())?),
        None => Ok(ScalarValue::try_from(field.data_type())?),
    };
    values.map(scalar).collect()
}

/// The same as arrays of so many rows.
pub(super) fn arrays(schema: &Schema, slice: &FileSlice, rows: usize) -> Result<Vec<ArrayRef>> {
    let scalars = scalars(schema, slice)?;
    scalars.iter().map(|value| Ok(value.to_array_of_size(rows)?)).collect()
}
