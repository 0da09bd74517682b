//! Deletes files that nobody needs, while nobody waits for it.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use lance_object_store::{ObjectStoreExt, path::Path};
use tokio::{runtime::Handle, task::JoinSet};
use tracing::Instrument;

use crate::store::lance::Files;

/// The folder of a dataset that holds its data files.
const DATA: &str = "data";

/// What is being deleted in the background. It ends with its owner.
#[derive(Clone, Default)]
pub(super) struct Cleaner(Arc<Mutex<JoinSet<()>>>);

impl Cleaner {
    /// Does that, if there is a runtime to do it in.
    pub(super) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        let Ok(runtime) = Handle::try_current() else { return };
        // No change leaves it half-done, so a poisoned lock guards sound contents.
        let mut tasks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        while tasks.try_join_next().is_some() {}
        tasks.spawn_on(work.in_current_span(), &runtime);
    }

    /// Waits until it is done.
    #[cfg(test)]
    pub(super) async fn done(&self) {
        let tasks = std::mem::take(&mut *self.0.lock().unwrap());
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
    let data = files.folder.clone().join(DATA);
    for name in names {
        delete(files, &data.clone().join(name.as_str())).await;
        let Some(stem) = name.strip_suffix(".lance") else { continue };
        match files.store.remove_dir_all(data.clone().join(stem)).await {
            Ok(()) | Err(lance::Error::NotFound { .. }) => {}
            Err(error) => {
                tracing::warn!(file = %name, %error, "blobs of an abandoned output stay");
            }
        }
    }
}

/// Deletes a file. One that is gone is no matter.
pub(super) async fn delete(files: &Files, path: &Path) {
    match files.store.inner.delete(path).await {
        Ok(()) | Err(lance_object_store::Error::NotFound { .. }) => {}
        Err(error) => tracing::warn!(file = %path, %error, "a file of an abandoned output stays"),
    }
}
