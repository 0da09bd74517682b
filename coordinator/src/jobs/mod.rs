//! Jobs: from a submitted plan to result chunks that the client takes one by one.
//!
//! Submitting is idempotent by the job's id: it is started once, however often it is handed in. A job
//! ends when its client has taken all of its result, cancels it, is gone, or was not heard of for a
//! while.

mod job;
mod memory;
mod run;
mod stop;
mod summary;

use std::{
    collections::HashMap,
    ops::RangeInclusive,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
};

use keyloom_common::{
    Error, JobId, Result, StageId,
    background::Background,
    rpc::{Next, Submission, TaskOutput, Work},
};

use tokio::runtime::Handle;

use crate::{
    blobs::Blobs,
    dispatch::{Dispatcher, StageEvent, StageHandle},
    owner::Owner,
    scheduler::StageKind,
    settings::Settings,
};

use job::Job;
pub(crate) use memory::Operators;

/// What a submission may say of the rows of a batch.
const BATCH_ROWS: RangeInclusive<u32> = 1..=1 << 24;

/// All jobs of a coordinator.
#[derive(Debug)]
pub(crate) struct Jobs {
    dispatcher: Dispatcher,
    blobs: Arc<Blobs>,
    settings: Arc<Settings>,
    operators: Operators,
    /// Where the coordinator's part of plans is computed, once one has such a part.
    plans: OnceLock<Result<Background>>,
    jobs: Mutex<HashMap<JobId, Entry>>,
}

/// A job, or what became of starting it. Whoever hands it in again meanwhile waits for that.
type Entry = Arc<OnceLock<Result<Arc<Job>>>>;

impl Jobs {
    pub(crate) fn new(
        dispatcher: Dispatcher,
        blobs: Arc<Blobs>,
        settings: Arc<Settings>,
        operators: Operators,
    ) -> Self {
        let (plans, jobs) = (OnceLock::new(), Mutex::default());
        Self { dispatcher, blobs, settings, operators, plans, jobs }
    }

    fn plans(&self) -> Result<&Handle> {
        let start = || Background::start("keyloom-plans", self.settings.plan_threads());
        let plans = self.plans.get_or_init(start).as_ref();
        plans.map(Background::handle).map_err(Clone::clone)
    }

    /// Starts a job, unless it was started before. Its client may be in this process. Decodes and cuts
    /// its plan, which may take a while.
    pub(crate) fn submit(
        &self,
        submission: Submission,
        owner: &Owner,
        in_process: bool,
    ) -> Result<()> {
        let id = submission.id;
        self.check(&submission)?;
        let entry = self.entry(id)?;
        let start = || {
            let job = Job::start(
                submission,
                owner,
                self.dispatcher.clone(),
                Arc::clone(&self.blobs),
                Arc::clone(&self.settings),
                &self.operators,
                in_process,
                || self.plans(),
            )?;
            tracing::info!(job = %id, "job submitted");
            Ok(Arc::new(job))
        };
        match entry.get_or_init(start) {
            Ok(job) => {
                job.renew(owner);
                Ok(())
            }
            Err(error) => {
                self.lock().remove(&id);
                Err(error.clone())
            }
        }
    }

    /// Refuses what is out of bounds before anything is done for it.
    fn check(&self, submission: &Submission) -> Result<()> {
        let (bytes, max) = (submission.plan.bytes().len(), self.settings.max_plan_bytes);
        if bytes > max {
            return Err(Error::resource_exhausted(format!(
                "the plan takes {bytes} bytes, more than max_plan_bytes = {max} on the coordinator; \
                 put long lists of values into a table"
            )));
        }
        let rows = submission.batch_rows;
        if !BATCH_ROWS.contains(&rows) {
            let (least, most) = (BATCH_ROWS.start(), BATCH_ROWS.end());
            return Err(Error::invalid(format!(
                "setting batch_rows must be between {least} and {most}, not {rows}"
            )));
        }
        Ok(())
    }

    fn entry(&self, id: JobId) -> Result<Entry> {
        let mut jobs = self.lock();
        let max = self.settings.max_jobs;
        if !jobs.contains_key(&id) && jobs.len() >= max {
            return Err(Error::resource_exhausted(format!(
                "{max} jobs are under way or wait for their clients to read them, and max_jobs = \
                 {max} on the coordinator"
            )));
        }
        Ok(Arc::clone(jobs.entry(id).or_default()))
    }

    /// The job, of which its client was just heard.
    fn get(&self, id: JobId, owner: &Owner) -> Result<Arc<Job>> {
        let entry = self.lock().get(&id).cloned();
        let job = entry.and_then(|entry| entry.get().cloned()).ok_or_else(|| {
            Error::not_found(format!(
                "job {id} is not known to the coordinator; it was cancelled, or the coordinator \
                 was restarted"
            ))
        })??;
        job.renew(owner);
        Ok(job)
    }

    /// Notes that a job's client is there.
    pub(crate) fn renew(&self, id: JobId, owner: &Owner) -> Result<()> {
        self.get(id, owner).map(drop)
    }

    /// Waits a while for the next chunk of a job's result.
    pub(crate) async fn next(&self, id: JobId, sequence: u64, owner: &Owner) -> Result<Next> {
        self.get(id, owner)?.next(sequence, self.settings.rpc.long_poll()).await
    }

    /// Stops a job and forgets it.
    pub(crate) fn cancel(&self, id: JobId) {
        // Not under the lock: a plan with much in memory takes its time to go.
        let job = self.lock().remove(&id);
        if job.is_some() {
            tracing::info!(job = %id, "job ended");
        }
    }

    /// Cancels jobs whose clients are gone, or were not heard of for long.
    pub(crate) fn expire(&self) {
        let (silent, gone) = (self.settings.client_timeout(), self.settings.client_gone());
        let mut expired = Vec::new();
        self.lock().retain(|id, entry| {
            let Some(Ok(job)) = entry.get() else { return true };
            let (idle, is_here) = job.idle();
            let keep = idle < if is_here { silent } else { gone };
            if !keep {
                if !job.ended() {
                    let why = if is_here { "was not heard of" } else { "is gone" };
                    tracing::warn!(job = %id, "job cancelled: its client {why} for {idle:?}");
                }
                expired.push(Arc::clone(entry));
            }
            keep
        });
    }

    /// Runs one piece of work on any worker.
    pub(crate) async fn ask_worker(&self, work: Work) -> Result<TaskOutput> {
        let stage = StageId { job: JobId::new(), index: 0 };
        let (handle, mut events) = self.dispatcher.open_stage(stage, StageKind::Question);
        handle.add(keyloom_common::TaskId { stage, index: 0 }, work);
        handle.close();
        // Also when the asker is gone, whose call is then dropped here.
        let _cancel = CancelOnDrop(handle);
        match events.recv().await {
            Some(StageEvent::Done { finished, .. }) => Ok(finished.output),
            Some(StageEvent::Failed(error)) => Err(error),
            None => Err(Error::cancelled("the coordinator is stopping")),
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<JobId, Entry>> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct CancelOnDrop(StageHandle);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.cancel();
    }
}
