//! Rows by the folders that they go to: `col=value/…`, as Hive, Spark and DuckDB name them.

use std::collections::HashMap;

use arrow::{
    array::{Array, ArrayRef, RecordBatch, UInt32Array},
    compute::take_record_batch,
    row::{RowConverter, SortField},
    util::display::{ArrayFormatter, FormatOptions},
};
use keyloom_common::{Error, Result};

use super::shape::Shape;
use crate::object_stores::hive::{NULL, escape};

/// The longest name of a folder that file systems take.
const MAX_NAME_BYTES: usize = 255;

/// Rows, and the folder that they go to, below that of the output.
pub(super) type Share = (String, RecordBatch);

/// Shares a batch's rows out to folders, in the order of their first rows. Those of one folder stay
/// in order.
///
/// # Errors
/// `invalid` if a value cannot be the name of a folder.
pub(super) fn split(shape: &Shape, batch: &RecordBatch) -> Result<Vec<Share>> {
    let data = batch.project(&shape.data)?;
    if shape.partitions.is_empty() || batch.num_rows() == 0 {
        return Ok(vec![(String::new(), data)]);
    }
    let schema = batch.schema_ref();
    let columns = shape
        .partitions
        .iter()
        .map(|at| Column { name: schema.field(*at).name(), values: batch.column(*at) });
    let columns: Vec<_> = columns.collect();
    let groups = groups(&columns)?;
    let shares = groups.iter().map(|rows| {
        let folder = folder(&columns, rows.first().copied().unwrap_or_default() as usize)?;
        let share = match rows.len() == batch.num_rows() {
            true => data.clone(),
            false => take_record_batch(&data, &UInt32Array::from(rows.clone()))?,
        };
        Ok((folder, share))
    });
    shares.collect()
}

/// A column whose values name folders.
struct Column<'a> {
    name: &'a str,
    values: &'a ArrayRef,
}

/// The rows that have the same values.
fn groups(columns: &[Column<'_>]) -> Result<Vec<Vec<u32>>> {
    let fields = columns.iter().map(|column| SortField::new(column.values.data_type().clone()));
    let converter = RowConverter::new(fields.collect())?;
    let values: Vec<_> = columns.iter().map(|column| ArrayRef::clone(column.values)).collect();
    let rows = converter.convert_columns(&values)?;
    let mut groups: Vec<Vec<u32>> = Vec::new();
    let mut known = HashMap::new();
    for (number, row) in rows.iter().enumerate() {
        let group = *known.entry(row).or_insert_with(|| {
            groups.push(Vec::new());
            groups.len() - 1
        });
        groups[group].push(number as u32);
    }
    Ok(groups)
}

/// The folder of a row.
fn folder(columns: &[Column<'_>], row: usize) -> Result<String> {
    let names = columns.iter().map(|column| column.folder(row));
    Ok(names.collect::<Result<Vec<_>>>()?.join("/"))
}

impl Column<'_> {
    fn folder(&self, row: usize) -> Result<String> {
        let Self { name, values } = self;
        let mut folder = String::new();
        escape(name, &mut folder);
        folder.push('=');
        if values.logical_nulls().is_some_and(|nulls| nulls.is_null(row)) {
            folder.push_str(NULL);
            return Ok(folder);
        }
        let options = FormatOptions::new();
        let text =
            ArrayFormatter::try_new(values.as_ref(), &options)?.value(row).try_to_string()?;
        if text.is_empty() || text == NULL {
            return Err(Error::invalid(format!(
                "column '{name}' of partition_by holds the text '{text}', which names the folder \
                 of nulls and would be read as null; replace it in the statement"
            )));
        }
        escape(&text, &mut folder);
        match folder.len() > MAX_NAME_BYTES {
            true => Err(Error::invalid(format!(
                "column '{name}' of partition_by holds a text of {} bytes, too long for the name \
                 of a folder",
                text.len()
            ))),
            false => Ok(folder),
        }
    }
}
