//! Parts of files on their way to an object store: several at once, and told in their order.
//!
//! How many are on their way is bounded for an attempt, of whichever of its files they are. Those
//! of a file that is dropped are given up, and its upload is not aborted before they are.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use keyloom_common::{Error, Result};
use object_store::{
    multipart::{MultipartStore, PartId},
    path::Path,
};
use tokio::{
    sync::Semaphore,
    task::{JoinError, JoinSet},
};
use tokio_util::task::TaskTracker;
use tracing::Instrument;

use crate::object_stores::from_store;

/// Where the files of an attempt send their parts.
#[derive(Clone, Debug)]
pub(super) struct Lanes {
    places: Arc<Semaphore>,
    sending: TaskTracker,
}

/// The parts of one file.
pub(super) struct Parts {
    uploads: Arc<dyn MultipartStore>,
    path: Path,
    id: String,
    lanes: Lanes,
    begun: usize,
    sending: JoinSet<Result<(usize, String)>>,
    /// What the storage calls those that it has, by their numbers.
    sent: BTreeMap<usize, String>,
    /// The bytes of those that it does not have yet.
    held: Arc<AtomicU64>,
}

/// Bytes of a part that is on its way, until this is dropped.
struct Held {
    all: Arc<AtomicU64>,
    bytes: u64,
}

impl Lanes {
    /// For so many parts at once.
    pub(super) fn new(most: usize) -> Self {
        Self { places: Arc::new(Semaphore::new(most.max(1))), sending: TaskTracker::new() }
    }

    /// Waits until none is on its way. No more are to be sent.
    pub(super) async fn ended(&self) {
        self.sending.close();
        self.sending.wait().await;
    }
}

impl Parts {
    /// None yet, of an upload that has begun.
    pub(super) fn new(
        uploads: Arc<dyn MultipartStore>,
        path: Path,
        id: String,
        lanes: Lanes,
    ) -> Self {
        Self {
            uploads,
            path,
            id,
            lanes,
            begun: 0,
            sending: JoinSet::new(),
            sent: BTreeMap::new(),
            held: Arc::default(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.begun == 0
    }

    /// How many bytes are on their way.
    pub(super) fn held(&self) -> u64 {
        self.held.load(Ordering::Relaxed)
    }

    /// Sends the next part, once there is a place for it.
    ///
    /// # Errors
    /// Why one before could not be sent.
    pub(super) async fn send(&mut self, part: Bytes) -> Result<()> {
        let place = Arc::clone(&self.lanes.places).acquire_owned().await;
        let place = place.map_err(|_| Error::cancelled("no parts are sent any more"))?;
        // Also the one that has just made room may have failed.
        while let Some(ended) = self.sending.try_join_next() {
            self.note(ended)?;
        }
        let (number, held) = (self.begun, Held::of(&self.held, part.len() as u64));
        let (uploads, path, id) = (Arc::clone(&self.uploads), self.path.clone(), self.id.clone());
        let sending = async move {
            // Both end with the request, however it ends.
            let _sending = (place, held);
            let put = uploads.put_part(&path, &id, number, part.into()).await;
            let PartId { content_id } = put.map_err(from_store)?;
            Ok::<_, Error>((number, content_id))
        };
        self.begun += 1;
        self.sending.spawn(self.lanes.sending.track_future(sending).in_current_span());
        Ok(())
    }

    /// Waits until the storage has all that were sent.
    ///
    /// # Errors
    /// Why it has not.
    pub(super) async fn sent(&mut self) -> Result<()> {
        while let Some(ended) = self.sending.join_next().await {
            self.note(ended)?;
        }
        Ok(())
    }

    /// No more come: the upload, and what the storage calls its parts, in their order.
    ///
    /// # Errors
    /// As [`Self::sent`].
    pub(super) async fn finish(mut self) -> Result<(String, Vec<String>)> {
        self.sent().await?;
        Ok((self.id, self.sent.into_values().collect()))
    }

    fn note(&mut self, ended: Result<Result<(usize, String)>, JoinError>) -> Result<()> {
        let (number, name) = ended.map_err(Error::from_join)??;
        self.sent.insert(number, name);
        Ok(())
    }
}

impl Held {
    fn of(all: &Arc<AtomicU64>, bytes: u64) -> Self {
        all.fetch_add(bytes, Ordering::Relaxed);
        Self { all: Arc::clone(all), bytes }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.all.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}
