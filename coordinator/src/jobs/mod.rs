//! Jobs: from a submitted plan to result chunks that the client takes one by one.
//!
//! Submitting is idempotent by the job's id. A job ends when its client has taken all of its
//! result, cancels it, or has not asked for a while.

mod job;
mod run;
mod stop;
mod summary;

use std::{
    collections::HashMap,
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
    settings::Settings,
};

use job::Job;

/// All jobs of a coordinator.
#[derive(Debug)]
pub(crate) struct Jobs {
    dispatcher: Dispatcher,
    blobs: Arc<Blobs>,
    settings: Arc<Settings>,
    /// Where the coordinator's part of plans is computed, once one has such a part.
    plans: OnceLock<Result<Background>>,
    jobs: Mutex<HashMap<JobId, Arc<Job>>>,
}

impl Jobs {
    pub(crate) fn new(dispatcher: Dispatcher, blobs: Arc<Blobs>, settings: Arc<Settings>) -> Self {
        Self { dispatcher, blobs, settings, plans: OnceLock::new(), jobs: Mutex::default() }
    }

    fn plans(&self) -> Result<&Handle> {
        let start = || Background::start("keyloom-plans", self.settings.plan_threads());
        let plans = self.plans.get_or_init(start).as_ref();
        plans.map(Background::handle).map_err(Clone::clone)
    }

    /// Starts a job, unless it was started before. Its client may be in this process.
    pub(crate) fn submit(&self, submission: Submission, in_process: bool) -> Result<()> {
        let id = submission.id;
        if self.lock().contains_key(&id) {
            return Ok(());
        }
        let job = Job::start(
            submission,
            self.dispatcher.clone(),
            Arc::clone(&self.blobs),
            Arc::clone(&self.settings),
            in_process,
            || self.plans(),
        )?;
        tracing::info!(job = %id, "job submitted");
        self.lock().insert(id, Arc::new(job));
        Ok(())
    }

    /// Waits a while for the next chunk of a job's result.
    pub(crate) async fn next(&self, id: JobId, sequence: u64) -> Result<Next> {
        let job = self.lock().get(&id).cloned();
        let job = job.ok_or_else(|| {
            Error::not_found(format!(
                "job {id} is not known to the coordinator; it was cancelled, or the coordinator \
                 was restarted"
            ))
        })?;
        job.next(sequence, self.settings.rpc.long_poll()).await
    }

    /// Stops a job and forgets it.
    pub(crate) fn cancel(&self, id: JobId) {
        if self.lock().remove(&id).is_some() {
            tracing::info!(job = %id, "job ended");
        }
    }

    /// Cancels jobs whose clients have gone silent.
    pub(crate) fn expire(&self) {
        let timeout = self.settings.client_timeout();
        self.lock().retain(|id, job| {
            let keep = job.idle() < timeout;
            if !keep && !job.ended() {
                tracing::warn!(job = %id, "job cancelled: its client has not asked for {timeout:?}");
            }
            keep
        });
    }

    /// Runs one piece of work on any worker.
    pub(crate) async fn ask_worker(&self, work: Work) -> Result<TaskOutput> {
        let stage = StageId { job: JobId::new(), index: 0 };
        let (handle, mut events) = self.dispatcher.open_stage(stage);
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

    fn lock(&self) -> MutexGuard<'_, HashMap<JobId, Arc<Job>>> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct CancelOnDrop(StageHandle);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.cancel();
    }
}
