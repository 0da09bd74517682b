//! From the columns of one file to those of the table: by name, each of the table's type.

use std::sync::Arc;

use arrow::{
    array::{ArrayRef, RecordBatch, RecordBatchOptions, new_null_array},
    compute::CastOptions,
    datatypes::{Field, Schema, SchemaRef},
};
use datafusion::common::nested_struct::cast_column;
use keyloom_common::{Error, Result, input::widen};

/// Where the wanted columns of a table are in a file.
#[derive(Clone, Debug)]
pub(super) struct Adapter {
    wanted: SchemaRef,
    /// For each wanted column its place among the columns that are read, if the file has it.
    places: Vec<Option<usize>>,
    /// The columns of the file that are read.
    read: Vec<usize>,
}

impl Adapter {
    /// Finds the wanted columns in a file.
    pub(super) fn new(file: &Schema, wanted: SchemaRef) -> Self {
        let mut read = Vec::new();
        let places = wanted.fields().iter().map(|field| {
            let column = file.index_of(field.name()).ok()?;
            read.push(column);
            Some(read.len() - 1)
        });
        let places = places.collect();
        Self { wanted, places, read }
    }

    /// The columns of the file that are read, in the order in which they are wanted.
    pub(super) fn read(&self) -> &[usize] {
        &self.read
    }

    /// The wanted columns of a batch of what is read.
    pub(super) fn adapt(&self, batch: &RecordBatch) -> Result<RecordBatch> {
        let rows = batch.num_rows();
        let columns =
            self.wanted.fields().iter().zip(&self.places).map(|(field, place)| match place {
                Some(place) => cast(batch.column(*place), field),
                None => Ok(new_null_array(field.data_type(), rows)),
            });
        let columns = columns.collect::<Result<_>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        Ok(RecordBatch::try_new_with_options(Arc::clone(&self.wanted), columns, &options)?)
    }
}

/// The values in the table's type. A value that it cannot hold is an error, never null.
fn cast(values: &ArrayRef, field: &Field) -> Result<ArrayRef> {
    if values.data_type() == field.data_type() {
        return Ok(Arc::clone(values));
    }
    let options = CastOptions { safe: false, ..CastOptions::default() };
    cast_column(values, field.data_type(), &options).map_err(|error| {
        let name = field.name();
        Error::from(error)
            .context(format!("column '{name}' cannot be read as {}", field.data_type()))
    })
}

/// Refuses a file with columns that the table does not have, or that do not fit it.
pub(super) fn check_fits(file: &Schema, table: &Schema) -> Result<()> {
    for field in file.fields() {
        let name = field.name();
        let Ok(column) = table.field_with_name(name) else {
            return Err(Error::invalid(format!(
                "it has a column '{name}' that the files looked into before do not have; name all \
                 columns with columns = {{ {name} = \"{}\", … }}",
                field.data_type()
            )));
        };
        let (one, other) = (field.data_type(), column.data_type());
        if widen(one, other).as_ref() != Some(other) {
            return Err(Error::invalid(format!(
                "column '{name}' is of type {one}, in the files looked into before of type {other}; \
                 say which is meant with columns = {{ {name} = \"…\" }}"
            )));
        }
    }
    Ok(())
}
