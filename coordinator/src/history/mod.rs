//! What is known of jobs while they run and for a while afterwards: in memory, and, where the
//! settings name a folder, in a file, from which the next coordinator knows it, too.
//!
//! There are never more than `max_remembered_jobs`, each of `job_record_bytes` at most, and its log
//! of `job_log_bytes`; the oldest that have ended go first. Jobs that run are bounded by `max_jobs`,
//! and never go. The file is written by a thread of its own; what a client was told is in it.

mod file;
mod journal;
mod known;
mod log;
mod private;
mod record;
mod rows;
mod writer;

use std::{
    cmp::Reverse,
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use keyloom_common::{
    Error, JobId, Result,
    report::JobInfo,
    rpc::{Identity, JobTerms},
};

use crate::settings::Settings;
use file::{Batch, StateFile};
pub(crate) use journal::Journal;
use known::Bounds;
pub(crate) use known::{End, KnownJob};
pub(crate) use log::Happened;
pub(crate) use record::{Cut, PlanRecord, Resumable, TaskRecord};
use record::{shorten, totals};
use rows::Rows;
use writer::{Queue, Writer};

/// The most bytes of a statement in a list of jobs.
const LISTED_BYTES: usize = 1024;

/// What those who do the work of a job know of it.
#[derive(Debug)]
pub(crate) struct JobRecord {
    pub(crate) known: Arc<KnownJob>,
    /// Where its tasks are kept, if it can be resumed.
    pub(crate) journal: Option<Journal>,
    pub(crate) history: Arc<History>,
}

/// The jobs that a coordinator knows.
#[derive(Debug)]
pub(crate) struct History {
    settings: Arc<Settings>,
    jobs: Mutex<HashMap<JobId, Arc<KnownJob>>>,
    kept: Option<Kept>,
}

/// Where they are kept.
#[derive(Debug)]
struct Kept {
    file: Arc<StateFile>,
    queue: Arc<Queue>,
    /// What the rows of tasks take in the file.
    rows: Arc<Rows>,
    _writer: Writer,
}

impl History {
    /// What is known in memory alone.
    pub(crate) fn in_memory(settings: &Arc<Settings>) -> Self {
        Self { settings: Arc::clone(settings), jobs: Mutex::default(), kept: None }
    }

    /// What is known, with what the settings' folder says. Waits for the disk.
    ///
    /// # Errors
    /// `invalid`, naming the folder, if it cannot be used.
    pub(crate) fn open(settings: &Arc<Settings>) -> Result<Self> {
        let Some(folder) = &settings.state_folder else { return Ok(Self::in_memory(settings)) };
        let file = Arc::new(StateFile::open(folder)?);
        let queue = Queue::new(settings.journal_ahead_bytes);
        let bounds = bounds(settings);
        let read = file.jobs()?.into_iter().map(|record| {
            let job = Arc::new(KnownJob::read(record, bounds, Some(Arc::clone(&queue))));
            (job.id, job)
        });
        let jobs: HashMap<_, _> = read.collect();
        let rows = Arc::new(Rows::new(settings.journal_rows_bytes));
        count_kept(&rows, &file, jobs.values())?;
        tracing::info!(folder = %folder.display(), jobs = jobs.len(), "jobs are remembered");
        let writer = Writer::start(Arc::clone(&queue), Arc::clone(&file))?;
        let kept = Some(Kept { file, queue, rows, _writer: writer });
        Ok(Self { settings: Arc::clone(settings), jobs: Mutex::new(jobs), kept })
    }

    /// Whether the next coordinator will know what this one does.
    pub(crate) fn is_kept(&self) -> bool {
        self.kept.is_some()
    }

    /// Whether the next coordinator will know what this one was told last, if it is to.
    ///
    /// # Errors
    /// That the file cannot be written.
    pub(crate) fn check(&self) -> std::result::Result<(), String> {
        self.kept.as_ref().map_or(Ok(()), |kept| kept.file.check())
    }

    /// A job that is known.
    pub(crate) fn get(&self, id: JobId) -> Option<Arc<KnownJob>> {
        self.lock().get(&id).cloned()
    }

    /// All jobs, the newest first.
    pub(crate) fn all(&self) -> Vec<Arc<KnownJob>> {
        let mut jobs: Vec<_> = self.lock().values().cloned().collect();
        jobs.sort_by_cached_key(|job| Reverse((job.submitted_ms(), job.id)));
        jobs
    }

    /// A job that begins, in the place of one of the same name that did not run to its end, and
    /// those that are forgotten for it. If it can be resumed, what that takes is in the file when
    /// this returns: it waits for the disk.
    ///
    /// # Errors
    /// `resource_exhausted` if the file cannot be written.
    pub(crate) fn begin(
        &self,
        job: (JobId, Identity, JobTerms),
        output: Option<String>,
        resumable: Resumable,
        plan: Option<&PlanRecord>,
    ) -> Result<(Arc<KnownJob>, Vec<Arc<KnownJob>>)> {
        let queue = self.kept.as_ref().map(|kept| Arc::clone(&kept.queue));
        let bounds = bounds(&self.settings);
        let job = Arc::new(KnownJob::new(job, output, resumable, bounds, queue));
        match (&self.kept, plan) {
            (Some(kept), Some(plan)) => kept.file.write_plan(&job.record(), plan)?,
            (Some(kept), None) if job.terms.detached => kept.queue.put(&job),
            _ => {}
        }
        let mut jobs = self.lock();
        jobs.insert(job.id, Arc::clone(&job));
        let too_many = jobs.len().saturating_sub(self.settings.max_remembered_jobs);
        // Some more at once, so that they are not looked through for each.
        let many = if too_many > 0 { too_many + jobs.len() / 16 } else { 0 };
        let forgotten = self.forget_oldest(&mut jobs, many);
        Ok((job, forgotten))
    }

    /// A job that is to run again. How often it was is in the file when this returns, for what its
    /// tasks write is named by that: it waits for the disk.
    ///
    /// # Errors
    /// `resource_exhausted` if the file cannot be written; the job is interrupted then.
    pub(crate) fn resume(&self, job: &Arc<KnownJob>) -> Result<()> {
        job.resume();
        let Some(kept) = &self.kept else { return Ok(()) };
        let batch = Batch { jobs: vec![job.record()], ..Batch::default() };
        kept.file.write(&batch).inspect_err(|error| job.interrupt_for(error.message()))
    }

    /// Forgets jobs that ended long ago.
    pub(crate) fn expire(&self) -> Vec<Arc<KnownJob>> {
        let bound = known::now_ms().saturating_sub(self.settings.job_history_ms);
        let mut jobs = self.lock();
        let old = jobs.values().filter(|job| job.ended_ms().is_some_and(|ended| ended < bound));
        let old: Vec<_> = old.map(|job| job.id).collect();
        old.into_iter().filter_map(|id| self.forget(&mut jobs, id)).collect()
    }

    fn forget_oldest(
        &self,
        jobs: &mut HashMap<JobId, Arc<KnownJob>>,
        many: usize,
    ) -> Vec<Arc<KnownJob>> {
        if many == 0 {
            return Vec::new();
        }
        let ended = jobs.values().filter_map(|job| Some((job.ended_ms()?, job.id)));
        let mut ended: Vec<_> = ended.collect();
        ended.sort_unstable();
        let oldest = ended.into_iter().take(many);
        oldest.filter_map(|(_, id)| self.forget(jobs, id)).collect()
    }

    /// Forgets a job. What it has written and nobody will see stays in the file until whoever
    /// called has had it removed, and says so by [`Self::settle`].
    fn forget(&self, jobs: &mut HashMap<JobId, Arc<KnownJob>>, id: JobId) -> Option<Arc<KnownJob>> {
        let job = jobs.remove(&id)?;
        if let Some(kept) = &self.kept
            && !job.left_pieces()
        {
            kept.forget(id);
        }
        Some(job)
    }

    /// What it takes to run a job again. Waits for the disk.
    ///
    /// # Errors
    /// If it is not there, or cannot be read.
    pub(crate) fn plan(&self, id: JobId) -> Result<PlanRecord> {
        let plan = self.kept.as_ref().map(|kept| kept.file.plan(id)).transpose()?.flatten();
        plan.ok_or_else(|| Error::not_found("what it takes to run it again is not known any more"))
    }

    /// Where the tasks of a job's stages are kept that are cut like this, with those that were done
    /// before; none if there is no such stage. Waits for the disk.
    ///
    /// # Errors
    /// If they cannot be read.
    pub(crate) fn journal(&self, id: JobId, cuts: &[Cut]) -> Result<Option<Journal>> {
        let Some(kept) = self.kept.as_ref().filter(|_| !cuts.is_empty()) else {
            return Ok(None);
        };
        let (rows, file) = (Arc::clone(&kept.rows), Arc::clone(&kept.file));
        Journal::open(id, cuts, rows, file, Arc::clone(&kept.queue)).map(Some)
    }

    /// All tasks of a job that have written, as far as they are kept, in their order. Waits for the
    /// disk.
    ///
    /// # Errors
    /// If they cannot be read.
    pub(crate) fn tasks(&self, id: JobId) -> Result<Vec<TaskRecord>> {
        let Some(Kept { file, .. }) = &self.kept else { return Ok(Vec::new()) };
        let plan = file.plan(id)?;
        match plan.and_then(|plan| Cut::written(&plan.cuts)) {
            Some(cut) => file.all_tasks(id, cut.stage),
            None => Ok(Vec::new()),
        }
    }

    /// Forgets what it takes to run a job again, for good; and the job, if it is not known any
    /// more.
    pub(crate) fn settle(&self, id: JobId) {
        let Some(kept) = &self.kept else { return };
        // Under the lock, so that nobody begins it again meanwhile.
        let jobs = self.lock();
        match jobs.contains_key(&id) {
            true => kept.settle(id),
            false => kept.forget(id),
        }
    }

    /// Waits until what is known now is in the file, if there is one.
    pub(crate) async fn written(&self) {
        if let Some(kept) = &self.kept {
            kept.queue.written(self.settings.rpc.call_timeout()).await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<JobId, Arc<KnownJob>>> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    /// A job cannot be resumed any more. Its rows go before what others keep from now on.
    fn settle(&self, id: JobId) {
        self.queue.settle(id);
        self.rows.give_back(id);
    }

    /// A job is not known any more.
    fn forget(&self, id: JobId) {
        self.queue.forget(id);
        self.rows.give_back(id);
    }
}

/// Counts the tasks that were kept before, and their rows. Those of a job whose plan cannot be read
/// are of no use to it, which is told when it is to go on.
fn count_kept<'a>(
    rows: &Rows,
    file: &StateFile,
    jobs: impl Iterator<Item = &'a Arc<KnownJob>>,
) -> Result<()> {
    for job in jobs.filter(|job| job.resumable == Resumable::Yes) {
        if let Ok(Some(plan)) = file.plan(job.id) {
            let kept = Journal::kept(file, job.id, &plan.cuts)?;
            rows.count(job.id, kept.row_bytes);
            job.found(&kept);
        }
    }
    Ok(())
}

fn bounds(settings: &Settings) -> Bounds {
    Bounds { record: settings.job_record_bytes, log: settings.job_log_bytes }
}

/// A job as a list shows it: without the counters of its plan and its columns, and the start of its
/// statement.
pub(crate) fn listed(mut job: JobInfo) -> JobInfo {
    job.summary = job.summary.as_ref().map(totals);
    job.schema = None;
    if let Some(statement) = &mut job.statement {
        shorten(statement, LISTED_BYTES);
    }
    job
}

#[cfg(test)]
mod tests;
