//! What is kept of a job that can be resumed while it runs: each task of the stage that writes,
//! once it is done.

use std::{collections::BTreeSet, sync::Arc};

use keyloom_common::{Error, JobId, Result};
use tokio::task::spawn_blocking;

use super::{
    file::{StateFile, TaskKey},
    record::{TaskRecord, encode},
    writer::Queue,
};

/// The tasks of a job's stage that writes.
#[derive(Debug)]
pub(crate) struct Journal {
    job: JobId,
    stage: u32,
    /// Those that were done in an earlier run.
    done: BTreeSet<u32>,
    file: Arc<StateFile>,
    queue: Arc<Queue>,
}

impl Journal {
    pub(super) fn new(
        (job, stage): (JobId, u32),
        done: BTreeSet<u32>,
        file: Arc<StateFile>,
        queue: Arc<Queue>,
    ) -> Self {
        Self { job, stage, done, file, queue }
    }

    /// The stage.
    pub(crate) fn stage(&self) -> u32 {
        self.stage
    }

    /// Whether a task was done in an earlier run.
    pub(crate) fn has(&self, task: u32) -> bool {
        self.done.contains(&task)
    }

    /// How many were.
    pub(crate) fn done(&self) -> usize {
        self.done.len()
    }

    /// A task that was done in an earlier run.
    ///
    /// # Errors
    /// If it cannot be read.
    pub(crate) async fn read(&self, task: u32) -> Result<TaskRecord> {
        let (file, key) = (Arc::clone(&self.file), TaskKey::new(self.job, self.stage, task));
        spawn_blocking(move || file.task(key)).await.map_err(Error::from_join)?
    }

    /// Keeps a task that is done. It is written soon, and if it is not, it runs again when the job
    /// is resumed.
    pub(crate) async fn keep(&self, task: u32, record: &TaskRecord) {
        let most = self.queue.max_task_bytes();
        let job = self.job;
        match encode(record) {
            Ok(bytes) if bytes.len() <= most => {
                self.queue.put_task(TaskKey::new(job, self.stage, task), bytes).await;
            }
            Ok(bytes) => {
                let bytes = bytes.len();
                tracing::warn!(
                    %job, task, bytes, most, "what a task has done takes more than \
                     journal_ahead_bytes: it runs again if the job is resumed"
                );
            }
            Err(error) => tracing::warn!(%job, task, %error, "what a task has done is not kept"),
        }
    }
}
