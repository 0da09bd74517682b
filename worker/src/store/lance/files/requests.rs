//! What datasets ask of remote storage: all of it is counted, and each request ends.
//!
//! Three levels make a failed request again: object_store's client below, Lance's throttle above
//! that, which takes a client that gave up for a server that is too busy, and Lance's readers above
//! all. A request is given up here once the client should have done so, whatever the throttle
//! thinks, and the readers make it three times more at most.
//!
//! A server that is asked too much refuses requests (429, or 503 as S3's `SlowDown`). All three
//! levels would ask it again at once or nearly so, each as often as the one above wants. So the
//! throttle asks once more and slows down all that is asked, and then the request rests here, for
//! longer each time, as one to a store of another kind does that failed, and keeps its turn
//! meanwhile: what is refused makes room at the server.

use std::{
    collections::HashMap,
    fmt,
    ops::Range,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use futures::{
    StreamExt, TryStreamExt,
    stream::{self, BoxStream},
};
use keyloom_common::store::Pace;
use lance_io::object_store::{ObjectStoreParams, WrappingObjectStore};
use lance_object_store::{
    CopyOptions, Error as StoreError, GetOptions, GetResult, GetResultPayload, ListResult,
    MultipartUpload, ObjectMeta, ObjectStore, PutMultipartOptions, PutOptions, PutPayload,
    PutResult, RenameOptions, Result, list::PaginatedListStore, path::Path,
};
use tokio::time::{Instant, sleep, timeout};

use super::{
    ledger::Ledger,
    turns::{Turn, Turns},
};
use crate::store::Patience;

/// Options of storage profiles that say how long is waited, as those of S3 are called.
const READ_TIMEOUT: &str = "read_timeout";
const CONNECT_TIMEOUT: &str = "connect_timeout";
const TIMEOUT: &str = "timeout";
const RETRIES: &str = "client_max_retries";
/// How often Lance's throttle makes a refused request again. Without any it would not slow down.
const THROTTLE_RETRIES: &str = "lance_aimd_max_retries";

/// How messages of object_store's clients tell that too much is asked. An address, which they hold,
/// too, has no spaces.
const REFUSALS: [&str; 3] = ["status code: 429", "status code: 503", "<Code>SlowDown</Code>"];

/// The most different bounds of stores that are known of one service, unless more are in use.
const MAX_BOUNDS: usize = 64;

/// Whether a dataset's files are read past Lance's object stores.
pub(in crate::store::lance) fn is_local(uri: &str) -> bool {
    let scheme = uri.split_once("://").map(|(scheme, _)| scheme);
    matches!(scheme, None | Some("file" | "file+uring"))
}

/// The options by which object_store's client keeps the bounds by itself.
pub(in crate::store::lance) fn options(patience: Patience) -> [(&'static str, String); 5] {
    let time = |time: Duration| format!("{}ms", time.as_millis());
    [
        (READ_TIMEOUT, time(patience.request)),
        (CONNECT_TIMEOUT, time(patience.connect())),
        (TIMEOUT, time(patience.whole_request())),
        (RETRIES, patience.retries().to_string()),
        (THROTTLE_RETRIES, "1".to_owned()),
    ]
}

/// The options that a store's own options set, whatever its profile says.
pub(in crate::store::lance) fn names(pace: &Pace) -> Vec<&'static str> {
    let timeouts = [READ_TIMEOUT, CONNECT_TIMEOUT, TIMEOUT];
    let timeouts = timeouts.into_iter().filter(|_| pace.request_timeout_ms.is_some());
    timeouts.chain(pace.request_attempts.map(|_| RETRIES)).collect()
}

/// The requests to one service, of all datasets that are there.
#[derive(Debug)]
pub(in crate::store::lance) struct Requests {
    patience: Patience,
    turns: Turns,
    ledger: Arc<Ledger>,
    /// Those of datasets that have bounds of their own.
    parts: Mutex<HashMap<Patience, Arc<Self>>>,
}

impl Requests {
    pub(in crate::store::lance) fn new(patience: Patience) -> Self {
        let turns = Turns::new(patience.in_flight);
        Self { patience, turns, ledger: Arc::default(), parts: Mutex::default() }
    }

    /// Those of datasets with these bounds: a part of all requests to the service.
    pub(in crate::store::lance) fn within(self: Arc<Self>, patience: Patience) -> Arc<Self> {
        if patience == self.patience {
            return self;
        }
        // No change leaves the parts half-done, so a poisoned lock guards sound contents.
        let mut parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner);
        if parts.len() >= MAX_BOUNDS && !parts.contains_key(&patience) {
            parts.retain(|_, part| Arc::strong_count(part) > 1);
        }
        let part = || {
            let turns = self.turns.part(patience.in_flight);
            let ledger = Arc::clone(&self.ledger);
            Arc::new(Self { patience, turns, ledger, parts: Mutex::default() })
        };
        Arc::clone(parts.entry(patience).or_insert_with(part))
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
        let Self { patience, turns, ledger, .. } = self;
        let (turns, ledger) = (turns.clone(), Arc::clone(ledger));
        Arc::new(Counted { inner: original, patience: *patience, turns, ledger })
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
    turns: Turns,
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
        if !answer.as_ref().is_err_and(is_refusal) {
            self.ledger.answered();
        }
        answer
    }

    /// Makes a request again while it is refused, for as long as one may bring nothing.
    async fn insist<T, F>(&self, request: impl Fn() -> F) -> Result<T>
    where
        F: Future<Output = Result<T>>,
    {
        let begun = Instant::now();
        let mut made = 0;
        loop {
            let refusal = match request().await {
                Err(error) if is_refusal(&error) => error,
                answer => return answer,
            };
            let pause = spread(self.patience.rest_after(made), self.ledger.refused());
            if begun.elapsed() + pause > self.patience.request {
                return Err(refusal);
            }
            sleep(pause).await;
            made += 1;
        }
    }

    /// A stream that owes something only while its reader waits for it, and has its turn until it
    /// ends.
    fn streamed<T: Send + 'static>(
        &self,
        path: Path,
        stream: BoxStream<'static, Result<T>>,
        turn: Option<Turn>,
    ) -> BoxStream<'static, Result<T>> {
        let state = (self.clone(), path, stream, turn);
        let asked = stream::try_unfold(state, |(this, path, mut stream, turn)| async move {
            let next = this.ask(&path, stream.try_next()).await?;
            Ok::<_, StoreError>(next.map(|item| (item, (this, path, stream, turn))))
        });
        asked.boxed()
    }

    /// Listings have no turn: whoever reads one may ask for what it lists meanwhile.
    fn listed(
        &self,
        prefix: Option<&Path>,
        stream: BoxStream<'static, Result<ObjectMeta>>,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        self.streamed(prefix.cloned().unwrap_or_default(), stream, None)
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
        let turn = self.turns.take().await;
        let request = || self.inner.get_opts(location, options.clone());
        let mut got = self.ask(location, self.insist(request)).await?;
        got.payload = match got.payload {
            GetResultPayload::Stream(stream) => {
                GetResultPayload::Stream(self.streamed(location.clone(), stream, Some(turn)))
            }
            file => file,
        };
        Ok(got)
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        let _turn = self.turns.take().await;
        self.ask(location, self.insist(|| self.inner.get_ranges(location, ranges))).await
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
        let _turn = self.turns.take().await;
        self.ask(path, self.insist(|| self.inner.list_with_delimiter(prefix))).await
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

/// Whether a service refuses a request because too much is asked.
fn is_refusal(error: &StoreError) -> bool {
    let StoreError::Generic { source, .. } = error else { return false };
    let told = source.to_string();
    REFUSALS.iter().any(|words| told.contains(words))
}

/// Between half of a rest and all of it: what is refused at one time is not asked again at one
/// time. Multiples of the golden ratio, without their whole parts, are spread evenly from 0 to 1.
fn spread(rest: Duration, nth: u64) -> Duration {
    const GOLDEN: u32 = 0x9e37_79b9;
    let part = f64::from((nth as u32).wrapping_mul(GOLDEN)) / f64::from(u32::MAX);
    rest.mul_f64((1.0 + part) / 2.0)
}

#[cfg(test)]
mod tests;
