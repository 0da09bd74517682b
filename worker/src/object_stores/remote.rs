//! An object store behind a network, whose errors say how it was opened, and tell no secret.

use std::{fmt, ops::Range, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;
use futures::{
    StreamExt, TryStreamExt,
    stream::{self, BoxStream},
};
use keyloom_common::{Error, ErrorCode, ErrorKind};
use object_store::{
    ClientOptions, CopyOptions, Error as StoreError, GetOptions, GetResult, GetResultPayload,
    ListResult, MultipartId, MultipartUpload, ObjectMeta, ObjectStore, PutMultipartOptions,
    PutOptions, PutPayload, PutResult, RenameOptions, Result,
    aws::{AmazonS3Builder, resolve_bucket_region},
    client::{HttpError, HttpErrorKind},
    multipart::{MultipartStore, PartId},
    path::Path,
};
use tokio::sync::OnceCell;

use super::{causes, open::Opened, options::Profile};
use crate::store::lance::Scrub;

/// What object_store's own errors would have the name of a provider for.
const STORE: &str = "object store";

/// What servers call the lack of a bucket or a container, which object_store takes for any failure.
const NO_BUCKET: [&str; 2] = ["NoSuchBucket", "ContainerNotFound"];

/// Where clouds give credentials to their machines.
const METADATA_SERVICE: &str = "169.254.169.254";

/// What is left to do until an object store can be asked.
pub(super) enum Opening {
    /// Nothing.
    Done(Opened),
    /// To ask Amazon for the region of a bucket.
    S3InSomeRegion { builder: Box<AmazonS3Builder>, bucket: String, client: Box<ClientOptions> },
}

impl Opening {
    async fn open(&self) -> Result<Opened> {
        match self {
            Self::Done(opened) => Ok(opened.clone()),
            Self::S3InSomeRegion { builder, bucket, client } => {
                let region = resolve_bucket_region(bucket, client).await?;
                Ok(Opened::with_uploads(builder.as_ref().clone().with_region(region).build()?))
            }
        }
    }
}

/// An object store, opened with its first request.
#[derive(Clone)]
pub(super) struct Remote(Arc<Shared>);

struct Shared {
    opening: Opening,
    opened: OnceCell<Opened>,
    scrub: Scrub,
    /// With which profile it was opened, in words.
    how: String,
}

impl Remote {
    pub(super) fn new(opening: Opening, scrub: Scrub, profile: &Profile<'_>) -> Self {
        let how = profile.describe();
        Self(Arc::new(Shared { opening, opened: OnceCell::new(), scrub, how }))
    }

    async fn opened(&self) -> Result<&Opened> {
        let opened = self.0.opened.get_or_try_init(|| self.0.opening.open()).await;
        opened.map_err(|error| self.clean(error))
    }

    async fn store(&self) -> Result<&Arc<dyn ObjectStore>> {
        Ok(&self.opened().await?.store)
    }

    async fn uploads(&self) -> Result<&Arc<dyn MultipartStore>> {
        let none = || StoreError::NotSupported { source: "it takes no uploads in parts".into() };
        self.opened().await?.uploads.as_ref().ok_or_else(none).map_err(|error| self.clean(error))
    }

    /// The same error, with all that it says as an error of Keyloom.
    fn clean(&self, error: StoreError) -> StoreError {
        let Shared { scrub, how, .. } = self.0.as_ref();
        let message = error.to_string();
        let own = |kind: ErrorKind| -> Box<Error> {
            let mut error =
                Error::new(kind, format!("{message} ({how})")).with_code(ErrorCode::StorageProfile);
            if message.contains(METADATA_SERVICE) {
                error = error.context("no credentials are given, and the machine has none");
            }
            Box::new(scrub.clean(error))
        };
        match error {
            StoreError::NotFound { path, .. } => {
                StoreError::NotFound { path, source: own(ErrorKind::NotFound) }
            }
            StoreError::Precondition { path, .. } => {
                StoreError::Precondition { path, source: own(ErrorKind::Store) }
            }
            StoreError::AlreadyExists { path, .. } => {
                StoreError::AlreadyExists { path, source: own(ErrorKind::Store) }
            }
            StoreError::NotSupported { .. } | StoreError::NotImplemented { .. } => {
                StoreError::NotSupported { source: own(ErrorKind::Invalid) }
            }
            _ if NO_BUCKET.iter().any(|code| message.contains(code)) => {
                StoreError::Generic { store: STORE, source: own(ErrorKind::NotFound) }
            }
            error if timed_out(&error) => {
                StoreError::Generic { store: STORE, source: own(ErrorKind::Timeout) }
            }
            _ => StoreError::Generic { store: STORE, source: own(ErrorKind::Store) },
        }
    }

    fn clean_stream<T: Send + 'static>(
        &self,
        stream: BoxStream<'static, Result<T>>,
    ) -> BoxStream<'static, Result<T>> {
        let this = self.clone();
        stream.map_err(move |error| this.clean(error)).boxed()
    }

    /// The stream that the opened store gives.
    fn streamed<T: Send + 'static>(
        &self,
        ask: impl FnOnce(&dyn ObjectStore) -> BoxStream<'static, Result<T>> + Send + 'static,
    ) -> BoxStream<'static, Result<T>> {
        let this = self.clone();
        let asked = async move {
            let stream = ask(this.store().await?.as_ref());
            Ok::<_, StoreError>(this.clean_stream(stream))
        };
        stream::once(asked).try_flatten().boxed()
    }
}

/// Whether the client waited for as long as it may.
fn timed_out(error: &StoreError) -> bool {
    causes(error).any(|cause| {
        let failed = cause.downcast_ref::<HttpError>();
        failed.is_some_and(|failed| failed.kind() == HttpErrorKind::Timeout)
    })
}

impl fmt::Debug for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Remote").field(&self.0.how).finish()
    }
}

impl fmt::Display for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "object store {}", self.0.how)
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl ObjectStore for Remote {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        let put = self.store().await?.put_opts(location, payload, options).await;
        put.map_err(|error| self.clean(error))
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        let put = self.store().await?.put_multipart_opts(location, options).await;
        put.map_err(|error| self.clean(error))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let got = self.store().await?.get_opts(location, options).await;
        let mut got = got.map_err(|error| self.clean(error))?;
        got.payload = match got.payload {
            GetResultPayload::Stream(stream) => GetResultPayload::Stream(self.clean_stream(stream)),
            file => file,
        };
        Ok(got)
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        let got = self.store().await?.get_ranges(location, ranges).await;
        got.map_err(|error| self.clean(error))
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        self.streamed(|store| store.delete_stream(locations))
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let prefix = prefix.cloned();
        self.streamed(move |store| store.list(prefix.as_ref()))
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        let (prefix, offset) = (prefix.cloned(), offset.clone());
        self.streamed(move |store| store.list_with_offset(prefix.as_ref(), &offset))
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let listed = self.store().await?.list_with_delimiter(prefix).await;
        listed.map_err(|error| self.clean(error))
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        let copied = self.store().await?.copy_opts(from, to, options).await;
        copied.map_err(|error| self.clean(error))
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        let renamed = self.store().await?.rename_opts(from, to, options).await;
        renamed.map_err(|error| self.clean(error))
    }
}

#[async_trait]
impl MultipartStore for Remote {
    async fn create_multipart(&self, path: &Path) -> Result<MultipartId> {
        let created = self.uploads().await?.create_multipart(path).await;
        created.map_err(|error| self.clean(error))
    }

    async fn put_part(
        &self,
        path: &Path,
        id: &MultipartId,
        part_idx: usize,
        data: PutPayload,
    ) -> Result<PartId> {
        let put = self.uploads().await?.put_part(path, id, part_idx, data).await;
        put.map_err(|error| self.clean(error))
    }

    async fn complete_multipart(
        &self,
        path: &Path,
        id: &MultipartId,
        parts: Vec<PartId>,
    ) -> Result<PutResult> {
        let completed = self.uploads().await?.complete_multipart(path, id, parts).await;
        completed.map_err(|error| self.clean(error))
    }

    async fn abort_multipart(&self, path: &Path, id: &MultipartId) -> Result<()> {
        let aborted = self.uploads().await?.abort_multipart(path, id).await;
        aborted.map_err(|error| self.clean(error))
    }
}
