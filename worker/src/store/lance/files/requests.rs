//! What datasets ask of remote storage: all of it is counted, and each request ends.
//!
//! Three levels make a failed request again: object_store's client below, Lance's throttle above
//! that, which takes a client that gave up for a server that is too busy, and Lance's readers above
//! all. A request is given up here once the client should have done so, whatever the throttle
//! thinks, and the readers make it three times more at most.

use std::{fmt, ops::Range, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use futures::{
    StreamExt, TryStreamExt,
    stream::{self, BoxStream},
};
use lance_io::object_store::{ObjectStoreParams, WrappingObjectStore};
use lance_object_store::{
    CopyOptions, Error as StoreError, GetOptions, GetResult, GetResultPayload, ListResult,
    MultipartUpload, ObjectMeta, ObjectStore, PutMultipartOptions, PutOptions, PutPayload,
    PutResult, RenameOptions, Result, list::PaginatedListStore, path::Path,
};
use tokio::time::timeout;

use super::watch::Ledger;
use crate::store::Patience;

/// Options of storage profiles that say how long is waited, as those of S3 are called.
const READ_TIMEOUT: &str = "read_timeout";
const CONNECT_TIMEOUT: &str = "connect_timeout";
const TIMEOUT: &str = "timeout";
const RETRIES: &str = "client_max_retries";

/// Whether a dataset's files are read past Lance's object stores.
pub(in crate::store::lance) fn is_local(uri: &str) -> bool {
    let scheme = uri.split_once("://").map(|(scheme, _)| scheme);
    matches!(scheme, None | Some("file" | "file+uring"))
}

/// The options by which object_store's client keeps the bounds by itself.
pub(in crate::store::lance) fn options(patience: Patience) -> [(&'static str, String); 4] {
    let time = |time: Duration| format!("{}ms", time.as_millis());
    [
        (READ_TIMEOUT, time(patience.request)),
        (CONNECT_TIMEOUT, time(patience.connect())),
        (TIMEOUT, time(patience.whole_request())),
        (RETRIES, patience.retries().to_string()),
    ]
}

/// The requests to one service, of all datasets that are there.
#[derive(Debug)]
pub(in crate::store::lance) struct Requests {
    patience: Patience,
    ledger: Arc<Ledger>,
}

impl Requests {
    pub(in crate::store::lance) fn new(patience: Patience) -> Self {
        Self { patience, ledger: Arc::default() }
    }

    pub(super) fn ledger(&self) -> Arc<Ledger> {
        Arc::clone(&self.ledger)
    }

    /// How Lance opens a dataset whose requests are these.
    pub(in crate::store::lance) fn params(self: Arc<Self>) -> ObjectStoreParams {
        ObjectStoreParams { object_store_wrapper: Some(self), ..ObjectStoreParams::default() }
    }
}

impl WrappingObjectStore for Requests {
    fn wrap(&self, _prefix: &str, original: Arc<dyn ObjectStore>) -> Arc<dyn ObjectStore> {
        let Self { patience, ledger } = self;
        Arc::new(Counted { inner: original, patience: *patience, ledger: Arc::clone(ledger) })
    }

    /// Listings in pages are of no use to readers.
    fn wrap_paginated(
        &self,
        _prefix: &str,
        _original: Arc<dyn PaginatedListStore>,
    ) -> Option<Arc<dyn PaginatedListStore>> {
        None
    }
}

/// An object store whose requests are counted.
#[derive(Clone, Debug)]
struct Counted {
    inner: Arc<dyn ObjectStore>,
    patience: Patience,
    ledger: Arc<Ledger>,
}

impl Counted {
    async fn ask<T>(
        &self,
        path: impl fmt::Display,
        request: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        let _owed = self.ledger.owe();
        let Ok(answer) = timeout(self.patience.all_attempts(), request).await else {
            let error = self.patience.no_answer_to_one().context(path);
            return Err(StoreError::Generic { store: "Lance", source: Box::new(error) });
        };
        self.ledger.answered();
        answer
    }

    /// A stream that owes something only while its reader waits for it.
    fn streamed<T: Send + 'static>(
        &self,
        path: Path,
        stream: BoxStream<'static, Result<T>>,
    ) -> BoxStream<'static, Result<T>> {
        let state = (self.clone(), path, stream);
        let asked = stream::try_unfold(state, |(this, path, mut stream)| async move {
            let next = this.ask(&path, stream.try_next()).await?;
            Ok::<_, StoreError>(next.map(|item| (item, (this, path, stream))))
        });
        asked.boxed()
    }

    fn listed(
        &self,
        prefix: Option<&Path>,
        stream: BoxStream<'static, Result<ObjectMeta>>,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        self.streamed(prefix.cloned().unwrap_or_default(), stream)
    }
}

impl fmt::Display for Counted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "counted requests to {}", self.inner)
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl ObjectStore for Counted {
    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let mut got = self.ask(location, self.inner.get_opts(location, options)).await?;
        got.payload = match got.payload {
            GetResultPayload::Stream(stream) => {
                GetResultPayload::Stream(self.streamed(location.clone(), stream))
            }
            file => file,
        };
        Ok(got)
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.ask(location, self.inner.get_ranges(location, ranges)).await
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
        self.ask(path, self.inner.list_with_delimiter(prefix)).await
    }

    // Nothing is written to the datasets that are read.

    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        self.inner.put_opts(location, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(location, options).await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(locations)
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        self.inner.rename_opts(from, to, options).await
    }
}

#[cfg(test)]
mod tests {
    use keyloom_common::Error;
    use lance_object_store::{
        ObjectStoreExt,
        chunked::ChunkedStore,
        memory::InMemory,
        throttle::{ThrottleConfig, ThrottledStore},
    };

    use super::*;
    use crate::store::{StoreSettings, lance::error::from_lance};

    /// A store with one object, through requests of which each is made for 60 ms at most.
    async fn requests(
        wrap: impl FnOnce(InMemory) -> Arc<dyn ObjectStore>,
    ) -> (Requests, Arc<dyn ObjectStore>, Path) {
        let settings = StoreSettings {
            request_timeout_ms: 20,
            request_attempts: 3,
            ..StoreSettings::default()
        };
        let (requests, memory) = (Requests::new(Patience::of(&settings)), InMemory::new());
        let path = Path::from("a/b");
        memory.put(&path, "0123456789".into()).await.unwrap();
        let store = requests.wrap("", wrap(memory));
        (requests, store, path)
    }

    #[tokio::test]
    async fn a_request_without_an_answer_ends() {
        let never = ThrottleConfig {
            wait_get_per_call: Duration::from_secs(3600),
            ..ThrottleConfig::default()
        };
        let silent = |memory: InMemory| -> Arc<dyn ObjectStore> {
            Arc::new(ThrottledStore::new(memory, never))
        };
        let (requests, store, path) = requests(silent).await;
        let error = store.get(&path).await.unwrap_err();
        let expected = "a/b: no answer in 60 ms, which are the worker's store.request_attempts \
                        times its store.request_timeout_ms";
        assert_eq!(from_lance(lance::Error::from(error)), Error::timeout(expected));
        assert_eq!(requests.ledger().answers(), 0);
    }

    #[tokio::test]
    async fn answers_are_counted_and_each_part_of_them() {
        let in_parts = |memory: InMemory| -> Arc<dyn ObjectStore> {
            Arc::new(ChunkedStore::new(Arc::new(memory), 4))
        };
        let (requests, store, path) = requests(in_parts).await;
        let answers = || requests.ledger().answers();
        let got = store.get(&path).await.unwrap();
        assert_eq!(answers(), 1);
        assert_eq!(got.bytes().await.unwrap(), "0123456789");
        // Three parts, and their end.
        assert_eq!(answers(), 5);
        assert!(store.head(&Path::from("c")).await.is_err());
        assert_eq!(answers(), 6);
    }

    #[test]
    fn clients_are_told_the_bounds() {
        let options = options(Patience::of(&StoreSettings::default()));
        let expected = [
            ("read_timeout", "10000ms"),
            ("connect_timeout", "3000ms"),
            ("timeout", "30000ms"),
            ("client_max_retries", "3"),
        ];
        assert_eq!(options, expected.map(|(name, value)| (name, value.to_owned())));
    }

    #[test]
    fn only_files_of_this_machine_are_local() {
        for (uri, local) in [
            ("/data/a.lance", true),
            ("a.lance", true),
            ("file:///data/a.lance", true),
            ("file-object-store:///data/a.lance", false),
            ("s3://bucket/a.lance", false),
            ("memory://a", false),
        ] {
            assert_eq!(is_local(uri), local, "{uri}");
        }
    }
}
