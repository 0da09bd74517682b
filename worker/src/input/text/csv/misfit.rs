//! Says where CSV text does not fit its columns.
//!
//! Arrow's reader knows neither lines nor names: when it fails, the text of the batch is read once
//! more, record by record.

use std::sync::Arc;

use arrow::{
    csv::ReaderBuilder,
    datatypes::{DataType, Field, Schema},
};
use bytes::Bytes;
use keyloom_common::{Error, Result, input::CsvOptions};
use object_store::path::Path;

use super::{convert, nulls::is_null, records::RecordReader};
use crate::input::text::error::{at_line, remedy, shown, toml_key};

/// A column of a file whose values are wanted.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    /// Which value of a record.
    pub(super) place: usize,
    pub(super) name: String,
    pub(super) data_type: DataType,
}

/// A row that has not as many values as there are columns.
pub(super) fn wrong_count(path: &Path, line: u64, found: usize, columns: usize) -> Error {
    let values = if found == 1 { "value" } else { "values" };
    at_line(path, line, format!("{found} {values}, where there are {columns} columns"))
}

/// A file with a column that the first one does not have.
pub(super) fn unknown(path: &Path, name: &str) -> Error {
    Error::invalid(format!(
        "file '{path}' has a column '{name}' that the first file does not have; if it is meant, \
         name it: columns = {{ {} = \"text\" }}",
        toml_key(name)
    ))
}

/// Refuses text that ends within quotes: the file is not whole, or a quote is one too many.
pub(super) fn check_end(
    chunks: &[Bytes],
    lines: u64,
    path: &Path,
    quote: u8,
    records: &mut RecordReader,
) -> Result<()> {
    if !chunks.iter().any(|chunk| memchr::memchr(quote, chunk).is_some()) {
        return Ok(());
    }
    records.restart(lines);
    for chunk in chunks {
        let mut rest = chunk.as_ref();
        while !rest.is_empty() {
            rest = &rest[records.read(rest).0..];
        }
    }
    // Outside of quotes, a line break ends a record.
    match records.is_within() && !records.read(b"\n").1 {
        true => Err(at_line(path, records.line(), "a quote is opened and never closed")),
        false => Ok(()),
    }
}

/// The first mistake in the text of a batch, if it can be found.
pub(super) fn find(
    text: &[u8],
    lines: u64,
    path: &Path,
    options: &CsvOptions,
    columns: usize,
    wanted: &[Wanted],
) -> Option<Error> {
    let mut records = RecordReader::new(options, lines);
    let mut rows = WantedValues { lines: Vec::new(), values: vec![Vec::new(); wanted.len()] };
    let mut rest = text;
    let wrong = loop {
        let ended = rest.is_empty();
        let (used, done) = records.read(rest);
        rest = &rest[used..];
        let count = records.values().len();
        if done && count == columns {
            if let Err(error) = rows.push(&records, path, options, wanted) {
                break Some(error);
            }
        } else if done || ended {
            let wrong = || wrong_count(path, records.line(), count, columns);
            break (done || count > columns).then(wrong);
        }
    };
    rows.misfit(path, wanted).or(wrong)
}

/// The wanted values of records that have the right number of them.
struct WantedValues {
    lines: Vec<u64>,
    /// For each wanted column; empty for null.
    values: Vec<Vec<String>>,
}

impl WantedValues {
    fn push(
        &mut self,
        records: &RecordReader,
        path: &Path,
        options: &CsvOptions,
        wanted: &[Wanted],
    ) -> Result<()> {
        let all: Vec<_> = records.values().collect();
        if let Some(place) = all.iter().position(|value| str::from_utf8(value).is_err()) {
            let name = wanted.iter().find(|column| column.place == place).map(|c| c.name.as_str());
            let what =
                name.map_or_else(|| format!("value {}", place + 1), |n| format!("column '{n}'"));
            return Err(at_line(path, records.line(), format!("{what} is not UTF-8")));
        }
        self.lines.push(records.line());
        for (values, column) in self.values.iter_mut().zip(wanted) {
            let value = all[column.place];
            let value = if is_null(options, value) { &[] } else { value };
            values.push(String::from_utf8_lossy(value).into_owned());
        }
        Ok(())
    }

    /// The first value that is not of its column's type.
    fn misfit(&self, path: &Path, wanted: &[Wanted]) -> Option<Error> {
        let misfits = self.values.iter().zip(wanted).filter_map(|(values, column)| {
            first_misfit(values, &column.data_type).map(|row| (row, &values[row], column))
        });
        let (row, value, column) = misfits.min_by_key(|(row, ..)| *row)?;
        let Wanted { name, data_type, .. } = column;
        let what = format!("column '{name}': '{}' is not of type {data_type}", shown(value));
        Some(at_line(path, self.lines[row], format!("{what}; {}", remedy(name, "text"))))
    }
}

/// The first of some values that is not of a type.
fn first_misfit(values: &[String], data_type: &DataType) -> Option<usize> {
    if all_fit(values, data_type) {
        return None;
    }
    let (mut fit, mut end) = (0, values.len());
    while end - fit > 1 {
        let middle = fit.midpoint(end);
        match all_fit(&values[fit..middle], data_type) {
            true => fit = middle,
            false => end = middle,
        }
    }
    Some(fit)
}

/// Whether values are of a type, as they are read.
pub(super) fn all_fit(values: &[String], data_type: &DataType) -> bool {
    let Some(decoded) = convert::decoded(data_type) else { return false };
    let quoted = values.iter().map(|value| format!("\"{}\"\n", value.replace('"', "\"\"")));
    let text: String = quoted.collect();
    let schema = Arc::new(Schema::new(vec![Field::new("", decoded, true)]));
    let mut decoder = ReaderBuilder::new(schema).with_batch_size(values.len() + 1).build_decoder();
    let array = decoder.decode(text.as_bytes()).and_then(|_| decoder.flush());
    match array {
        Ok(Some(batch)) => convert::convert(batch.column(0), data_type).is_ok(),
        Ok(None) => true,
        Err(_) => false,
    }
}
