//! An object store whose every request ends: answered, made again, or said to be without an answer.
//!
//! What is bounded is how long nothing comes: an answer that is slow but steady is waited for.

mod uploads;

use std::{fmt, ops::Range, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use futures::{
    StreamExt, TryStreamExt,
    stream::{self, BoxStream},
};
use object_store::{
    CopyOptions, Error as StoreError, GetOptions, GetResult, GetResultPayload, ListResult,
    MultipartUpload, ObjectMeta, ObjectStore, PutMultipartOptions, PutOptions, PutPayload,
    PutResult, RenameOptions, Result, multipart::MultipartStore, path::Path,
};
use tokio::time::timeout;

use self::uploads::LimitedUploads;
use super::open::Opened;
use crate::store::Patience;

/// Bytes that even a slow disk reads in a second.
const SLOW_DISK: u64 = 1 << 20;

/// The same store, which is waited for within bounds.
pub(super) fn limited(opened: Opened, patience: Patience) -> Opened {
    let Opened { store, uploads } = opened;
    let uploads = uploads
        .map(|inner| Arc::new(LimitedUploads { inner, patience }) as Arc<dyn MultipartStore>);
    Opened { store: Arc::new(Limited::new(store, patience)), uploads }
}

/// How long it may take to write so many bytes.
fn write_bound(patience: Patience, bytes: u64) -> Duration {
    patience.whole_request().saturating_add(Duration::from_secs(bytes / SLOW_DISK))
}

/// What is said of a request that was in vain.
fn in_vain(patience: Patience, path: &Path) -> StoreError {
    let error = patience.no_answer().context(path);
    StoreError::Generic { store: "object store", source: Box::new(error) }
}

/// An object store that is waited for within bounds.
#[derive(Clone, Debug)]
pub(super) struct Limited {
    inner: Arc<dyn ObjectStore>,
    patience: Patience,
}

impl Limited {
    pub(super) fn new(inner: Arc<dyn ObjectStore>, patience: Patience) -> Self {
        Self { inner, patience }
    }

    /// Makes a request, and again while it stays without an answer.
    async fn ask<T, F>(&self, path: &Path, request: impl Fn() -> F) -> Result<T>
    where
        F: Future<Output = Result<T>>,
    {
        let asked = async {
            for _ in 0..self.patience.retries() {
                if let Ok(answer) = timeout(self.patience.request, request()).await {
                    return answer;
                }
            }
            request().await
        };
        self.within(self.patience.answer, path, asked).await
    }

    async fn within<T>(
        &self,
        bound: Duration,
        path: &Path,
        request: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        let answer = timeout(bound, request).await;
        answer.unwrap_or_else(|_| Err(in_vain(self.patience, path)))
    }

    fn streamed<T: Send + 'static>(
        &self,
        path: Path,
        stream: BoxStream<'static, Result<T>>,
    ) -> BoxStream<'static, Result<T>> {
        let state = (self.clone(), path, stream);
        let bounded = stream::try_unfold(state, |(this, path, mut stream)| async move {
            let next = this.within(this.patience.answer, &path, stream.try_next()).await?;
            Ok::<_, StoreError>(next.map(|item| (item, (this, path, stream))))
        });
        bounded.boxed()
    }

    fn listed(
        &self,
        prefix: Option<&Path>,
        stream: BoxStream<'static, Result<ObjectMeta>>,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        self.streamed(prefix.cloned().unwrap_or_default(), stream)
    }
}

impl fmt::Display for Limited {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, within bounds", self.inner)
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl ObjectStore for Limited {
    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let request = || self.inner.get_opts(location, options.clone());
        let mut got = self.ask(location, request).await?;
        got.payload = match got.payload {
            GetResultPayload::Stream(stream) => {
                GetResultPayload::Stream(self.streamed(location.clone(), stream))
            }
            file => file,
        };
        Ok(got)
    }

    /// All at once: a disk may take its time for many bytes.
    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        let bytes: u64 = ranges.iter().map(|range| range.end.saturating_sub(range.start)).sum();
        let reading = Duration::from_secs(bytes / SLOW_DISK);
        let bound = self.patience.answer.saturating_add(reading);
        self.within(bound, location, self.inner.get_ranges(location, ranges)).await
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.listed(prefix, self.inner.list(prefix))
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        self.listed(prefix, self.inner.list_with_offset(prefix, offset))
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let path = prefix.cloned().unwrap_or_default();
        self.ask(&path, || self.inner.list_with_delimiter(prefix)).await
    }

    // What is written is waited for as long as a whole request may take: whoever asked anew could
    // write twice. The client makes its requests again by itself.

    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        let bytes = payload.content_length() as u64;
        let put = self.inner.put_opts(location, payload, options);
        self.within(write_bound(self.patience, bytes), location, put).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        let put = self.inner.put_multipart_opts(location, options);
        self.within(write_bound(self.patience, 0), location, put).await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        self.streamed(Path::default(), self.inner.delete_stream(locations))
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        let copied = self.inner.copy_opts(from, to, options);
        self.within(write_bound(self.patience, 0), from, copied).await
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        let renamed = self.inner.rename_opts(from, to, options);
        self.within(write_bound(self.patience, 0), from, renamed).await
    }
}

#[cfg(test)]
mod tests;
