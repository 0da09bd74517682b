//! Starting a job, for the first time or again: its plan is decoded and cut, what is known of it
//! begins, and it runs when its turn comes.

use std::sync::Arc;

use keyloom_common::{
    BUILD, Error, JobId, Result,
    error::redact,
    output::PreparedOutput,
    report::{JobState, LogKind, RowSchema},
    rpc::{JobTerms, Submission},
    stack::deep,
};
use tokio::{runtime::Handle, task::spawn_blocking};
use tokio_util::sync::CancellationToken;

use super::{
    Jobs, entry::Entry, job::RunningJob, run::Prepared, span, turns::Turn, unknown,
    writing::cut_otherwise,
};
use crate::{
    blobs::HeldBlobs,
    gather::JobContext,
    history::{Cut, Happened, JobRecord, Journal, KnownJob, PlanRecord, Resumable},
    owner::Owner,
};

/// All that a job takes to run.
struct Ready {
    prepared: Prepared,
    held: HeldBlobs,
    turn: Turn,
    plans: Option<Handle>,
}

impl Jobs {
    /// Starts a job that was handed in.
    pub(super) fn start(
        &self,
        submission: &Submission,
        owner: &Owner,
        stop: &CancellationToken,
        in_process: bool,
    ) -> Result<Arc<RunningJob>> {
        let span = span(submission);
        let _within = span.enter();
        let context = self.context(submission, owner, in_process);
        let ready = self.ready(&context, submission, owner, stop)?;
        self.remember(submission, owner, &ready.prepared)?;
        let (job, by) = (submission.id, owner.identity());
        let queued = matches!(ready.turn, Turn::Later { .. });
        let detached = submission.terms.detached;
        tracing::info!(%job, %by, queued, detached, "job submitted");
        ready.prepared.tell();
        if queued {
            tell_queued(&context);
        }
        Ok(self.run(ready, owner, stop))
    }

    /// Everything that may fail comes before a job is known.
    fn ready(
        &self,
        context: &Arc<JobContext>,
        submission: &Submission,
        owner: &Owner,
        stop: &CancellationToken,
    ) -> Result<Ready> {
        let turn = self.turns.enter(owner.identity())?;
        let plan = submission.plan.bytes();
        let prepared = Prepared::new(plan, context, self.operators.of_a_job(), stop)?;
        if let Some(PreparedOutput { spec, .. }) = prepared.output() {
            let place = self.places.enter(submission.id, spec, stop, &context.output)?;
            context.hold_place(place);
        }
        let held = self.blobs.hold(submission.id, owner, prepared.blobs())?;
        let plans = prepared.computes().then(|| self.plans()).transpose()?;
        Ok(Ready { prepared, held, turn, plans })
    }

    fn run(&self, ready: Ready, owner: &Owner, stop: &CancellationToken) -> Arc<RunningJob> {
        let Ready { prepared, held, turn, plans } = ready;
        let job =
            RunningJob::start(prepared, held, owner, &self.operators, turn, stop.clone(), plans);
        Arc::new(job)
    }

    /// Begins what is known of a job. Waits for the disk, if it can be resumed.
    fn remember(&self, submission: &Submission, owner: &Owner, prepared: &Prepared) -> Result<()> {
        let Submission { id, terms, batch_rows, misses, .. } = submission;
        let resumable = self.resumable(terms, prepared);
        if terms.resumes
            && let Some(why) = resumable.refusal()
        {
            return Err(Error::invalid(format!(
                "the job is to go on by itself after a restart of the coordinator, which it \
                 cannot: {why}"
            )));
        }
        let (mut plan, mut journal) = (None, None);
        if resumable == Resumable::Yes
            && let Some(output) = prepared.output()
        {
            let cuts = prepared.cuts()?;
            journal = self.history.journal(*id, &cuts)?;
            plan = Some(PlanRecord {
                build: BUILD.to_owned(),
                plan: submission.plan.bytes().clone(),
                batch_rows: *batch_rows,
                misses: *misses,
                output: output.clone(),
                cuts,
            });
        }
        let output = prepared.output().map(|output| redact(&output.spec.path));
        let job = (*id, owner.identity().clone(), terms.clone());
        let (known, forgotten) = self.history.begin(job, output, resumable, plan.as_ref())?;
        self.abandon(forgotten);
        known.set_schema(RowSchema(prepared.schema()));
        let history = Arc::clone(&self.history);
        prepared.job().begin(JobRecord { known, journal, history });
        Ok(())
    }

    /// Whether a job can be resumed, or why not.
    fn resumable(&self, terms: &JobTerms, prepared: &Prepared) -> Resumable {
        if !terms.detached {
            Resumable::NotDetached
        } else if prepared.output().is_none() {
            Resumable::NoOutput
        } else if prepared.blobs().next().is_some() {
            Resumable::HeldRows
        } else if !self.history.is_kept() {
            Resumable::NoFolder
        } else {
            Resumable::Yes
        }
    }

    /// Goes on with a job that ended before its output was committed; one that runs stays as it is.
    /// Decodes and cuts its plan, and waits for the disk.
    ///
    /// # Errors
    /// `not_found` if it is not known, `permission_denied` if it is another client's, and otherwise
    /// why it cannot be resumed.
    pub(crate) fn resume(&self, id: JobId, owner: &Owner) -> Result<()> {
        let known = self.history.get(id).ok_or_else(|| unknown(id))?;
        self.check_whose(&known, owner)?;
        self.resume_known(&known)
    }

    pub(super) fn resume_known(&self, known: &Arc<KnownJob>) -> Result<()> {
        let id = known.id;
        let resumed = self.try_resume(known);
        resumed.map_err(|error| error.context(format_args!("job {id} cannot be resumed")))
    }

    fn try_resume(&self, known: &Arc<KnownJob>) -> Result<()> {
        match known.state() {
            JobState::Queued | JobState::Running => return Ok(()),
            JobState::Done => return Err(Error::invalid("it is done")),
            JobState::Cancelled => {
                return Err(Error::invalid("it was cancelled, and what it had written is removed"));
            }
            JobState::Failed | JobState::Interrupted => {}
        }
        if let Some(why) = known.resumable.refusal() {
            return Err(Error::invalid(why));
        }
        let Some(entry) = self.entry_again(known)? else { return Ok(()) };
        match entry.start(|| self.start_again(known, &entry.stop)) {
            // Cancelled meanwhile, it goes with its entry.
            Ok(_) => entry.check().inspect_err(|_| {
                known.cancel(None);
            }),
            Err(error) => {
                self.forget(known.id, &entry);
                Err(error.clone())
            }
        }
    }

    /// A place for a job that is to run again; none if it does already.
    fn entry_again(&self, known: &KnownJob) -> Result<Option<Arc<Entry>>> {
        let mut jobs = self.lock();
        match jobs.get(&known.id) {
            // Somebody else has it begin, or has had it begin meanwhile.
            Some(entry) if entry.started.get().is_none() || !known.state().is_end() => {
                return Ok(None);
            }
            Some(_) => {}
            None => self.check_room(&jobs, &known.whose)?,
        }
        let entry = Arc::new(Entry::new(known.whose.clone()));
        let before = jobs.insert(known.id, Arc::clone(&entry));
        drop(jobs);
        // Not under the lock: what it leaves takes its time to go.
        drop(spawn_blocking(move || deep(|| drop(before))));
        Ok(Some(entry))
    }

    fn start_again(
        &self,
        known: &Arc<KnownJob>,
        stop: &CancellationToken,
    ) -> Result<Arc<RunningJob>> {
        let id = known.id;
        let record = self.history.plan(id)?;
        record.check_build()?;
        let submission = Submission {
            id,
            plan: record.plan.into(),
            batch_rows: record.batch_rows,
            discard: false,
            misses: record.misses,
            terms: known.terms.clone(),
            trace: None,
        };
        let span = span(&submission);
        let _within = span.enter();
        let owner = Owner::of(known.whose.clone());
        let context = self.context(&submission, &owner, false);
        let ready = self.ready(&context, &submission, &owner, stop)?;
        let cuts = ready.prepared.cuts()?;
        let journal = self.journal_again(id, &record.cuts, &cuts)?;
        let done = tell_done(id, &cuts, journal.as_ref());
        let tasks: u64 = cuts.iter().map(|cut| cut.tasks).sum();
        self.history.resume(known)?;
        let (known, history) = (Arc::clone(known), Arc::clone(&self.history));
        context.begin(JobRecord { known, journal, history });
        tracing::info!(job = %id, done, tasks, "job resumed");
        ready.prepared.tell();
        if matches!(ready.turn, Turn::Later { .. }) {
            tell_queued(&context);
        }
        Ok(self.run(ready, &owner, stop))
    }

    /// Where the tasks of a job are kept that was cut like that, and is like this now. What was
    /// written is of use for the same cut alone; rows that others can make again are no reason to
    /// refuse it.
    fn journal_again(&self, id: JobId, before: &[Cut], now: &[Cut]) -> Result<Option<Journal>> {
        let written = [before, now].map(Cut::written);
        if written[0] != written[1] {
            return Err(cut_otherwise(written[0], written[1]));
        }
        if before != now {
            tracing::warn!(
                job = %id, "its plan is cut otherwise than before, by other settings or for other \
                 workers: all of its tasks run again"
            );
            return Ok(None);
        }
        self.history.journal(id, now)
    }
}

/// How many tasks of a job were done before. Of each stage whose rows were kept, it is told how
/// many run again.
fn tell_done(job: JobId, cuts: &[Cut], journal: Option<&Journal>) -> u64 {
    let mut all = 0;
    for Cut { stage, tasks, writes, .. } in cuts {
        let done = journal.map_or(0, |journal| journal.count(*stage) as u64);
        let again = tasks.saturating_sub(done);
        if !writes && again > 0 {
            tracing::info!(%job, stage, again, done, "tasks run again: their rows are not kept");
        }
        all += done;
    }
    all
}

fn tell_queued(context: &JobContext) {
    context.tell(Happened::new(LogKind::Queued, "it waits until others have run"));
}
