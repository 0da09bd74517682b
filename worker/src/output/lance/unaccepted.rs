//! Files that a task wrote and that nobody has accepted yet.

use std::{
    mem,
    sync::{Arc, Mutex, PoisonError},
};

use async_trait::async_trait;
use keyloom_common::AttemptId;
use lance::dataset::progress::WriteFragmentProgress;
use lance_object_store::path::Path;
use lance_table::format::Fragment;

use super::{
    cleaner::{self, Cleaner},
    parts, records,
};
use crate::store::lance::Files;

/// The files of an attempt. If they are dropped before they are accepted, they are deleted.
///
/// Whoever writes them has a share: so they are deleted when it has stopped, and not before. Of
/// data files there is a record, too, for whoever ends the job: a killed worker deletes none.
#[derive(Debug)]
pub(super) struct Unaccepted {
    files: Files,
    cleaner: Cleaner,
    record: Path,
    names: Mutex<Names>,
}

#[derive(Debug, Default)]
struct Names {
    /// Data files, by their names.
    data: Vec<String>,
    /// Other files.
    others: Vec<Path>,
}

impl Unaccepted {
    /// Those of an attempt, of which there are none yet.
    pub(super) fn new(files: Files, attempt: AttemptId, cleaner: Cleaner) -> Arc<Self> {
        let record = records::path(&files, attempt);
        Arc::new(Self { files, cleaner, record, names: Mutex::default() })
    }

    /// Where the dataset's files are.
    pub(super) fn files(&self) -> &Files {
        &self.files
    }

    /// Takes note of data files, and leaves a record of those that are new.
    pub(super) async fn data(&self, names: Vec<String>) {
        let all = self.with_names(|known| {
            let before = known.data.len();
            for name in names {
                if !known.data.contains(&name) {
                    known.data.push(name);
                }
            }
            let is_new = known.data.len() > before;
            if is_new && before == 0 {
                known.others.push(self.record.clone());
            }
            is_new.then(|| known.data.clone())
        });
        if let Some(all) = all {
            records::put(&self.files, &self.record, &all).await;
        }
    }

    /// Takes note of another file.
    pub(super) fn other(&self, path: Path) {
        self.with_names(|known| known.others.push(path));
    }

    /// They are somebody else's now.
    pub(super) fn accept(&self) {
        self.with_names(mem::take);
    }

    fn with_names<T>(&self, change: impl FnOnce(&mut Names) -> T) -> T {
        // No change leaves them half-done, so a poisoned lock guards sound contents.
        change(&mut self.names.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[async_trait]
impl WriteFragmentProgress for Unaccepted {
    /// Lance deletes a file by itself that it does not end.
    async fn begin(&self, _fragment: &Fragment) -> lance::Result<()> {
        Ok(())
    }

    async fn complete(&self, fragment: &Fragment) -> lance::Result<()> {
        self.data(parts::names(fragment).map(str::to_owned).collect()).await;
        Ok(())
    }
}

impl Drop for Unaccepted {
    fn drop(&mut self) {
        let Names { data, others } = self.with_names(mem::take);
        if data.is_empty() && others.is_empty() {
            return;
        }
        let files = self.files.clone();
        self.cleaner.spawn(async move {
            cleaner::delete_data(&files, data).await;
            for path in others {
                cleaner::delete(&files, &path).await;
            }
        });
    }
}
