//! Rows on their way to Lance: in the columns of a dataset, by name, in types that it stores.

use std::{
    future::ready,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use arrow::{
    array::{Array, ArrayRef, RecordBatch, RecordBatchOptions},
    compute::cast,
    datatypes::{FieldRef, SchemaRef},
};
use datafusion::{
    error::DataFusionError, execution::SendableRecordBatchStream,
    physical_plan::stream::RecordBatchStreamAdapter,
};
use futures::{StreamExt, TryStreamExt, stream};
use keyloom_common::{Error, Result};

/// The first error of rows, as it was. On its way through Lance it loses its kind.
#[derive(Clone, Debug, Default)]
pub(super) struct Failure(Arc<Mutex<Option<Error>>>);

impl Failure {
    /// Takes note of an error.
    pub(super) fn note(&self, error: DataFusionError) -> DataFusionError {
        let own = Error::from(error);
        self.lock().get_or_insert_with(|| own.clone());
        DataFusionError::from(own)
    }

    /// What was done with the rows, or their error if that is why it failed.
    pub(super) fn or<T>(&self, done: Result<T>) -> Result<T> {
        done.map_err(|error| self.lock().take().unwrap_or(error))
    }

    fn lock(&self) -> MutexGuard<'_, Option<Error>> {
        // No change leaves it half-done, so a poisoned lock guards sound contents.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The rows with these columns, all of which they have by name, in these types.
pub(super) fn under(
    rows: SendableRecordBatchStream,
    schema: SchemaRef,
    failure: &Failure,
) -> SendableRecordBatchStream {
    let (columns, failure) = (Arc::clone(&schema), failure.clone());
    let rows =
        rows.and_then(move |batch| ready(convert(&batch, &columns).map_err(DataFusionError::from)));
    let rows = rows.map(move |batch| batch.map_err(|error| failure.note(error)));
    Box::pin(RecordBatchStreamAdapter::new(schema, rows))
}

/// The rows, of which the first have come. Lance would wait for those in a task that nobody ends.
pub(super) async fn begun(
    mut rows: SendableRecordBatchStream,
) -> Result<SendableRecordBatchStream> {
    let first = rows.try_next().await.map_err(Error::from)?;
    let schema = rows.schema();
    let rows = stream::iter(first.map(Ok)).chain(rows);
    Ok(Box::pin(RecordBatchStreamAdapter::new(schema, rows)))
}

/// A batch with these columns.
///
/// # Errors
/// `invalid` if a row has no value in a column that needs one, naming the column; `internal` if
/// there is no such column.
pub(super) fn convert(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    let columns = schema.fields().iter().map(|field| column(batch, field));
    let columns = columns.collect::<Result<Vec<_>>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    Ok(RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)?)
}

fn column(batch: &RecordBatch, field: &FieldRef) -> Result<ArrayRef> {
    let name = field.name();
    let missing = || Error::internal(format!("rows without the column '{name}' they should have"));
    let values = batch.column_by_name(name).ok_or_else(missing)?;
    if !field.is_nullable() && values.logical_null_count() > 0 {
        return Err(Error::invalid(format!(
            "column '{name}' of the Lance dataset needs a value in each row, and a row has none"
        )));
    }
    match values.data_type() == field.data_type() {
        true => Ok(Arc::clone(values)),
        false => Ok(cast(values, field.data_type())?),
    }
}
