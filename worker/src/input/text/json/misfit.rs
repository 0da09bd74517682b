//! Says where JSON text does not fit its columns.
//!
//! Arrow's reader knows no lines: when it fails, the text of the batch is read once more, row by
//! row.

use std::sync::Arc;

use arrow::{
    datatypes::{DataType, Field, Fields, Schema},
    error::ArrowError,
    json::ReaderBuilder,
};
use keyloom_common::Error;
use object_store::path::Path;
use serde_json::{Map, Value};

use super::{convert::convert, read::Columns, rows::RowReader};
use crate::input::text::error::{at_line, remedy, shown};

/// What helps where a field holds objects, lists and other values, which no column holds together.
pub(super) const ONE_KIND: &str = "write all its values as one kind, for instance as text";
const MORE: &str = "look at more of the files with infer_bytes";

/// A row that is no JSON object.
pub(super) fn not_json(path: &Path, rows: &RowReader, error: &serde_json::Error) -> Error {
    let line = rows.line() + (error.line() as u64).saturating_sub(1);
    let message = error.to_string();
    // The place that it names is one within the row.
    let reason = message.split(" at line ").next().unwrap_or(&message);
    at_line(path, line, format!("not a JSON object: {reason}"))
}

/// What Arrow's reader says of its failure.
pub(super) fn reason(error: &ArrowError) -> String {
    match error {
        ArrowError::JsonError(reason) | ArrowError::ParseError(reason) => reason.clone(),
        error => error.to_string(),
    }
}

/// The first mistake in the text of a batch that made Arrow's reader fail, if it can be found.
pub(super) fn find(
    text: &[u8],
    lines: u64,
    path: &Path,
    columns: &Columns,
    error: &ArrowError,
) -> Option<Error> {
    let mut rows = RowReader::new(lines);
    let mut rest = text;
    loop {
        let ended = rest.is_empty();
        let (used, done) = rows.read(rest);
        rest = &rest[used..];
        if done {
            let row = match serde_json::from_slice::<Map<String, Value>>(rows.row()) {
                Ok(row) => row,
                // The end of what was read may stand in the middle of a row.
                Err(eof) if eof.is_eof() => {
                    let what = format!("not a JSON object: {}", reason(error));
                    return Some(at_line(path, rows.line(), what));
                }
                Err(error) => return Some(not_json(path, &rows, &error)),
            };
            if let Some(what) = misfit(rows.row(), &row, columns) {
                return Some(at_line(path, rows.line(), what));
            }
        } else if ended {
            return None;
        }
    }
}

/// What is wrong with a row.
fn misfit(text: &[u8], row: &Map<String, Value>, columns: &Columns) -> Option<String> {
    for (decoded, field) in columns.decoded.fields().iter().zip(columns.table.fields()) {
        if !fits(text, decoded, field.data_type()) {
            let name = field.name();
            let value = row.get(name).unwrap_or(&Value::Null);
            let advice =
                match (value.is_object() || value.is_array(), field.data_type().is_nested()) {
                    (true, true) => MORE.to_owned(),
                    (false, false) => remedy(name, "text"),
                    _ => ONE_KIND.to_owned(),
                };
            let (value, of) = (value.to_string(), field.data_type().to_string());
            let (value, of) = (shown(&value), shown(&of));
            return Some(format!("field '{name}': {value} is not of type {of}; {advice}"));
        }
    }
    let path = columns.strict.then(|| unknown(row, columns.table.fields()))??;
    Some(match path.contains(['.', '[']) {
        false => format!("the field '{path}' is no column; {}", remedy(&path, "text")),
        true => format!("the field '{path}' is no column; {MORE}"),
    })
}

fn fits(text: &[u8], decoded: &Field, data_type: &DataType) -> bool {
    let schema = Arc::new(Schema::new(vec![decoded.clone()]));
    let decoder = ReaderBuilder::new(schema).with_coerce_primitive(true).build_decoder();
    let batch = decoder.and_then(|mut decoder| {
        decoder.decode(text)?;
        decoder.flush()
    });
    match batch {
        Ok(Some(batch)) => convert(batch.column(0), data_type).is_ok(),
        Ok(None) => true,
        Err(_) => false,
    }
}

/// The way to the first field that is not among some.
fn unknown(row: &Map<String, Value>, fields: &Fields) -> Option<String> {
    row.iter().find_map(|(name, value)| match fields.find(name) {
        Some((_, field)) => {
            unknown_within(value, field.data_type()).map(|rest| format!("{name}{rest}"))
        }
        None => Some(name.clone()),
    })
}

fn unknown_within(value: &Value, data_type: &DataType) -> Option<String> {
    match (value, data_type) {
        (Value::Object(row), DataType::Struct(fields)) => {
            unknown(row, fields).map(|rest| format!(".{rest}"))
        }
        (
            Value::Array(values),
            DataType::List(field) | DataType::LargeList(field) | DataType::FixedSizeList(field, _),
        ) => {
            let mut unknown = values.iter().map(|value| unknown_within(value, field.data_type()));
            unknown.find_map(|rest| rest.map(|rest| format!("[]{rest}")))
        }
        _ => None,
    }
}
