//! Rows as a table for people.

use std::sync::Arc;

use datafusion::arrow::{
    array::{ArrayRef, RecordBatch, StringArray},
    datatypes::{DataType, Field, Schema, SchemaRef},
    error::ArrowError,
    util::{
        display::{ArrayFormatter, FormatOptions},
        pretty::pretty_format_batches,
    },
};
use indicatif::HumanCount;
use keyloom_client::Error;

use crate::error::Failure;

/// How many rows are shown.
const ROWS: usize = 40;
/// How many characters of a value are shown.
const WIDTH: usize = 160;

/// The rows to be shown, and how many more there are.
#[derive(Debug)]
pub(crate) struct Table {
    schema: SchemaRef,
    all: bool,
    shown: Vec<RecordBatch>,
    rows: usize,
    more: u64,
}

impl Table {
    /// Shows the first rows, or all of them in full.
    pub(crate) fn new(all: bool, schema: &SchemaRef) -> Self {
        Self { schema: Arc::clone(schema), all, shown: Vec::new(), rows: 0, more: 0 }
    }

    pub(crate) fn take(&mut self, batch: RecordBatch) {
        let room = if self.all { usize::MAX } else { ROWS - self.rows };
        let shown = batch.num_rows().min(room);
        self.more += (batch.num_rows() - shown) as u64;
        self.rows += shown;
        if shown > 0 {
            self.shown.push(batch.slice(0, shown));
        }
    }

    /// The table as text.
    pub(crate) fn render(&self) -> Result<String, Failure> {
        let mut text = self.cells().map_err(|error| Failure::running(Error::from(error)))?;
        if self.more > 0 {
            let rows = if self.more == 1 { "row" } else { "rows" };
            text = format!("{text}\n… {} more {rows} (--all shows them)", HumanCount(self.more));
        }
        Ok(text)
    }

    fn cells(&self) -> Result<String, ArrowError> {
        let width = if self.all { usize::MAX } else { WIDTH };
        let fields = self.schema.fields().iter();
        let fields: Vec<_> =
            fields.map(|field| Field::new(field.name(), DataType::Utf8, true)).collect();
        let texts = Arc::new(Schema::new(fields));
        let mut batches = vec![RecordBatch::new_empty(Arc::clone(&texts))];
        for batch in &self.shown {
            let columns: Result<Vec<_>, _> =
                batch.columns().iter().map(|column| cells(column, width)).collect();
            batches.push(RecordBatch::try_new(Arc::clone(&texts), columns?)?);
        }
        Ok(pretty_format_batches(&batches)?.to_string())
    }
}

/// A column's values as text.
fn cells(column: &ArrayRef, width: usize) -> Result<ArrayRef, ArrowError> {
    let options = FormatOptions::new().with_null("NULL");
    let formatter = ArrayFormatter::try_new(column.as_ref(), &options)?;
    let text = |row| Ok(short(formatter.value(row).try_to_string()?, width));
    let texts: Vec<String> = (0..column.len()).map(text).collect::<Result<_, ArrowError>>()?;
    Ok(Arc::new(StringArray::from(texts)) as ArrayRef)
}

fn short(text: String, width: usize) -> String {
    match text.char_indices().nth(width) {
        None => text,
        Some((end, _)) => format!("{}…", &text[..end]),
    }
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::Int32Array;

    use super::*;

    fn batch(values: std::ops::Range<i32>) -> RecordBatch {
        let column = Arc::new(Int32Array::from_iter_values(values)) as ArrayRef;
        RecordBatch::try_from_iter([("n", column)]).unwrap()
    }

    #[test]
    fn rows_beyond_the_first_are_counted() {
        let mut table = Table::new(false, &batch(0..1).schema());
        (0..3).for_each(|index| table.take(batch(index * 30..(index + 1) * 30)));
        let text = table.render().unwrap();
        assert!(text.contains("| 39 |") && !text.contains("| 40 |"), "{text}");
        assert!(text.ends_with("… 50 more rows (--all shows them)"), "{text}");
    }

    #[test]
    fn a_table_without_rows_has_its_head() {
        let text = Table::new(true, &batch(0..1).schema()).render().unwrap();
        assert!(text.contains("| n |"), "{text}");
    }

    #[test]
    fn long_values_are_cut_at_a_character() {
        assert_eq!(short("äöü".to_owned(), 2), "äö…");
        assert_eq!(short("äöü".to_owned(), 3), "äöü");
    }
}
