//! Uploads whose every request ends.

use std::{fmt, sync::Arc};

use async_trait::async_trait;
use object_store::{
    MultipartId, PutPayload, PutResult, Result,
    multipart::{MultipartStore, PartId},
    path::Path,
};
use tokio::time::timeout;

use super::{in_vain, write_bound};
use crate::store::Patience;

/// Uploads that are waited for within bounds.
#[derive(Clone)]
pub(super) struct LimitedUploads {
    pub(super) inner: Arc<dyn MultipartStore>,
    pub(super) patience: Patience,
}

impl LimitedUploads {
    async fn within<T>(
        &self,
        bytes: usize,
        path: &Path,
        request: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        let answer = timeout(write_bound(self.patience, bytes as u64), request).await;
        answer.unwrap_or_else(|_| Err(in_vain(self.patience, path)))
    }
}

impl fmt::Debug for LimitedUploads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LimitedUploads").finish_non_exhaustive()
    }
}

#[async_trait]
impl MultipartStore for LimitedUploads {
    async fn create_multipart(&self, path: &Path) -> Result<MultipartId> {
        self.within(0, path, self.inner.create_multipart(path)).await
    }

    async fn put_part(
        &self,
        path: &Path,
        id: &MultipartId,
        part_idx: usize,
        data: PutPayload,
    ) -> Result<PartId> {
        let bytes = data.content_length();
        self.within(bytes, path, self.inner.put_part(path, id, part_idx, data)).await
    }

    async fn complete_multipart(
        &self,
        path: &Path,
        id: &MultipartId,
        parts: Vec<PartId>,
    ) -> Result<PutResult> {
        self.within(0, path, self.inner.complete_multipart(path, id, parts)).await
    }

    async fn abort_multipart(&self, path: &Path, id: &MultipartId) -> Result<()> {
        self.within(0, path, self.inner.abort_multipart(path, id)).await
    }
}
