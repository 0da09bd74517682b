//! One job's output, from its first task to its end.

use std::{sync::Arc, time::Duration};

use arrow::array::RecordBatch;
use datafusion::execution::memory_pool::MemoryReservation;
use keyloom_common::{
    BlobId, Error, ErrorKind, JobId, Result, StageId,
    error::redact,
    output::{Committed, PreparedOutput},
    report::{JobState, LogKind},
    rpc::{TaskReport, Work, WrittenOutput, guarded},
    trace::TraceParent,
};
use tokio::{
    runtime::Handle,
    sync::oneshot,
    task::spawn_blocking,
    time::{Instant, sleep, timeout_at},
};
use tracing::{Instrument, Span};

use super::{HeldPlace, OutputProgress, OutputState, pieces::Pieces};
use crate::{
    blobs::{Blobs, HeldBlobs},
    dispatch::{Dispatcher, Incident, Lost},
    history::{Happened, History, KnownJob},
    owner::Owner,
    scheduler::ATTEMPTS_OF_A_RUN,
    settings::Settings,
};

/// The rest before workers are asked once more, doubled each time, and the longest.
const REST: Duration = Duration::from_millis(500);
const MAX_REST: Duration = Duration::from_secs(15);

/// What a job has to end its output with.
#[derive(Clone, Debug)]
pub(crate) struct Means {
    pub(crate) job: JobId,
    pub(crate) dispatcher: Dispatcher,
    pub(crate) blobs: Arc<Blobs>,
    pub(crate) settings: Arc<Settings>,
    pub(crate) progress: Arc<OutputProgress>,
    /// What is known of the job.
    pub(crate) known: Option<Arc<KnownJob>>,
    /// Where what it takes to resume it is kept, if it can be resumed.
    pub(crate) history: Option<Arc<History>>,
    /// Whether its tasks that write are kept there, so that what they have written is of use then.
    pub(crate) has_journal: bool,
    pub(crate) span: Span,
}

/// An output that tasks write. Dropping it has what they wrote removed, unless the job can be
/// resumed.
#[derive(Debug)]
pub(crate) struct Writing(Option<Written>);

/// What tasks have written, and what it takes to end that.
#[derive(Debug)]
struct Written {
    means: Means,
    runtime: Handle,
    output: PreparedOutput,
    pieces: Pieces,
    /// The pieces, once workers can read them.
    blob: Option<BlobId>,
    /// The index of the next stage that ends it: they are counted down, those of fragments up.
    next_stage: u32,
    /// The number of its first attempt.
    first_attempt: u32,
    /// Whether a worker was asked to commit it before this run of the job, and what became of that
    /// is not known.
    may_be_committed: bool,
    /// Keeps jobs out that must be alone where it writes.
    place: Option<HeldPlace>,
    /// Blobs of the job stay though it is gone.
    _held: HeldBlobs,
}

impl Writing {
    /// Begins an output, before any of its tasks. Must be called within a tokio runtime, where it
    /// is ended, too. Its pieces take of this memory.
    ///
    /// # Errors
    /// `internal` outside of a runtime.
    pub(crate) fn begin(
        means: Means,
        output: PreparedOutput,
        memory: MemoryReservation,
    ) -> Result<Self> {
        let runtime = Handle::try_current().map_err(|error| Error::internal(error.to_string()))?;
        let held = means.blobs.hold(means.job, &Owner::default(), [])?;
        means.progress.set(OutputState::Writing);
        let known = means.known.as_deref();
        let may_be_committed = known.is_some_and(KnownJob::may_be_committed);
        let runs = known.map_or(0, KnownJob::runs);
        Ok(Self(Some(Written {
            means,
            runtime,
            output,
            pieces: Pieces::new(memory),
            blob: None,
            next_stage: u32::MAX,
            first_attempt: runs.saturating_mul(ATTEMPTS_OF_A_RUN),
            may_be_committed,
            place: None,
            _held: held,
        })))
    }

    /// The same, which holds its place until it is committed, or given up.
    pub(crate) fn within(mut self, place: Option<HeldPlace>) -> Self {
        if let Some(written) = &mut self.0 {
            written.place = place;
        }
        self
    }

    /// Adds what a task has written.
    ///
    /// # Errors
    /// `resource_exhausted` if the job has no memory for it.
    pub(crate) fn add(&mut self, pieces: RecordBatch) -> Result<()> {
        self.0.as_mut().map_or(Ok(()), |written| written.pieces.add(pieces))
    }

    /// Has a worker make all pieces visible. Once one was asked, that goes on though nobody waits
    /// for it.
    ///
    /// # Errors
    /// `resource_exhausted` if workers cannot be told of the pieces; why the output is refused by
    /// the only worker that was ever asked, which is then removed unless the job can be resumed;
    /// `cancelled` if it was before; otherwise that it is not known whether it was committed.
    pub(crate) async fn commit(mut self) -> Result<Committed> {
        let put = self.0.as_mut().map(Written::put).transpose()?;
        let known = self.0.as_ref().and_then(|written| written.means.known.as_ref());
        if !known.is_none_or(KnownJob::commits) {
            return Err(Error::cancelled("the job was cancelled before its output was committed"));
        }
        // From here on nothing is awaited until the task is there.
        let Some((written, pieces)) = self.0.take().zip(put) else {
            return Err(Error::internal("an output was ended twice"));
        };
        written.means.progress.set(OutputState::Committing);
        let (tell, told) = oneshot::channel();
        let (runtime, span, job) =
            (written.runtime.clone(), written.means.span.clone(), written.means.job);
        let forward = async move {
            let outcome = guarded(written.go_forward(pieces)).await;
            if tell.send(outcome).is_err() {
                tracing::info!(%job, "nobody waited any more for the job's output to be committed");
            }
        };
        drop(runtime.spawn(forward.instrument(span)));
        told.await.unwrap_or_else(|_| Err(Error::cancelled("the coordinator is stopping")))
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        if let Some(written) = self.0.take() {
            written.leave();
        }
    }
}

impl Written {
    /// Holds the pieces for workers.
    fn put(&mut self) -> Result<BlobId> {
        if let Some(blob) = self.blob {
            return Ok(blob);
        }
        let blob = self.means.blobs.put_rows(self.means.job, self.pieces.encode()?)?;
        self.pieces.let_go();
        self.blob = Some(blob);
        Ok(blob)
    }

    /// Holds the pieces for workers, or none where there is no room for them: what a job has
    /// written is found by the job, too.
    fn put_some(&mut self) -> Result<BlobId> {
        let refused = match self.put() {
            Ok(blob) => return Ok(blob),
            Err(error) => error,
        };
        let (job, pieces) = (self.means.job, self.pieces.count());
        tracing::warn!(%job, pieces, error = %refused, "workers cannot be told of pieces to remove");
        let blob = self.means.blobs.put_plan(job, Pieces::encode_none()?)?;
        self.blob = Some(blob);
        Ok(blob)
    }

    fn named(&self, pieces: BlobId) -> WrittenOutput {
        WrittenOutput { job: self.means.job, output: self.output.clone(), pieces }
    }

    fn place(&self) -> String {
        redact(&self.output.spec.path)
    }

    /// Commits, and does not turn back unless it is refused.
    async fn go_forward(mut self, pieces: BlobId) -> Result<Committed> {
        let (job, output) = (self.means.job, self.place());
        let bound = self.means.settings.commit_timeout();
        let work = Work::CommitOutput(self.named(pieces));
        let asked = self.ask("commit_timeout_ms", bound, work).await;
        match asked {
            Ok(TaskReport::Committed(committed)) => {
                let Committed { rows, bytes, files, version } = &committed;
                tracing::info!(%job, output, rows, bytes, files, ?version, "output committed");
                self.means.progress.set(OutputState::Committed(committed.clone()));
                if let Some(known) = &self.means.known {
                    known.committed(&committed);
                    // Else the job itself does, once its end is known.
                    if known.state() == JobState::Done {
                        self.settle();
                    }
                }
                Ok(committed)
            }
            Ok(_) => Err(self.unknown(&Error::internal("a worker answered another question"))),
            Err(Lost { error, launches }) if self.is_refused(&error, launches) => {
                tracing::warn!(%job, output, %error, "the output was refused");
                self.means.progress.set(OutputState::Writing);
                self.means.known.iter().for_each(|known| known.refused(&error));
                self.leave();
                Err(error)
            }
            Err(lost) => Err(self.unknown(&lost.error)),
        }
    }

    /// Whether nothing was committed, and nothing will be: a worker that was asked before may be
    /// at it still, or have done what stands in the way of this one.
    fn is_refused(&self, error: &Error, launches: usize) -> bool {
        is_refusal(error.kind()) && launches <= 1 && !self.may_be_committed
    }

    /// What is said where no answer came: the pieces stay, for they may be part of what is seen.
    fn unknown(&self, error: &Error) -> Error {
        let (job, output, pieces) = (self.means.job, self.place(), self.pieces.count());
        tracing::error!(
            %job, output, pieces, %error,
            "it is not known whether the output was committed; nothing of it is removed"
        );
        let message = format!("whether the output {output} was committed is not known");
        error.clone().context(message)
    }

    fn tell(&self, kind: LogKind, text: impl Into<String>) {
        if let Some(known) = &self.means.known {
            known.tell(Happened::new(kind, text));
        }
    }

    /// Forgets what it takes to resume the job.
    fn settle(&self) {
        let job = self.means.job;
        self.means.history.iter().for_each(|history| history.settle(job));
    }

    /// Ends without a commit: what tasks have written stays where the job can be resumed and goes
    /// on from there, and is removed otherwise.
    fn leave(mut self) {
        // Nobody sees what is left, and it is in nobody's way.
        drop(self.place.take());
        let (job, pieces) = (self.means.job, self.pieces.count());
        let known = self.means.known.as_ref();
        let is_of_use = self.means.has_journal && known.is_some_and(|known| known.keeps_pieces());
        if self.may_be_committed {
            tracing::warn!(
                %job, pieces,
                "what was written stays: it is not known whether the output was committed before"
            );
        } else if is_of_use {
            tracing::info!(%job, pieces, "what was written stays: the job can be resumed");
        } else {
            self.abort();
        }
    }

    /// Has all removed that tasks have written, by and by. Until that is done, the next coordinator
    /// knows what there is to remove, if the job could have been resumed; and it does not run again.
    fn abort(mut self) {
        let removing = self.means.known.as_ref().and_then(|known| known.removing());
        let (runtime, span) = (self.runtime.clone(), self.means.span.clone());
        let abort = async move {
            let (job, output, pieces) = (self.means.job, self.place(), self.pieces.count());
            match guarded(self.remove()).await {
                Ok(()) => {
                    tracing::info!(%job, output, pieces, "what was written is removed");
                    if self.means.known.as_ref().is_some_and(|known| known.is_cancelled()) {
                        self.settle();
                    }
                }
                Err(error) => tracing::warn!(
                    %job, output, pieces, %error,
                    "what was written could not be removed; nobody sees it, but it takes room"
                ),
            }
            drop(removing);
        };
        drop(runtime.spawn(abort.instrument(span)));
    }

    async fn remove(&mut self) -> Result<()> {
        if let Err(error) = self.add_kept().await {
            let job = self.means.job;
            tracing::warn!(%job, %error, "not all pieces of tasks that were done are told");
        }
        let pieces = self.put_some()?;
        let bound = self.means.settings.abort_timeout();
        let work = Work::AbortOutput(self.named(pieces));
        let asked = self.ask("abort_timeout_ms", bound, work).await;
        match asked.map_err(|lost| lost.error)? {
            TaskReport::Aborted => Ok(()),
            _ => Err(Error::internal("a worker answered another question")),
        }
    }

    /// Adds the pieces of tasks that are kept: those that were not read yet, for they come in their
    /// order, and those of earlier runs.
    async fn add_kept(&mut self) -> Result<()> {
        let Some(history) = self.means.history.clone().filter(|_| self.blob.is_none()) else {
            return Ok(());
        };
        let job = self.means.job;
        history.written().await;
        let tasks =
            spawn_blocking(move || history.tasks(job)).await.map_err(Error::from_join)??;
        self.pieces.add_kept(tasks)
    }

    /// Asks workers until one has an answer, within a bound that is called so. If it is an error,
    /// it tells how often workers were asked in all.
    async fn ask(&mut self, bound: &str, within: Duration, work: Work) -> Result<TaskReport, Lost> {
        let (job, end) = (self.means.job, Instant::now() + within);
        let trace = TraceParent::of(&self.means.span);
        let (mut rest, mut before) = (REST, 0);
        loop {
            let stage = StageId { job, index: self.next_stage };
            self.next_stage = self.next_stage.saturating_sub(1);
            let (dispatcher, first) = (&self.means.dispatcher, self.first_attempt);
            let known = self.means.known.as_ref();
            let met = |incident: Incident| {
                if let Some(known) = known {
                    known.tell(Happened::met(None, incident));
                }
            };
            let asked = dispatcher.ask_counted(stage, first, work.clone(), trace, met);
            let Lost { error, launches } = match timeout_at(end, asked).await {
                Ok(Ok(report)) => return Ok(report),
                Ok(Err(lost)) => lost,
                Err(_) => {
                    let ms = within.as_millis();
                    let message = format!("no worker had an answer within {bound} = {ms}");
                    return Err(Error::timeout(message).into());
                }
            };
            before += launches;
            if !error.kind().is_transient() || Instant::now() + rest >= end {
                return Err(Lost { error, launches: before });
            }
            tracing::warn!(%job, %error, "workers are asked once more to end the job's output");
            let text =
                format!("workers are asked once more to end the output: {}", error.message());
            self.tell(LogKind::Retried, text);
            sleep(rest).await;
            rest = (rest * 2).min(MAX_REST);
        }
    }
}

impl Drop for Written {
    fn drop(&mut self) {
        if let Some(blob) = self.blob {
            self.means.blobs.forget(self.means.job, blob);
        }
    }
}

/// Whether an error says that nothing was committed, and why not. Any other may have come after a
/// commit.
fn is_refusal(kind: ErrorKind) -> bool {
    match kind {
        ErrorKind::Invalid
        | ErrorKind::NotFound
        | ErrorKind::PermissionDenied
        | ErrorKind::ResourceExhausted => true,
        ErrorKind::Store
        | ErrorKind::Unavailable
        | ErrorKind::Cancelled
        | ErrorKind::Timeout
        | ErrorKind::Internal => false,
    }
}

#[cfg(test)]
mod tests;
