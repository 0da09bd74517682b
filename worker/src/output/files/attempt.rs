//! What an attempt of a task has written, which goes with it unless it is done.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use futures::{StreamExt, stream};
use keyloom_common::AttemptId;
use object_store::{ObjectStoreExt, path::Path};
use tokio::{runtime::Handle, time::timeout};

use super::{
    folder::Folder,
    staged::{RECORD, attempt_folder},
};

/// How many requests remove what is left, at once.
const AT_ONCE: usize = 8;

/// A place for an attempt's files.
#[derive(Debug)]
pub(super) struct Attempt {
    folder: Folder,
    /// Its own folder, below that of the output.
    place: String,
    /// The uploads that it began.
    began: Mutex<Vec<(Path, String)>>,
    cleanup: Duration,
    is_done: bool,
}

impl Attempt {
    pub(super) fn new(folder: Folder, id: AttemptId, cleanup: Duration) -> Self {
        let place = attempt_folder(id);
        Self { folder, place, began: Mutex::default(), cleanup, is_done: false }
    }

    pub(super) fn folder(&self) -> &Folder {
        &self.folder
    }

    pub(super) fn place(&self) -> &str {
        &self.place
    }

    /// Takes note of an upload.
    pub(super) fn began(&self, path: Path, id: String) {
        self.began.lock().unwrap_or_else(PoisonError::into_inner).push((path, id));
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
        let began = std::mem::take(self.began.get_mut().unwrap_or_else(PoisonError::into_inner));
        let left = Left { folder: self.folder.clone(), place: self.place.clone(), began };
        // Without a runtime there is nobody to remove it but the job's end.
        if let Ok(runtime) = Handle::try_current() {
            let bound = self.cleanup;
            drop(runtime.spawn(async move {
                let place = left.folder.shown(&left.place);
                if timeout(bound, left.remove()).await.is_err() {
                    tracing::warn!(%place, "what a failed task wrote could not be removed in time");
                }
            }));
        }
    }
}

/// What an attempt left.
struct Left {
    folder: Folder,
    place: String,
    began: Vec<(Path, String)>,
}

impl Left {
    async fn remove(&self) {
        let Self { folder, place, began } = self;
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
        let aborts: Vec<_> =
            began.iter().map(|(path, id)| abort(folder, place, path, id)).collect();
        stream::iter(aborts).buffer_unordered(AT_ONCE).for_each(|()| async {}).await;
    }
}

/// Ends an upload for good, and then forgets it.
async fn abort(folder: &Folder, place: &str, path: &Path, id: &String) {
    let Ok(uploads) = folder.uploads() else { return };
    if let Err(error) = uploads.abort_multipart(path, id).await {
        tracing::warn!(%path, %error, "an upload of a failed task cannot be aborted");
        return;
    }
    let name = path.filename().unwrap_or_default();
    if let Ok(record) = folder.path(&format!("{place}/{name}{RECORD}"))
        && let Err(error) = folder.store().delete(&record).await
    {
        tracing::debug!(%record, %error, "the record of an upload stays");
    }
}
