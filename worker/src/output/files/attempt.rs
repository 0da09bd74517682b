//! What an attempt of a task has written, which goes with it unless it is done.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use futures::{StreamExt, stream};
use keyloom_common::{AttemptId, Error, JobId, Result};
use object_store::{ObjectStoreExt, path::Path};
use tokio::{runtime::Handle, time::timeout};

use super::{
    folder::Folder,
    parts::Lanes,
    staged::{RECORD, Record, attempt_folder},
};
use crate::{object_stores::from_store, output::OutputSettings};

/// How many requests remove what is left, at once.
const AT_ONCE: usize = 8;

/// A place for an attempt's files.
#[derive(Debug)]
pub(super) struct Attempt {
    job: JobId,
    folder: Folder,
    /// Its own folder, below that of the output.
    place: String,
    began: Arc<Mutex<Began>>,
    lanes: Lanes,
    cleanup: Duration,
    is_done: bool,
}

/// The uploads that an attempt began.
#[derive(Debug, Default)]
struct Began {
    uploads: Vec<(Path, String)>,
    /// Whether it is gone: what begins from now on is nobody's.
    is_over: bool,
}

impl Attempt {
    pub(super) fn new(folder: Folder, id: AttemptId, settings: &OutputSettings) -> Self {
        let (place, cleanup) = (attempt_folder(id), settings.cleanup_timeout());
        let (began, lanes) = (Arc::default(), Lanes::new(settings.parts_in_flight));
        Self { job: id.task.stage.job, folder, place, began, lanes, cleanup, is_done: false }
    }

    /// Whose it is.
    pub(super) fn job(&self) -> JobId {
        self.job
    }

    pub(super) fn folder(&self) -> &Folder {
        &self.folder
    }

    /// Where its files send their parts.
    pub(super) fn lanes(&self) -> &Lanes {
        &self.lanes
    }

    pub(super) fn place(&self) -> &str {
        &self.place
    }

    /// Begins an upload, and leaves a record of it. It is begun to the end even if nobody waits for
    /// that any more, and is aborted then: else the storage would keep an upload that nobody knows.
    ///
    /// # Errors
    /// The storage's.
    pub(super) async fn begin(&self, path: &Path) -> Result<String> {
        let uploads = Arc::clone(self.folder.uploads()?);
        let (folder, place, lanes) = (self.folder.clone(), self.place.clone(), self.lanes.clone());
        let (began, path, bound) = (Arc::clone(&self.began), path.clone(), self.cleanup);
        let beginning = tokio::spawn(async move {
            let id = uploads.create_multipart(&path).await.map_err(from_store)?;
            let noted = note(&folder, &place, &path, &id).await;
            if !keep(&began, &path, &id) {
                let began = vec![(path, id.clone())];
                Left { folder, place, lanes, began }.remove_within(bound).await;
            }
            noted.map(|()| id)
        });
        beginning.await.map_err(|error| Error::internal(error.to_string()))?
    }

    /// Where the record of an upload is, from the output's folder on.
    pub(super) fn record(&self, path: &Path) -> String {
        record(&self.place, path)
    }

    /// Leaves everything to the commit.
    pub(super) fn done(mut self) {
        self.is_done = true;
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        if self.is_done {
            return;
        }
        let began = {
            let mut began = self.began.lock().unwrap_or_else(PoisonError::into_inner);
            began.is_over = true;
            std::mem::take(&mut began.uploads)
        };
        let (folder, place) = (self.folder.clone(), self.place.clone());
        let left = Left { folder, place, lanes: self.lanes.clone(), began };
        // Without a runtime there is nobody to remove it but the job's end.
        if let Ok(runtime) = Handle::try_current() {
            drop(runtime.spawn(left.remove_within(self.cleanup)));
        }
    }
}

/// What an attempt left.
struct Left {
    folder: Folder,
    place: String,
    lanes: Lanes,
    began: Vec<(Path, String)>,
}

impl Left {
    async fn remove_within(self, bound: Duration) {
        if timeout(bound, self.remove()).await.is_err() {
            let place = self.folder.shown(&self.place);
            tracing::warn!(%place, "what a failed task wrote could not be removed in time");
        }
    }

    async fn remove(&self) {
        let Self { folder, place, lanes, began } = self;
        if folder.is_local() {
            let place = folder.local(place);
            match tokio::fs::remove_dir_all(&place).await {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    let place = place.display();
                    tracing::warn!(%place, %error, "what a failed task wrote cannot be removed");
                }
                _ => {}
            }
            return;
        }
        // A part that came behind the end of its upload would stay.
        lanes.ended().await;
        let aborts: Vec<_> =
            began.iter().map(|(path, id)| abort(folder, place, path, id)).collect();
        stream::iter(aborts).buffer_unordered(AT_ONCE).for_each(|()| async {}).await;
    }
}

/// Notes an upload of an attempt that is there. False if it is gone.
fn keep(began: &Mutex<Began>, path: &Path, id: &str) -> bool {
    let mut began = began.lock().unwrap_or_else(PoisonError::into_inner);
    if !began.is_over {
        began.uploads.push((path.clone(), id.to_owned()));
    }
    !began.is_over
}

/// Where the record of an upload is, from the output's folder on.
fn record(place: &str, path: &Path) -> String {
    let name = path.filename().unwrap_or_default();
    format!("{place}/{name}{RECORD}")
}

/// Leaves the record of an upload.
async fn note(folder: &Folder, place: &str, path: &Path, id: &str) -> Result<()> {
    let record_path = folder.path(&record(place, path))?;
    let record = serde_json::to_vec(&Record { path: path.to_string(), id: id.to_owned() });
    let record = record.map_err(|error| Error::internal(error.to_string()))?;
    let put = folder.store().put(&record_path, Bytes::from(record).into()).await;
    put.map(drop).map_err(from_store)
}

/// Ends an upload for good, and then forgets it.
async fn abort(folder: &Folder, place: &str, path: &Path, id: &String) {
    let Ok(uploads) = folder.uploads() else { return };
    if let Err(error) = uploads.abort_multipart(path, id).await {
        tracing::warn!(%path, %error, "an upload of a failed task cannot be aborted");
        return;
    }
    if let Ok(record) = folder.path(&record(place, path))
        && let Err(error) = folder.store().delete(&record).await
    {
        tracing::debug!(%record, %error, "the record of an upload stays");
    }
}
