//! What is kept of a job that can be resumed while it runs: each task, once it is done, of the
//! stage that writes, or of those whose rows the coordinator computes with. The rows of the latter
//! are kept within a bound for all jobs together; a task beyond it runs again.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use keyloom_common::{Error, JobId, Result};
use tokio::{sync::SemaphorePermit, task::spawn_blocking};

use super::{
    file::{StateFile, TaskKey},
    record::{Cut, TaskRecord, encode},
    rows::Rows,
    writer::Queue,
};

/// What of a job is in the file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct KeptTasks {
    /// The tasks of all stages whose tasks are kept.
    pub(super) tasks: u64,
    /// How many of these are done.
    pub(super) done: u64,
    /// The bytes of their rows, of those that do not write.
    pub(super) row_bytes: u64,
}

/// The tasks of a job's stages that are kept.
#[derive(Debug)]
pub(crate) struct Journal {
    job: JobId,
    stages: BTreeMap<u32, Stage>,
    /// What the tasks of all jobs take that do not write.
    rows: Arc<Rows>,
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
    /// Of the stages that are cut like this. The rows of those that do not write take of this room,
    /// in which those that were kept before are counted. Waits for the disk.
    ///
    /// # Errors
    /// If what was kept before cannot be read.
    pub(super) fn open(
        job: JobId,
        cuts: &[Cut],
        rows: Arc<Rows>,
        file: Arc<StateFile>,
        queue: Arc<Queue>,
    ) -> Result<Self> {
        let mut stages = BTreeMap::new();
        for Cut { stage, writes, .. } in cuts {
            let done = file.sized_tasks(job, *stage)?.into_iter().map(|(task, _)| task).collect();
            stages.insert(*stage, Stage { writes: *writes, done: Mutex::new(done) });
        }
        Ok(Self { job, stages, rows, is_full: AtomicBool::new(false), file, queue })
    }

    /// What of a job that is cut like this is in the file. Waits for the disk.
    ///
    /// # Errors
    /// If it cannot be read.
    pub(super) fn kept(file: &StateFile, job: JobId, cuts: &[Cut]) -> Result<KeptTasks> {
        let mut kept = KeptTasks::default();
        for Cut { stage, tasks, writes, .. } in cuts {
            let done = file.sized_tasks(job, *stage)?;
            kept.tasks = kept.tasks.saturating_add(*tasks);
            kept.done = kept.done.saturating_add(done.len() as u64);
            if !writes {
                let add = |sum: u64, (_, bytes): &(u32, u64)| sum.saturating_add(*bytes);
                kept.row_bytes = done.iter().fold(kept.row_bytes, add);
            }
        }
        Ok(kept)
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

    /// Whether there is room for so many bytes of a task that is done.
    pub(crate) fn has_room(&self, stage: u32, task: u32, bytes: u64) -> bool {
        self.fits(stage, task, bytes, || self.rows.has(bytes))
    }

    /// Whether so many bytes of a task can be kept, where this says whether its rows have room. It
    /// is told where there is none: of tasks that do not write, there may be very many, and it is
    /// told once.
    fn fits(&self, stage: u32, task: u32, bytes: u64, have_room: impl FnOnce() -> bool) -> bool {
        let (job, most) = (self.job, self.queue.max_task_bytes() as u64);
        let writes = self.stages.get(&stage).is_some_and(|stage| stage.writes);
        let setting = if bytes > most {
            "journal_ahead_bytes"
        } else if !writes && !have_room() {
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
        if self.fits(stage, task, size, || self.rows.take(job, size)) {
            self.queue.put_task(TaskKey::new(job, stage, task), bytes).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use keyloom_common::{BlobId, WorkerId, report::PlanMetrics};

    use super::*;

    const JOB: JobId = JobId::from_u128(7);
    const OTHER: JobId = JobId::from_u128(8);

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

    /// A folder for the journals of jobs whose rows may take so many bytes together.
    struct Kept {
        folder: tempfile::TempDir,
        max_rows: u64,
    }

    impl Kept {
        fn new(max_rows: u64) -> Self {
            Self { folder: tempfile::tempdir().unwrap(), max_rows }
        }

        /// Keeps tasks of a stage of jobs, one after the other, and says which the next coordinator
        /// has of each job, and how many bytes of rows.
        async fn keep(
            &self,
            cut: Cut,
            tasks: &[(JobId, usize)],
        ) -> Vec<(JobId, BTreeSet<u32>, u64)> {
            let file = Arc::new(StateFile::open(self.folder.path()).unwrap());
            let (rows, queue) = (Arc::new(Rows::new(self.max_rows)), Queue::new(1_000));
            let open = |job: JobId| {
                let (rows, file, queue) =
                    (Arc::clone(&rows), Arc::clone(&file), Arc::clone(&queue));
                Journal::open(job, &[cut], rows, file, queue).unwrap()
            };
            let jobs: BTreeSet<_> = tasks.iter().map(|(job, _)| *job).collect();
            let journals: BTreeMap<_, _> = jobs.iter().map(|job| (*job, open(*job))).collect();
            let writer = super::super::writer::Writer::start(Arc::clone(&queue), Arc::clone(&file));
            for (index, (job, bytes)) in tasks.iter().enumerate() {
                journals[job].keep(cut.stage, index as u32, &task(*bytes)).await;
            }
            drop(writer.unwrap());
            let kept = jobs.iter().map(|job| {
                let kept = Journal::kept(&file, *job, &[cut]).unwrap();
                let done = open(*job).done(cut.stage);
                assert_eq!((kept.tasks, kept.done), (cut.tasks, done.len() as u64));
                (*job, done, kept.row_bytes)
            });
            kept.collect()
        }
    }

    fn size(bytes: usize) -> u64 {
        encode(&task(bytes)).unwrap().len() as u64
    }

    #[tokio::test]
    async fn rows_of_all_jobs_are_kept_within_one_bound_and_what_was_written_in_any_case() {
        let tasks = [(JOB, 200), (OTHER, 10), (JOB, 400), (OTHER, 100), (JOB, 1)];
        let most = size(200) + size(10) + size(100);
        let kept = Kept::new(most).keep(cut(1, false), &tasks).await;
        let expected = [
            (JOB, BTreeSet::from([0]), size(200)),
            (OTHER, BTreeSet::from([1, 3]), size(10) + size(100)),
        ];
        assert_eq!(kept, expected, "the last byte was taken by the other job");
        let tasks = [(JOB, 200), (JOB, 10), (JOB, 400), (JOB, 100), (JOB, 2_000)];
        let kept = Kept::new(most).keep(cut(1, true), &tasks).await;
        assert_eq!(kept, [(JOB, BTreeSet::from([0, 1, 2, 3]), 0)], "what writes takes no room");
        let kept = Kept::new(0).keep(cut(1, false), &[(JOB, 1)]).await;
        assert_eq!(kept, [(JOB, BTreeSet::new(), 0)]);
    }

    #[test]
    fn what_is_gone_is_not_done_any_more() {
        let folder = tempfile::tempdir().unwrap();
        let file = Arc::new(StateFile::open(folder.path()).unwrap());
        let cuts = [cut(1, false), cut(3, true)];
        let rows = Arc::new(Rows::new(10));
        let journal = Journal::open(JOB, &cuts, rows, file, Queue::new(10)).unwrap();
        assert_eq!([1, 2, 3].map(|stage| journal.keeps(stage)), [true, false, true]);
        assert_eq!(journal.written(), Some(3));
        journal.stages[&3].done().extend([2, 5, 7]);
        journal.redo(3, &BTreeSet::from([5, 6]));
        assert_eq!(journal.done(3), BTreeSet::from([2, 7]));
        assert_eq!((journal.count(3), journal.has(3, 5), journal.has(1, 2)), (2, false, false));
    }
}
