//! Rows that missed their keys, as rows of a table.

use std::sync::Arc;

use arrow::{
    array::{ArrayRef, Int64Array, RecordBatch, StringArray},
    datatypes::{DataType, Field, Schema, SchemaRef},
};

use crate::error::Result;

/// The columns: the store's alias, the key as text, and the row's number in its input from 0, null
/// where rows have none.
pub fn missed_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("store", DataType::Utf8, false),
        Field::new("key", DataType::Utf8, false),
        Field::new("row", DataType::Int64, true),
    ]))
}

/// Rows: stores, keys and numbers.
///
/// # Errors
/// `invalid` if the keys are too long for one batch.
pub fn missed_rows<'a>(
    rows: impl IntoIterator<Item = (&'a str, &'a str, Option<i64>)>,
) -> Result<RecordBatch> {
    let (mut stores, mut keys, mut numbers) = (Vec::new(), Vec::new(), Vec::new());
    for (store, key, number) in rows {
        stores.push(store);
        keys.push(key);
        numbers.push(number);
    }
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from(stores)),
        Arc::new(StringArray::from(keys)),
        Arc::new(Int64Array::from(numbers)),
    ];
    Ok(RecordBatch::try_new(missed_schema(), columns)?)
}
