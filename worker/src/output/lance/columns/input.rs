//! The rows of a task, cut where its fragments end.

use std::sync::Arc;

use arrow::{array::RecordBatch, datatypes::SchemaRef};
use datafusion::{
    error::DataFusionError, execution::SendableRecordBatchStream,
    physical_plan::stream::RecordBatchStreamAdapter,
};
use futures::{StreamExt, stream};
use keyloom_common::{Error, Result};
use tokio::sync::Mutex;

use super::super::rows::Failure;

/// The rows of a task.
pub(super) struct Input {
    schema: SchemaRef,
    rows: Mutex<Rows>,
    failure: Failure,
}

struct Rows {
    rows: SendableRecordBatchStream,
    /// Those of a batch that are the next fragment's.
    rest: Option<RecordBatch>,
}

impl Input {
    pub(super) fn new(rows: SendableRecordBatchStream, failure: Failure) -> Self {
        let (schema, rows) = (rows.schema(), Mutex::new(Rows { rows, rest: None }));
        Self { schema, rows, failure }
    }

    /// The next rows, exactly so many.
    pub(super) fn take(self: Arc<Self>, rows: usize) -> SendableRecordBatchStream {
        let schema = Arc::clone(&self.schema);
        let batches = stream::try_unfold((self, rows), |(this, wanted)| async move {
            if wanted == 0 {
                return Ok(None);
            }
            let next = this.rows.lock().await.next(wanted).await?;
            match next {
                Some(batch) => {
                    let wanted = wanted - batch.num_rows();
                    Ok::<_, DataFusionError>(Some((batch, (this, wanted))))
                }
                None => Err(this.failure.note(not_as_many("fewer").into())),
            }
        });
        Box::pin(RecordBatchStreamAdapter::new(schema, batches))
    }

    /// Comes to the end.
    ///
    /// # Errors
    /// `internal` if there are more rows; else those of the rows.
    pub(super) async fn end(&self) -> Result<()> {
        let next = self.rows.lock().await.next(1).await?;
        match next {
            None => Ok(()),
            Some(_) => Err(not_as_many("more")),
        }
    }
}

impl Rows {
    /// The next rows, at most so many; none at the end.
    async fn next(&mut self, most: usize) -> Result<Option<RecordBatch>, DataFusionError> {
        loop {
            let batch = match self.rest.take() {
                Some(batch) => batch,
                None => match self.rows.next().await {
                    Some(batch) => batch?,
                    None => return Ok(None),
                },
            };
            let rows = batch.num_rows();
            if rows > most {
                self.rest = Some(batch.slice(most, rows - most));
                return Ok(Some(batch.slice(0, most)));
            }
            if rows > 0 {
                return Ok(Some(batch));
            }
        }
    }
}

fn not_as_many(than: &str) -> Error {
    Error::internal(format!("a task has {than} rows than the fragments that get columns of it"))
}
