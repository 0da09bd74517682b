//! The seam between a fragment, which is data, and the worker that runs it.

use std::{fmt::Debug, sync::Arc};

use arrow::array::RecordBatch;
use async_trait::async_trait;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};

use super::InputScanExec;
use crate::{
    BlobId,
    error::{Error, Result},
    lookup::KvLookupExec,
    output::WriteExec,
};

/// What a fragment needs of its worker.
#[async_trait]
pub trait FragmentRuntime: Debug + Send + Sync {
    /// Runs a lookup node over its input's rows.
    ///
    /// # Errors
    /// If the lookup cannot start; later errors come through the stream.
    fn lookup(
        &self,
        node: &KvLookupExec,
        partition: usize,
        input: SendableRecordBatchStream,
        context: &Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream>;

    /// Reads a partition of an input.
    ///
    /// # Errors
    /// If the scan cannot start; later errors come through the stream.
    fn scan(
        &self,
        node: &InputScanExec,
        partition: usize,
        context: &Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream>;

    /// Writes its input's rows, and tells of the pieces.
    ///
    /// # Errors
    /// If writing cannot start; later errors come through the stream.
    fn write(
        &self,
        node: &WriteExec,
        input: SendableRecordBatchStream,
    ) -> Result<SendableRecordBatchStream>;

    /// The rows of a frame's partition.
    ///
    /// # Errors
    /// If the coordinator cannot be asked or no longer has them.
    async fn rows(&self, id: BlobId) -> Result<Vec<RecordBatch>>;
}

/// The extension of a session's configuration that carries the runtime.
#[derive(Clone, Debug)]
pub struct FragmentRuntimeHandle(pub Arc<dyn FragmentRuntime>);

/// The runtime of the worker that runs this task.
///
/// # Errors
/// `internal` where there is none: lookups and frames are for workers only.
pub fn fragment_runtime(context: &TaskContext) -> Result<Arc<dyn FragmentRuntime>> {
    context
        .session_config()
        .get_extension::<FragmentRuntimeHandle>()
        .map(|handle| Arc::clone(&handle.0))
        .ok_or_else(|| Error::internal("lookups run on workers; this plan was executed elsewhere"))
}
