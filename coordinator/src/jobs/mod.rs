//! Jobs: from a submitted plan to result chunks that the client takes one by one.
//!
//! Submitting is idempotent by the job's id: it is started once, however often it is handed in, and
//! one that is remembered does not run again. A job ends when its client has taken all of its
//! result, cancels it, is gone, or was not heard of for a while; one that is detached does not end
//! with its client. It belongs to who handed it in: over whichever connection, that client alone
//! sees it, reads its rows and cancels it, and operators.

mod abandon;
mod analysis;
mod ending;
mod entry;
mod job;
mod known;
mod memory;
mod notes;
mod question;
mod results;
mod run;
mod start;
mod stop;
mod summary;
mod turns;
mod writing;

use std::{
    collections::HashMap,
    ops::RangeInclusive,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use keyloom_common::{
    Error, ErrorKind, JobId, Result,
    background::Background,
    rpc::{Identity, Next, Submission},
    stack::deep,
};
use tokio::{runtime::Handle, task::spawn_blocking};
use tokio_util::sync::CancellationToken;
use tracing::{Span, field::Empty};

use crate::{
    blobs::Blobs,
    catalog::Catalog,
    dispatch::Dispatcher,
    gather::JobContext,
    history::{History, KnownJob, Resumable},
    output::Places,
    owner::{Owner, is_bounded},
    settings::Settings,
};

use entry::Entry;
use job::RunningJob;
pub(crate) use memory::Operators;
use turns::Turns;

/// What a submission may say of the rows of a batch.
const BATCH_ROWS: RangeInclusive<u32> = 1..=1 << 24;

/// The longest name of a job, in bytes: it stands in lists.
const MAX_NAME: usize = 256;

/// All jobs of a coordinator.
#[derive(Debug)]
pub(crate) struct Jobs {
    dispatcher: Dispatcher,
    blobs: Arc<Blobs>,
    settings: Arc<Settings>,
    operators: Operators,
    catalog: Arc<Catalog>,
    history: Arc<History>,
    turns: Turns,
    /// Where they write.
    places: Arc<Places>,
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
        let (history, places) = (Arc::new(History::in_memory(&settings)), Arc::default());
        Self {
            dispatcher,
            blobs,
            settings,
            operators,
            catalog,
            history,
            turns,
            places,
            plans,
            jobs,
        }
    }

    /// The same, which remember jobs there.
    pub(crate) fn with_history(self, history: History) -> Self {
        Self { history: Arc::new(history), ..self }
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

    /// Makes a job known that is to be submitted: from now on it can be cancelled. None if it has
    /// run before, and does not run again.
    pub(crate) fn begin(
        &self,
        submission: &Submission,
        owner: &Owner,
    ) -> Result<Option<Arc<Entry>>> {
        let begun = self.begin_of(submission, owner);
        begun.inspect_err(|error| self.dispatcher.metrics().jobs.refuse(error))
    }

    fn begin_of(&self, submission: &Submission, owner: &Owner) -> Result<Option<Arc<Entry>>> {
        self.check(submission)?;
        if self.is_remembered(submission.id, owner)? {
            return Ok(None);
        }
        let entry = self.entry(submission.id, owner)?;
        // Not an operator either: what it hands in would be answered with another's job.
        let is_own = entry.whose == *owner.identity();
        if is_own { Ok(Some(entry)) } else { Err(another_s(submission.id)) }
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
        match entry.start(|| self.start(&submission, owner, &entry.stop, in_process)) {
            Ok(job) => {
                // Cancelled meanwhile, it goes with its entry, which nobody else holds for long.
                entry.check().inspect_err(|_| {
                    if let Some(known) = self.history.get(id) {
                        known.cancel(None);
                    }
                })?;
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
        let name = submission.terms.name.as_deref().unwrap_or_default();
        if name.len() > MAX_NAME || name.chars().any(char::is_control) {
            let bytes = name.len();
            return Err(Error::invalid(format!(
                "the job's name takes {bytes} bytes; it is a line of at most {MAX_NAME}"
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
        if !jobs.contains_key(&id) {
            self.check_room(&jobs, owner.identity())?;
        }
        let new = || Arc::new(Entry::new(owner.identity().clone()));
        Ok(Arc::clone(jobs.entry(id).or_insert_with(new)))
    }

    /// Whether there is room for one more job of somebody.
    fn check_room(&self, jobs: &HashMap<JobId, Arc<Entry>>, whose: &Identity) -> Result<()> {
        let (max, max_own) = (self.settings.max_jobs, self.settings.max_jobs_per_client);
        if jobs.len() >= max {
            return Err(Error::resource_exhausted(format!(
                "{max} jobs are under way or wait for their clients to read them, and max_jobs = \
                 {max} on the coordinator; read or cancel some, or raise it"
            )));
        }
        let is_own = |entry: &&Arc<Entry>| entry.whose == *whose;
        if is_bounded(whose) && jobs.values().filter(is_own).count() >= max_own {
            return Err(Error::resource_exhausted(format!(
                "{max_own} jobs of {whose} are under way or wait to be read, and \
                 max_jobs_per_client = {max_own} on the coordinator; read or cancel some, or raise \
                 it"
            )));
        }
        Ok(())
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
        let (job, stop) = match self.get(id, owner) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return self.remembered(id, sequence, owner).unwrap_or(Err(error));
            }
            got => got?,
        };
        let next = job.next(sequence, self.settings.rpc.long_poll());
        // Who waits for a job must not keep it when it is to end.
        stop.run_until_cancelled(next).await.unwrap_or_else(|| Err(unknown(id)))
    }

    /// Stops a job and forgets its rows. One that is just starting ends once it has started. What
    /// is left of one that could be resumed is removed.
    ///
    /// # Errors
    /// `permission_denied` if it is another client's.
    pub(crate) fn cancel(&self, id: JobId, owner: &Owner) -> Result<()> {
        let mut jobs = self.lock();
        if jobs.get(&id).is_some_and(|entry| !owner.may_have(&entry.whose)) {
            return Err(another_s(id));
        }
        let known = self.history.get(id);
        known.iter().try_for_each(|known| self.check_whose(known, owner))?;
        let entry = jobs.remove(&id);
        // Not under the lock: a plan with much in memory takes its time to go.
        drop(jobs);
        if let Some(known) = known {
            self.cancel_known(known, entry.as_deref(), owner);
        }
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

    /// Whether somebody here still has to do with what a job keeps where it writes.
    pub(crate) fn may_have_pieces(&self, id: JobId) -> bool {
        let known = self.history.get(id);
        known.is_some_and(|known| known.may_have_pieces(self.ending()))
    }

    /// All jobs of which [`Self::may_have_pieces`] holds.
    pub(crate) fn with_pieces(&self) -> Vec<JobId> {
        let (known, ending) = (self.history.all(), self.ending());
        let may = known.iter().filter(|known| known.may_have_pieces(ending));
        may.map(|known| known.id).collect()
    }

    /// How long the end of an output takes at most.
    fn ending(&self) -> Duration {
        self.settings.commit_timeout().saturating_add(self.settings.abort_timeout())
    }

    /// Waits until what is known of jobs now is known to the next coordinator, too, if it is to be.
    pub(crate) async fn remembered_for_good(&self) {
        self.history.written().await;
    }

    /// Whether what is known of jobs can be kept, if it is to be.
    ///
    /// # Errors
    /// Why not, in words.
    pub(crate) fn can_remember(&self) -> std::result::Result<(), String> {
        self.history.check()
    }

    /// Notes that somebody wants a job's end, before it ends: what it has written then goes.
    fn cancel_known(&self, known: Arc<KnownJob>, entry: Option<&Entry>, owner: &Owner) {
        let had_ended = known.state().is_end();
        let job = entry.and_then(|entry| entry.started.get()?.as_ref().ok());
        let status = job.filter(|_| !had_ended).map(|job| job.status());
        if !known.cancel_for(status, &format!("by {}", owner.identity())) {
            return;
        }
        // What runs removes what it has written, or has it committed already; one that was resumed
        // and does not write yet has left something before.
        let left_before = known.runs() > 0 && job.is_none_or(|job| !job.has_begun_output());
        let writes =
            known.resumable == Resumable::Yes && job.is_some_and(|job| job.has_begun_output());
        if had_ended || left_before {
            self.abandon(vec![known]);
        } else if !writes {
            // What is written settles it once it is removed, or committed.
            self.history.settle(known.id);
        }
    }

    /// Cancels jobs whose clients are gone, or were not heard of for long. Must be called within a
    /// tokio runtime.
    pub(crate) fn expire(&self) {
        let (silent, gone) = (self.settings.client_timeout(), self.settings.client_gone());
        let mut expired = Vec::new();
        self.lock().retain(|id, entry| {
            let Some(Ok(job)) = entry.started.get() else { return true };
            let (idle, is_here) = job.idle();
            let keep = job.is_kept() || idle < if is_here { silent } else { gone };
            if !keep {
                let why = if is_here { "was not heard of" } else { "is gone" };
                if !job.ended() {
                    tracing::warn!(job = %id, "job cancelled: its client {why} for {idle:?}");
                }
                expired.push((*id, Arc::clone(entry), why));
            }
            keep
        });
        self.abandon(self.history.expire());
        if expired.is_empty() {
            return;
        }
        for (id, entry, why) in &expired {
            // What is detached has ended, and stays as it is.
            if let Some(known) = self.history.get(*id).filter(|known| !known.terms.detached) {
                let job = entry.started.get().and_then(|job| job.as_ref().ok());
                known.cancel_for(job.map(|job| job.status()), &format!("its client {why}"));
            }
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
