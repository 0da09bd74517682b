//! CSV as RFC 4180 has it. A null is nothing, an empty text is `""`.

use arrow::{
    array::{Array, RecordBatch},
    buffer::NullBuffer,
    datatypes::Schema,
    error::ArrowError,
    util::display::{ArrayFormatter, FormatOptions},
};

use super::Refused;

/// The names of the columns.
pub(super) fn head(schema: &Schema) -> Vec<u8> {
    let mut line = Vec::new();
    for (index, field) in schema.fields().iter().enumerate() {
        if index > 0 {
            line.push(b',');
        }
        push(field.name(), &mut line);
    }
    line.push(b'\n');
    line
}

/// Appends a line for each row.
pub(super) fn rows(batch: &RecordBatch, text: &mut Vec<u8>) -> Result<(), Refused> {
    let options = FormatOptions::new();
    let mut columns = Vec::new();
    for (column, field) in batch.columns().iter().zip(batch.schema_ref().fields()) {
        let values = ArrayFormatter::try_new(column, &options);
        let values = values.map_err(|error| failed(field.name(), &error))?;
        columns.push(Column { name: field.name(), values, nulls: column.logical_nulls() });
    }
    let alone = columns.len() == 1;
    let mut value = String::new();
    for row in 0..batch.num_rows() {
        for (index, column) in columns.iter().enumerate() {
            if index > 0 {
                text.push(b',');
            }
            match column.read(row, &mut value) {
                Ok(true) => push(&value, text),
                // Readers pass over empty lines.
                Ok(false) if alone => push("", text),
                Ok(false) => {}
                Err(error) => return Err(failed(column.name, &error)),
            }
        }
        text.push(b'\n');
    }
    Ok(())
}

struct Column<'a> {
    name: &'a str,
    values: ArrayFormatter<'a>,
    nulls: Option<NullBuffer>,
}

impl Column<'_> {
    /// Reads a value; false if it is null.
    fn read(&self, row: usize, value: &mut String) -> Result<bool, ArrowError> {
        if self.nulls.as_ref().is_some_and(|nulls| nulls.is_null(row)) {
            return Ok(false);
        }
        value.clear();
        self.values.value(row).write(value)?;
        Ok(true)
    }
}

fn failed(column: &str, error: &ArrowError) -> Refused {
    Refused::failed(format!("column '{column}' cannot be written as CSV: {error}"))
}

/// Appends a value, in quotes where readers would take it for something else.
fn push(value: &str, text: &mut Vec<u8>) {
    if !value.is_empty() && !value.contains([',', '"', '\n', '\r']) {
        text.extend_from_slice(value.as_bytes());
        return;
    }
    text.push(b'"');
    text.extend_from_slice(value.replace('"', "\"\"").as_bytes());
    text.push(b'"');
}
