//! Deletes files that nobody needs, while nobody waits for it.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures::{StreamExt, stream};
use lance_object_store::{ObjectStoreExt, path::Path};
use tokio::{runtime::Handle, task::JoinSet, time::timeout};
use tracing::Instrument;

use crate::store::lance::Files;

/// The folder of a dataset that holds its data files.
pub(super) const DATA: &str = "data";

/// How many requests delete at once.
const AT_ONCE: usize = 8;

/// What is being deleted in the background, each time within a bound. It ends with its owner.
#[derive(Clone)]
pub(super) struct Cleaner {
    tasks: Arc<Mutex<JoinSet<()>>>,
    bound: Duration,
}

impl Cleaner {
    /// Nothing may take longer than this.
    pub(super) fn new(bound: Duration) -> Self {
        Self { tasks: Arc::default(), bound }
    }

    /// Does that, if there is a runtime to do it in.
    pub(super) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        let Ok(runtime) = Handle::try_current() else { return };
        let bound = self.bound;
        let work = async move {
            if timeout(bound, work).await.is_err() {
                tracing::warn!("files of an abandoned output could not be deleted in time");
            }
        };
        // No change leaves it half-done, so a poisoned lock guards sound contents.
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        while tasks.try_join_next().is_some() {}
        tasks.spawn_on(work.in_current_span(), &runtime);
    }

    /// Waits until it is done.
    #[cfg(test)]
    pub(super) async fn done(&self) {
        let tasks = std::mem::take(&mut *self.tasks.lock().unwrap());
        tasks.join_all().await;
    }
}

impl fmt::Debug for Cleaner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cleaner").finish_non_exhaustive()
    }
}

/// Deletes data files of a dataset by their names, and the blobs that stand beside each. What
/// cannot be deleted stays, with a warning.
pub(super) async fn delete_data(files: &Files, names: Vec<String>) {
    let deleted: Vec<_> = names.iter().map(|name| delete_one(files, name)).collect();
    stream::iter(deleted).buffer_unordered(AT_ONCE).for_each(|()| async {}).await;
}

async fn delete_one(files: &Files, name: &str) {
    let data = files.folder.clone().join(DATA);
    delete(files, &data.clone().join(name)).await;
    let Some(stem) = name.strip_suffix(".lance") else { return };
    match Box::pin(files.store.remove_dir_all(data.join(stem))).await {
        Ok(()) | Err(lance::Error::NotFound { .. }) => {}
        Err(error) => tracing::warn!(file = %name, %error, "blobs of an abandoned output stay"),
    }
}

/// Deletes a file. One that is gone is no matter.
pub(super) async fn delete(files: &Files, path: &Path) {
    match files.store.inner.delete(path).await {
        Ok(()) | Err(lance_object_store::Error::NotFound { .. }) => {}
        Err(error) => tracing::warn!(file = %path, %error, "a file of an abandoned output stays"),
    }
}
