//! Jobs: from a submitted plan to result chunks that the client takes one by one.
//!
//! Submitting is idempotent by the job's id: it is started once, however often it is handed in. A
//! job ends when its client has taken all of its result, cancels it, is gone, or was not heard of
//! for a while. It belongs to who handed it in: over whichever connection, that client alone reads
//! its rows and cancels it, and operators.

mod analysis;
mod ending;
mod entry;
mod job;
mod memory;
mod notes;
mod question;
mod results;
mod run;
mod stop;
mod summary;
mod turns;

use std::{
    collections::HashMap,
    ops::RangeInclusive,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use keyloom_common::{
    Error, JobId, Result,
    background::Background,
    rpc::{Next, Submission},
    stack::deep,
};
use tokio::{runtime::Handle, task::spawn_blocking};
use tokio_util::sync::CancellationToken;
use tracing::{Span, field::Empty};

use crate::{
    blobs::Blobs, catalog::Catalog, dispatch::Dispatcher, gather::JobContext, owner::Owner,
    settings::Settings,
};

use entry::Entry;
use job::RunningJob;
pub(crate) use memory::Operators;
use turns::{Turn, Turns};

/// What a submission may say of the rows of a batch.
const BATCH_ROWS: RangeInclusive<u32> = 1..=1 << 24;

/// All jobs of a coordinator.
#[derive(Debug)]
pub(crate) struct Jobs {
    dispatcher: Dispatcher,
    blobs: Arc<Blobs>,
    settings: Arc<Settings>,
    operators: Operators,
    catalog: Arc<Catalog>,
    turns: Turns,
    /// Where the coordinator's part of plans is computed, once one has such a part.
    plans: Mutex<Option<Background>>,
    jobs: Mutex<HashMap<JobId, Arc<Entry>>>,
}

impl Jobs {
    pub(crate) fn new(
        dispatcher: Dispatcher,
        blobs: Arc<Blobs>,
        settings: Arc<Settings>,
        operators: Operators,
    ) -> Self {
        let (plans, jobs) = (Mutex::default(), Mutex::default());
        let (turns, catalog) = (Turns::new(&settings), Arc::default());
        Self { dispatcher, blobs, settings, operators, catalog, turns, plans, jobs }
    }

    /// The same, where this says what clients may read.
    pub(crate) fn with_catalog(self, catalog: Arc<Catalog>) -> Self {
        Self { catalog, ..self }
    }

    fn plans(&self) -> Result<Handle> {
        let mut plans = self.plans.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(plans) = plans.as_ref() {
            return Ok(plans.handle().clone());
        }
        // If there are no threads now, there may be some for the next job.
        let started = Background::start("keyloom-plans", self.settings.plan_threads())?;
        let handle = started.handle().clone();
        *plans = Some(started);
        Ok(handle)
    }

    /// How many jobs run, wait for their turns, and wait for their clients to read them.
    pub(crate) fn states(&self) -> [usize; 3] {
        let known = self.lock().len();
        let (running, queued) = self.turns.taken();
        [running, queued, known.saturating_sub(running + queued)]
    }

    /// What operators run with, and what results wait in.
    pub(crate) fn operators(&self) -> &Operators {
        &self.operators
    }

    /// Makes a job known that is to be submitted: from now on it can be cancelled.
    pub(crate) fn begin(&self, submission: &Submission, owner: &Owner) -> Result<Arc<Entry>> {
        let begun = self.begin_of(submission, owner);
        begun.inspect_err(|error| self.dispatcher.metrics().jobs.refuse(error))
    }

    fn begin_of(&self, submission: &Submission, owner: &Owner) -> Result<Arc<Entry>> {
        self.check(submission)?;
        let entry = self.entry(submission.id, owner)?;
        // Not an operator either: what it hands in would be answered with another's job.
        if entry.whose == *owner.identity() { Ok(entry) } else { Err(another_s(submission.id)) }
    }

    /// Starts a job, or lets it wait for its turn, unless it was started before. Its client may be
    /// in this process. Decodes and cuts its plan, which may take a while.
    pub(crate) fn submit(
        &self,
        entry: &Arc<Entry>,
        submission: Submission,
        owner: &Owner,
        in_process: bool,
    ) -> Result<()> {
        entry.check()?;
        let id = submission.id;
        let start = || {
            let span = span(&submission);
            let _within = span.enter();
            let turn = self.turns.enter()?;
            let queued = matches!(turn, Turn::Later { .. });
            let context = self.context(&submission, owner, in_process);
            let (plan, stop) = (submission.plan.bytes(), entry.stop.clone());
            let (operators, plans) = (&self.operators, || self.plans());
            let job = RunningJob::start(context, plan, owner, operators, turn, stop, plans)?;
            let by = owner.identity();
            tracing::info!(job = %id, %by, queued, "job submitted");
            Ok(Arc::new(job))
        };
        match entry.start(start) {
            Ok(job) => {
                // Cancelled meanwhile, it goes with its entry, which nobody else holds for long.
                entry.check()?;
                job.renew(owner);
                Ok(())
            }
            Err(error) => {
                self.forget(id, entry);
                self.dispatcher.metrics().jobs.refuse(error);
                Err(error.clone())
            }
        }
    }

    fn context(&self, submission: &Submission, owner: &Owner, in_process: bool) -> Arc<JobContext> {
        let context = JobContext::new(
            submission.id,
            self.dispatcher.clone(),
            Arc::clone(&self.blobs),
            Arc::clone(&self.settings),
            submission.batch_rows,
            submission.discard,
            in_process,
        );
        let rights = self.catalog.rights(owner.identity());
        Arc::new(context.with_misses(submission.misses).with_rights(rights))
    }

    /// Forgets a job that did not start, but not one that was handed in again since.
    fn forget(&self, id: JobId, entry: &Arc<Entry>) {
        let mut jobs = self.lock();
        if jobs.get(&id).is_some_and(|current| Arc::ptr_eq(current, entry)) {
            jobs.remove(&id);
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
                "the session's setting batch_rows must be between {least} and {most}, not {rows}"
            )));
        }
        Ok(())
    }

    fn entry(&self, id: JobId, owner: &Owner) -> Result<Arc<Entry>> {
        let mut jobs = self.lock();
        let max = self.settings.max_jobs;
        if !jobs.contains_key(&id) && jobs.len() >= max {
            return Err(Error::resource_exhausted(format!(
                "{max} jobs are under way or wait for their clients to read them, and max_jobs = \
                 {max} on the coordinator; read or cancel some, or raise it"
            )));
        }
        let new = || Arc::new(Entry::new(owner.identity().clone()));
        Ok(Arc::clone(jobs.entry(id).or_insert_with(new)))
    }

    /// The job, of which its client was just heard, and what says that it is to end.
    fn get(&self, id: JobId, owner: &Owner) -> Result<(Arc<RunningJob>, CancellationToken)> {
        let entry = self.lock().get(&id).cloned().ok_or_else(|| unknown(id))?;
        if !owner.may_have(&entry.whose) {
            return Err(another_s(id));
        }
        let job = entry.started.get().cloned().ok_or_else(|| unknown(id))??;
        // An operator who looks at it does not keep it from ending with its client.
        if entry.whose == *owner.identity() {
            job.renew(owner);
        }
        Ok((job, entry.stop.clone()))
    }

    /// Notes that a job's client is there.
    pub(crate) fn renew(&self, id: JobId, owner: &Owner) -> Result<()> {
        self.get(id, owner).map(drop)
    }

    /// Waits a while for the next chunk of a job's result.
    pub(crate) async fn next(&self, id: JobId, sequence: u64, owner: &Owner) -> Result<Next> {
        let (job, stop) = self.get(id, owner)?;
        let next = job.next(sequence, self.settings.rpc.long_poll());
        // Who waits for a job must not keep it when it is to end.
        stop.run_until_cancelled(next).await.unwrap_or_else(|| Err(unknown(id)))
    }

    /// Stops a job and forgets it. One that is just starting ends once it has started.
    ///
    /// # Errors
    /// `permission_denied` if it is another client's.
    pub(crate) fn cancel(&self, id: JobId, owner: &Owner) -> Result<()> {
        let mut jobs = self.lock();
        if jobs.get(&id).is_some_and(|entry| !owner.may_have(&entry.whose)) {
            return Err(another_s(id));
        }
        let entry = jobs.remove(&id);
        // Not under the lock: a plan with much in memory takes its time to go.
        drop(jobs);
        if let Some(entry) = entry {
            if let Some(Ok(job)) = entry.started.get()
                && job.is_committing()
            {
                tracing::info!(job = %id, "the job goes, and its output is committed all the same");
            }
            entry.stop.cancel();
            tracing::debug!(job = %id, by = %owner.identity(), "job forgotten");
        }
        Ok(())
    }

    /// Cancels jobs whose clients are gone, or were not heard of for long. Must be called within a
    /// tokio runtime.
    pub(crate) fn expire(&self) {
        let (silent, gone) = (self.settings.client_timeout(), self.settings.client_gone());
        let mut expired = Vec::new();
        self.lock().retain(|id, entry| {
            let Some(Ok(job)) = entry.started.get() else { return true };
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
        if expired.is_empty() {
            return;
        }
        for entry in &expired {
            entry.stop.cancel();
        }
        // Plans with much in memory take their time to go, and others are to expire meanwhile.
        drop(spawn_blocking(move || deep(|| drop(expired))));
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<JobId, Arc<Entry>>> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Of what the coordinator does for a job, which is part of what its client does for it.
fn span(submission: &Submission) -> Span {
    let job = submission.id;
    let span = tracing::error_span!(
        parent: None,
        "job",
        %job,
        otel.kind = "server",
        otel.status_code = Empty
    );
    if let Some(client) = submission.trace {
        client.adopt(&span);
    }
    span
}

fn unknown(id: JobId) -> Error {
    Error::not_found(format!(
        "job {id} is not known to the coordinator; it was cancelled, its client was not heard of, \
         or the coordinator was restarted"
    ))
}

fn another_s(id: JobId) -> Error {
    Error::permission_denied(format!("job {id} belongs to another client"))
}

#[cfg(test)]
mod tests;
