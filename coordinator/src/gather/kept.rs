//! Tasks that are kept: of a job that can be resumed, those of the stage that writes, or of those
//! whose rows the coordinator computes with, go to its journal once they are done, and those that
//! were done in an earlier run come from there. The one task of a shuffle is run again, and so are
//! those that write what the coordinator has computed.

use std::{sync::Arc, time::Instant};

use keyloom_common::{
    Error, Result,
    rpc::{TaskReport, guarded},
};
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

use super::context::JobContext;
use crate::{
    dispatch::{Finished, StageUpdate},
    history::{Journal, TaskRecord},
};

/// The tasks of a stage that were done in an earlier run.
pub(super) struct DoneBefore {
    context: Arc<JobContext>,
    stage: u32,
    updates: mpsc::UnboundedSender<StageUpdate>,
}

/// What happens to a stage, passed on once what it takes to go on from there is kept.
pub(super) struct Keeping {
    pub(super) updates: mpsc::UnboundedReceiver<StageUpdate>,
    /// For stages of which something is kept.
    pub(super) before: Option<DoneBefore>,
    /// For as long as updates are wanted.
    pub(super) task: Option<AbortOnDropHandle<()>>,
}

impl Keeping {
    /// Of a stage with this number in its plan.
    pub(super) fn of(
        context: &Arc<JobContext>,
        stage: u32,
        updates: mpsc::UnboundedReceiver<StageUpdate>,
    ) -> Self {
        if context.journal().is_none_or(|journal| !journal.keeps(stage)) {
            return Self { updates, before: None, task: None };
        }
        let (tx, receiver) = mpsc::unbounded_channel();
        let keeping = keep_all(Arc::clone(context), stage, updates, tx.clone());
        let task = AbortOnDropHandle::new(tokio::spawn(keeping));
        let before = DoneBefore { context: Arc::clone(context), stage, updates: tx };
        Self { updates: receiver, before: Some(before), task: Some(task) }
    }
}

async fn keep_all(
    context: Arc<JobContext>,
    stage: u32,
    updates: mpsc::UnboundedReceiver<StageUpdate>,
    tx: mpsc::UnboundedSender<StageUpdate>,
) {
    // Also a panic is told, or the reader would wait for ever.
    if let Err(error) = guarded(keep_each(&context, stage, updates, &tx)).await {
        let _ = tx.send(StageUpdate::Failed(error.into()));
    }
}

async fn keep_each(
    context: &JobContext,
    stage: u32,
    mut updates: mpsc::UnboundedReceiver<StageUpdate>,
    tx: &mpsc::UnboundedSender<StageUpdate>,
) -> Result<()> {
    while let Some(mut update) = updates.recv().await {
        if let StageUpdate::Done { index, finished } = &mut update
            && let Some(journal) = context.journal()
            && journal.has_room(stage, *index, finished.chunks.bytes())
        {
            let _turn = journal.turn().await;
            match record(finished).await {
                Ok(Some(record)) => journal.keep(stage, *index, &record).await,
                Ok(None) => {}
                // Whoever reads the rows meets it, too.
                Err(error) => {
                    let (job, task) = (context.job, *index);
                    tracing::warn!(%job, task, %error, "what a task has done is not kept");
                }
            }
        }
        // A reader that is gone cancels its stage.
        let _ = tx.send(update);
    }
    Ok(())
}

/// A task as it is kept. Its rows stay where they are.
async fn record(finished: &mut Finished) -> Result<Option<TaskRecord>> {
    let TaskReport::Rows { rows, metrics, lookups, .. } = &finished.report else {
        return Ok(None);
    };
    let (worker, rows) = (finished.worker, *rows);
    let (metrics, lookups) = (metrics.clone(), lookups.clone());
    let mut chunks = Vec::new();
    for index in 0..finished.chunks.len() {
        chunks.push(finished.chunks.peek(index).await?);
    }
    Ok(Some(TaskRecord { worker, rows, metrics, lookups, chunks }))
}

impl DoneBefore {
    fn journal(&self) -> Option<&Journal> {
        self.context.journal()
    }

    /// How many there are.
    pub(super) fn tasks(&self) -> usize {
        self.journal().map_or(0, |journal| journal.count(self.stage))
    }

    pub(super) fn has(&self, task: u32) -> bool {
        self.journal().is_some_and(|journal| journal.has(self.stage, task))
    }

    /// A task, as if a worker had just done it. None if what is kept of it cannot be read, or finds
    /// no room now: it runs again, and tasks that run wait for room.
    pub(super) async fn finished(&self, index: u32) -> Option<Box<Finished>> {
        match self.restored(index).await {
            Ok(finished) => Some(Box::new(finished)),
            Err(error) => {
                let (job, stage) = (self.context.job, self.stage);
                tracing::warn!(%job, stage, task = index, %error, "a task that was done runs anew");
                None
            }
        }
    }

    async fn restored(&self, index: u32) -> Result<Finished> {
        let missing = || Error::internal("there is no journal");
        let record = self.journal().ok_or_else(missing)?.read(self.stage, index).await?;
        let TaskRecord { worker, rows, metrics, lookups, chunks: kept } = record;
        let mut chunks = self.context.dispatcher.spool();
        for (bytes, whole) in kept {
            chunks.restore(bytes, whole).await?;
        }
        let sent = u32::try_from(chunks.len()).unwrap_or(u32::MAX);
        let report = TaskReport::Rows { chunks: sent, rows, metrics, lookups };
        let (launched, ended) = (Instant::now(), Instant::now());
        Ok(Finished { worker, report, chunks, is_kept: true, launched, ended })
    }

    /// Says that a task is done.
    pub(super) fn tell(&self, index: u32, finished: Box<Finished>) {
        // A reader that is gone does not want it.
        let _ = self.updates.send(StageUpdate::Done { index, finished });
    }
}

#[cfg(test)]
mod tests {
    use std::{env::temp_dir, path::Path, time::Duration};

    use arrow::datatypes::Schema;
    use bytes::Bytes;
    use keyloom_common::{
        BUILD, BlobId, JobId, WorkerId,
        misses::MissPolicy,
        output::OutputKind,
        report::PlanMetrics,
        rpc::{Chunk, Identity, JobTerms},
    };

    use super::*;
    use crate::{
        blobs::Blobs,
        dispatch::dispatcher,
        history::{Cut, History, JobRecord, PlanRecord, Resumable},
        samples::prepared,
        settings::Settings,
        spool::{Spool, SpoolRoom},
    };

    const JOB: JobId = JobId::from_u128(7);
    const STAGE: u32 = 1;

    fn cuts() -> Vec<Cut> {
        vec![Cut { stage: STAGE, tasks: 3, slices: BlobId::NONE, writes: true }]
    }

    fn plan() -> PlanRecord {
        let output = prepared("/out", OutputKind::Columns, Arc::new(Schema::empty()));
        let cuts = cuts();
        let (build, plan, misses) = (BUILD.to_owned(), Bytes::new(), MissPolicy::default());
        PlanRecord { build, plan, batch_rows: 10, misses, output, cuts }
    }

    /// A job whose tasks are kept in a folder, as the first coordinator or the next one has it.
    fn context(folder: &Path) -> (Arc<JobContext>, Arc<History>) {
        let state_folder = Some(folder.to_owned());
        let settings = Arc::new(Settings { state_folder, ..Settings::default() });
        let history = Arc::new(History::open(&settings).unwrap());
        let known = history.get(JOB).unwrap_or_else(|| {
            let terms = JobTerms { detached: true, ..JobTerms::default() };
            let job = (JOB, Identity::anybody(), terms);
            history.begin(job, None, Resumable::Yes, Some(&plan())).unwrap().0
        });
        let room = SpoolRoom::new(1 << 10, 1 << 10, temp_dir());
        let dispatcher = dispatcher(&settings.scheduler, room);
        let blobs = Arc::new(Blobs::new(1 << 20, Duration::from_secs(600)));
        let context = JobContext::new(JOB, dispatcher, blobs, settings, 10, false, false);
        let journal = history.journal(JOB, &cuts()).unwrap();
        context.begin(JobRecord { known, journal, history: Arc::clone(&history) });
        (Arc::new(context), history)
    }

    fn done(index: u32) -> StageUpdate {
        let room = SpoolRoom::new(1 << 10, 1 << 10, temp_dir());
        let mut chunks = Spool::new(room);
        assert!(chunks.push(&chunk(index), false));
        let (metrics, lookups) = (PlanMetrics::default(), Vec::new());
        let report = TaskReport::Rows { chunks: 1, rows: index.into(), metrics, lookups };
        let (launched, ended) = (Instant::now(), Instant::now());
        let worker = WorkerId::from_u128(index.into());
        let is_kept = false;
        let finished = Finished { worker, report, chunks, is_kept, launched, ended };
        let finished = Box::new(finished);
        StageUpdate::Done { index, finished }
    }

    fn chunk(index: u32) -> Chunk {
        Bytes::from(vec![index as u8; 10]).into()
    }

    /// What comes next is the task that was done, with its rows.
    async fn check_next(keeping: &mut Keeping, expected: u32) {
        let Some(StageUpdate::Done { index, mut finished }) = keeping.updates.recv().await else {
            panic!("no update of task {expected}");
        };
        assert_eq!(index, expected);
        assert_eq!(finished.worker, WorkerId::from_u128(expected.into()));
        assert!(matches!(finished.report, TaskReport::Rows { chunks: 1, rows, .. }
            if rows == u64::from(expected)));
        assert_eq!(finished.chunks.take(0).await.unwrap(), Some(chunk(expected)));
    }

    #[tokio::test]
    async fn tasks_that_were_done_come_from_the_journal_in_the_next_run() {
        let folder = tempfile::tempdir().unwrap();
        let (first, history) = context(folder.path());
        let (tx, updates) = mpsc::unbounded_channel();
        let mut keeping = Keeping::of(&first, STAGE, updates);
        assert!(keeping.before.as_ref().is_some_and(|before| before.tasks() == 0));
        for index in [2, 0] {
            tx.send(done(index)).unwrap();
            check_next(&mut keeping, index).await;
        }
        assert_eq!(first.first_attempt(), None);
        history.written().await;
        // All that holds the file.
        drop((keeping, tx, first, history));

        let (next, _history) = wait_for_file(folder.path()).await;
        next.record().unwrap().known.resume();
        let (_tx, updates) = mpsc::unbounded_channel();
        let mut keeping = Keeping::of(&next, STAGE, updates);
        let before = keeping.before.take().unwrap();
        assert_eq!([0, 1, 2].map(|task| before.has(task)), [true, false, true]);
        for index in [0, 2] {
            let finished = before.finished(index).await.expect("it is kept");
            before.tell(index, finished);
            check_next(&mut keeping, index).await;
        }
        assert!(before.finished(1).await.is_none(), "it was not done");
        // Others have all of the room.
        let room = next.dispatcher.shared_room();
        let _memory = room.memory().try_take(room.memory_bytes()).unwrap();
        let full: Chunk = Bytes::from(vec![0; 1 << 10]).into();
        let _file = room.spill(full, false).await.unwrap().expect("there is room in files");
        assert!(before.finished(0).await.is_none(), "there is no room");
        assert_eq!(next.first_attempt(), Some(10_000));
        assert_ne!(next.stage(STAGE).index, STAGE);
        let known = &next.record().unwrap().known;
        assert!(known.keeps_pieces());
        known.cancel(None);
        assert!(!known.keeps_pieces());
    }

    /// The next coordinator's, once the tasks of the first one have let go of the file.
    async fn wait_for_file(folder: &Path) -> (Arc<JobContext>, Arc<History>) {
        let state_folder = Some(folder.to_owned());
        let settings = Arc::new(Settings { state_folder, ..Settings::default() });
        while History::open(&settings).is_err() {
            tokio::task::yield_now().await;
        }
        context(folder)
    }

    #[tokio::test]
    async fn of_other_stages_nothing_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let (context, _history) = context(folder.path());
        let (_tx, updates) = mpsc::unbounded_channel();
        let keeping = Keeping::of(&context, STAGE + 1, updates);
        assert!(keeping.before.is_none() && keeping.task.is_none());
    }
}
