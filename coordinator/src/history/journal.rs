//! What is kept of a job that can be resumed while it runs: each task, once it is done, of the
//! stage that writes, or of those whose rows the coordinator computes with. The rows of the latter
//! are kept within bounds; a task beyond them runs again.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use keyloom_common::{Error, JobId, Result};
use tokio::{sync::SemaphorePermit, task::spawn_blocking};

use super::{
    file::{StateFile, TaskKey},
    record::{Cut, TaskRecord, encode},
    writer::Queue,
};

/// The tasks of a job's stages that are kept.
#[derive(Debug)]
pub(crate) struct Journal {
    job: JobId,
    stages: BTreeMap<u32, Stage>,
    /// How many bytes more there may be of tasks that do not write.
    room: AtomicU64,
    /// Whether it was told that there is no room for one.
    is_full: AtomicBool,
    file: Arc<StateFile>,
    queue: Arc<Queue>,
}

#[derive(Debug)]
struct Stage {
    /// Whether its tasks write, and hand in what tells of that.
    writes: bool,
    /// Those that were done in an earlier run.
    done: Mutex<BTreeSet<u32>>,
}

impl Stage {
    fn done(&self) -> MutexGuard<'_, BTreeSet<u32>> {
        // No change leaves it half-done, so a poisoned lock guards sound contents.
        self.done.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Journal {
    /// Of the stages that are cut like this. The rows of those that do not write may take so many
    /// bytes. Waits for the disk.
    ///
    /// # Errors
    /// If what was kept before cannot be read.
    pub(super) fn open(
        job: JobId,
        cuts: &[Cut],
        rows_bytes: u64,
        file: Arc<StateFile>,
        queue: Arc<Queue>,
    ) -> Result<Self> {
        let (mut stages, mut taken) = (BTreeMap::new(), 0_u64);
        for Cut { stage, writes, .. } in cuts {
            let mut done = BTreeSet::new();
            for (task, bytes) in file.sized_tasks(job, *stage)? {
                done.insert(task);
                taken = taken.saturating_add(if *writes { 0 } else { bytes });
            }
            stages.insert(*stage, Stage { writes: *writes, done: Mutex::new(done) });
        }
        let room = AtomicU64::new(rows_bytes.saturating_sub(taken));
        Ok(Self { job, stages, room, is_full: AtomicBool::new(false), file, queue })
    }

    /// Whether tasks of this stage are kept.
    pub(crate) fn keeps(&self, stage: u32) -> bool {
        self.stages.contains_key(&stage)
    }

    /// The stage that writes, if its tasks are kept.
    pub(crate) fn written(&self) -> Option<u32> {
        self.stages.iter().find(|(_, stage)| stage.writes).map(|(number, _)| *number)
    }

    /// The tasks of a stage that were done in an earlier run.
    pub(crate) fn done(&self, stage: u32) -> BTreeSet<u32> {
        self.stages.get(&stage).map(|stage| stage.done().clone()).unwrap_or_default()
    }

    /// How many there are.
    pub(crate) fn count(&self, stage: u32) -> usize {
        self.stages.get(&stage).map_or(0, |stage| stage.done().len())
    }

    /// Whether a task was done in an earlier run.
    pub(crate) fn has(&self, stage: u32, task: u32) -> bool {
        self.stages.get(&stage).is_some_and(|stage| stage.done().contains(&task))
    }

    /// These are to run again.
    pub(crate) fn redo(&self, stage: u32, tasks: &BTreeSet<u32>) {
        if let Some(stage) = self.stages.get(&stage) {
            stage.done().retain(|task| !tasks.contains(task));
        }
    }

    /// A task that was done in an earlier run.
    ///
    /// # Errors
    /// If it cannot be read.
    pub(crate) async fn read(&self, stage: u32, task: u32) -> Result<TaskRecord> {
        let (file, key) = (Arc::clone(&self.file), TaskKey::new(self.job, stage, task));
        spawn_blocking(move || file.task(key)).await.map_err(Error::from_join)?
    }

    /// Waits for the turn of one more task that is kept: its rows are in memory once more until
    /// they are handed to the file's thread.
    pub(crate) async fn turn(&self) -> Option<SemaphorePermit<'_>> {
        self.queue.turn().await
    }

    /// Whether there is room for so many bytes of a task that is done. It is told where there is
    /// none: of tasks that do not write, there may be very many, and it is told once.
    pub(crate) fn has_room(&self, stage: u32, task: u32, bytes: u64) -> bool {
        let (job, most) = (self.job, self.queue.max_task_bytes() as u64);
        let writes = self.stages.get(&stage).is_some_and(|stage| stage.writes);
        let setting = if bytes > most {
            "journal_ahead_bytes"
        } else if !writes && bytes > self.room.load(Ordering::Relaxed) {
            "journal_rows_bytes"
        } else {
            return true;
        };
        if writes || !self.is_full.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                %job, stage, task, bytes, setting, "what a task has done takes more than is left \
                 of a setting, or allowed by it: such tasks run again if the job is resumed"
            );
        }
        false
    }

    /// Keeps a task that is done, if there is room. It is written soon, and if it is not, it runs
    /// again when the job is resumed.
    pub(crate) async fn keep(&self, stage: u32, task: u32, record: &TaskRecord) {
        let job = self.job;
        let bytes = match encode(record) {
            Ok(bytes) => bytes,
            Err(error) => {
                tracing::warn!(%job, stage, task, %error, "what a task has done is not kept");
                return;
            }
        };
        let size = bytes.len() as u64;
        if !self.has_room(stage, task, size) {
            return;
        }
        if self.written() != Some(stage) {
            // Two at once may take somewhat more than there was, which is then missing.
            let take = |left: u64| Some(left.saturating_sub(size));
            let _ = self.room.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take);
        }
        self.queue.put_task(TaskKey::new(job, stage, task), bytes).await;
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use keyloom_common::{BlobId, WorkerId, report::PlanMetrics};

    use super::*;

    const JOB: JobId = JobId::from_u128(7);

    fn cut(stage: u32, writes: bool) -> Cut {
        Cut { stage, tasks: 9, slices: BlobId::NONE, writes }
    }

    fn task(bytes: usize) -> TaskRecord {
        TaskRecord {
            worker: WorkerId::from_u128(1),
            rows: 5,
            metrics: PlanMetrics::default(),
            lookups: Vec::new(),
            chunks: vec![(Bytes::from(vec![7; bytes]), false)],
        }
    }

    /// Keeps tasks of a stage, and says which the next coordinator has.
    async fn kept(cut: Cut, rows_bytes: u64, tasks: &[usize]) -> (BTreeSet<u32>, u64) {
        let folder = tempfile::tempdir().unwrap();
        let file = Arc::new(StateFile::open(folder.path()).unwrap());
        let queue = Queue::new(1_000);
        let open = || Journal::open(JOB, &[cut], rows_bytes, Arc::clone(&file), Arc::clone(&queue));
        let writer = super::super::writer::Writer::start(Arc::clone(&queue), Arc::clone(&file));
        let journal = open().unwrap();
        for (index, bytes) in tasks.iter().enumerate() {
            journal.keep(cut.stage, index as u32, &task(*bytes)).await;
        }
        drop(writer.unwrap());
        let journal = open().unwrap();
        (journal.done(cut.stage), journal.room.load(Ordering::Relaxed))
    }

    #[tokio::test]
    async fn rows_are_kept_within_bounds_and_what_was_written_in_any_case() {
        let (done, room) = kept(cut(1, false), 500, &[200, 10, 400, 100]).await;
        assert_eq!(done, BTreeSet::from([0, 1, 3]));
        assert!(room < 190, "what was kept before counts: {room}");
        let (done, room) = kept(cut(1, true), 500, &[200, 10, 400, 100, 2_000]).await;
        assert_eq!((done, room), (BTreeSet::from([0, 1, 2, 3]), 500));
        let (done, _) = kept(cut(1, false), 0, &[1]).await;
        assert_eq!(done, BTreeSet::new());
    }

    #[test]
    fn what_is_gone_is_not_done_any_more() {
        let folder = tempfile::tempdir().unwrap();
        let file = Arc::new(StateFile::open(folder.path()).unwrap());
        let cuts = [cut(1, false), cut(3, true)];
        let journal = Journal::open(JOB, &cuts, 10, file, Queue::new(10)).unwrap();
        assert_eq!([1, 2, 3].map(|stage| journal.keeps(stage)), [true, false, true]);
        assert_eq!(journal.written(), Some(3));
        journal.stages[&3].done().extend([2, 5, 7]);
        journal.redo(3, &BTreeSet::from([5, 6]));
        assert_eq!(journal.done(3), BTreeSet::from([2, 7]));
        assert_eq!((journal.count(3), journal.has(3, 5), journal.has(1, 2)), (2, false, false));
    }
}
