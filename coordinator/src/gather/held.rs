//! Bytes that the coordinator made for workers to read.

use std::sync::Arc;

use bytes::Bytes;
use keyloom_common::{BlobId, Result};

use super::context::JobContext;

/// A blob of a job that goes with this.
#[derive(Debug)]
pub(super) struct HeldBlob {
    context: Arc<JobContext>,
    blob: BlobId,
}

impl HeldBlob {
    /// Holds rows for workers.
    ///
    /// # Errors
    /// `cancelled` if the job has ended, `resource_exhausted` if there is no room.
    pub(super) fn rows(context: &Arc<JobContext>, bytes: Bytes) -> Result<Self> {
        let blob = context.blobs.put_rows(context.job, bytes)?;
        Ok(Self { context: Arc::clone(context), blob })
    }

    /// Holds what workers run.
    ///
    /// # Errors
    /// `cancelled` if the job has ended.
    pub(super) fn plan(context: &Arc<JobContext>, bytes: Bytes) -> Result<Self> {
        let blob = context.blobs.put_plan(context.job, bytes)?;
        Ok(Self { context: Arc::clone(context), blob })
    }

    /// Its name.
    pub(super) fn id(&self) -> BlobId {
        self.blob
    }
}

impl Drop for HeldBlob {
    fn drop(&mut self) {
        self.context.blobs.forget(self.context.job, self.blob);
    }
}
