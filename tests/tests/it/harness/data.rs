//! What tables are made of, and rows as text.

use std::sync::Arc;

use anyhow::Result;
use arrow::{
    array::{Array, ArrayRef, Int64Array, RecordBatch, RecordBatchIterator, StringArray},
    datatypes::Schema,
    util::display::{ArrayFormatter, FormatOptions},
};
use lance::{Dataset, dataset::WriteParams};

/// Rows as text, their values between ` | `. A null is `NULL`, a struct `{a: 1, b: x}`.
pub(crate) fn show_rows(batches: &[RecordBatch]) -> Result<Vec<String>> {
    let options = FormatOptions::default().with_null("NULL");
    let mut rows = Vec::new();
    for batch in batches {
        let columns = batch.columns().iter();
        let columns = columns.map(|column| ArrayFormatter::try_new(column.as_ref(), &options));
        let columns = columns.collect::<Result<Vec<_>, _>>()?;
        for row in 0..batch.num_rows() {
            let values = columns.iter().map(|column| column.value(row).try_to_string());
            rows.push(values.collect::<Result<Vec<_>, _>>()?.join(" | "));
        }
    }
    Ok(rows)
}

/// Columns as one batch; all may hold nulls.
pub(crate) fn batch<'a>(columns: impl IntoIterator<Item = (&'a str, ArrayRef)>) -> RecordBatch {
    let columns = columns.into_iter().map(|(name, column)| (name, column, true));
    RecordBatch::try_from_iter_with_nullable(columns).expect("columns of one length")
}

/// A column of `Int64`, from numbers or options of them.
pub(crate) fn ints<T: Into<Option<i64>>>(values: impl IntoIterator<Item = T>) -> ArrayRef {
    Arc::new(values.into_iter().map(Into::into).collect::<Int64Array>())
}

/// A column of `Utf8`, from strings or options of them.
pub(crate) fn strings<'a, T: Into<Option<&'a str>>>(
    values: impl IntoIterator<Item = T>,
) -> ArrayRef {
    Arc::new(values.into_iter().map(Into::into).collect::<StringArray>())
}

/// A column of any type.
pub(crate) fn column(array: impl Array + 'static) -> ArrayRef {
    Arc::new(array)
}

/// Writes batches as a Lance dataset in fragments of so many rows.
pub(crate) async fn write_lance(
    uri: &str,
    batches: &[RecordBatch],
    fragment_rows: usize,
) -> Result<Dataset> {
    let params = WriteParams { max_rows_per_file: fragment_rows, ..WriteParams::default() };
    write_lance_with(uri, batches, params).await
}

/// Writes batches as a Lance dataset.
pub(crate) async fn write_lance_with(
    uri: &str,
    batches: &[RecordBatch],
    params: WriteParams,
) -> Result<Dataset> {
    let schema = batches.first().map_or_else(|| Arc::new(Schema::empty()), RecordBatch::schema);
    let owned: Vec<_> = batches.to_vec();
    let reader = RecordBatchIterator::new(owned.into_iter().map(Ok), schema);
    Ok(Dataset::write(reader, uri, Some(params)).await?)
}
