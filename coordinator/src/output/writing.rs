//! One job's output, from its first task to its end.

use std::{sync::Arc, time::Duration};

use arrow::array::RecordBatch;
use datafusion::execution::memory_pool::MemoryReservation;
use keyloom_common::{
    BlobId, Error, ErrorKind, JobId, Result, StageId,
    error::redact,
    output::{Committed, PreparedOutput},
    rpc::{TaskReport, Work, WrittenOutput, guarded},
    trace::TraceParent,
};
use tokio::{
    runtime::Handle,
    sync::oneshot,
    time::{Instant, sleep, timeout_at},
};
use tracing::{Instrument, Span};

use super::{OutputProgress, OutputState, pieces::Pieces};
use crate::{
    blobs::{Blobs, HeldBlobs},
    dispatch::Dispatcher,
    history::KnownJob,
    owner::Owner,
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
        Ok(Self(Some(Written {
            means,
            runtime,
            output,
            pieces: Pieces::new(memory),
            blob: None,
            next_stage: u32::MAX,
            _held: held,
        })))
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
    /// `resource_exhausted` if workers cannot be told of the pieces; why the output is refused,
    /// which is then removed unless the job can be resumed; otherwise that it is not known whether
    /// it was committed.
    pub(crate) async fn commit(mut self) -> Result<Committed> {
        let put = self.0.as_mut().map(Written::put).transpose()?;
        // From here on nothing is awaited until the task is there.
        let Some((written, pieces)) = self.0.take().zip(put) else {
            return Err(Error::internal("an output was ended twice"));
        };
        written.means.progress.set(OutputState::Committing);
        written.means.known.iter().for_each(KnownJob::commits);
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
                self.means.known.iter().for_each(|known| known.committed(&committed));
                Ok(committed)
            }
            Ok(_) => Err(self.unknown(&Error::internal("a worker answered another question"))),
            Err(error) if is_refusal(error.kind()) => {
                tracing::warn!(%job, output, %error, "the output was refused");
                self.means.progress.set(OutputState::Writing);
                self.means.known.iter().for_each(KnownJob::refused);
                self.leave();
                Err(error)
            }
            Err(error) => Err(self.unknown(&error)),
        }
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

    /// Ends without a commit: what tasks have written stays where the job can be resumed, which
    /// goes on from there, and is removed otherwise.
    fn leave(self) {
        let known = self.means.known.as_ref();
        if !known.is_some_and(|known| known.keeps_pieces()) {
            return self.abort();
        }
        let (job, pieces) = (self.means.job, self.pieces.count());
        tracing::info!(%job, pieces, "what was written stays: the job can be resumed");
    }

    /// Has all removed that tasks have written, by and by.
    fn abort(mut self) {
        let (runtime, span) = (self.runtime.clone(), self.means.span.clone());
        let abort = async move {
            let (job, output, pieces) = (self.means.job, self.place(), self.pieces.count());
            match guarded(self.remove()).await {
                Ok(()) => tracing::info!(%job, output, pieces, "what was written is removed"),
                Err(error) => tracing::warn!(
                    %job, output, pieces, %error,
                    "what was written could not be removed; nobody sees it, but it takes room"
                ),
            }
        };
        drop(runtime.spawn(abort.instrument(span)));
    }

    async fn remove(&mut self) -> Result<()> {
        let pieces = self.put_some()?;
        let bound = self.means.settings.abort_timeout();
        let work = Work::AbortOutput(self.named(pieces));
        match self.ask("abort_timeout_ms", bound, work).await? {
            TaskReport::Aborted => Ok(()),
            _ => Err(Error::internal("a worker answered another question")),
        }
    }

    /// Asks workers until one has an answer, within a bound that is called so.
    async fn ask(&mut self, bound: &str, within: Duration, work: Work) -> Result<TaskReport> {
        let (job, end) = (self.means.job, Instant::now() + within);
        let trace = TraceParent::of(&self.means.span);
        let mut rest = REST;
        loop {
            let stage = StageId { job, index: self.next_stage };
            self.next_stage = self.next_stage.saturating_sub(1);
            let asked = self.means.dispatcher.ask(stage, work.clone(), trace);
            let error = match timeout_at(end, asked).await {
                Ok(Err(error)) if error.kind().is_transient() => error,
                Ok(answered) => return answered,
                Err(_) => {
                    let ms = within.as_millis();
                    let message = format!("no worker had an answer within {bound} = {ms}");
                    return Err(Error::timeout(message));
                }
            };
            if Instant::now() + rest >= end {
                return Err(error);
            }
            tracing::warn!(%job, %error, "workers are asked once more to end the job's output");
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
