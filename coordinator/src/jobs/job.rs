//! One job: its run, and the chunk that its client asked for last.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use keyloom_common::{
    Error, JobId, Result,
    report::{JobProgress, JobState, JobStatus},
    rpc::Next,
};
use tokio::{runtime::Handle, sync::mpsc};
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::AbortOnDropHandle,
};
use tracing::Instrument;

use super::{
    ending::Ending,
    memory::Operators,
    results::{Waiting, kept_results, results},
    run::{self, Prepared},
    turns::Turn,
};
use crate::{
    blobs::HeldBlobs,
    gather::JobContext,
    output::OutputState,
    owner::{OwnedBy, Owner},
};

/// A job that runs. Dropping it stops it.
#[derive(Debug)]
pub(super) struct RunningJob {
    context: Arc<JobContext>,
    reader: tokio::sync::Mutex<Reader>,
    asked: Mutex<Asked>,
    run: AbortOnDropHandle<()>,
    is_detached: bool,
    /// Whether workers write its rows.
    writes: bool,
    _stop: DropGuard,
    _blobs: HeldBlobs,
}

/// When its client was last heard of, and over which connection.
#[derive(Debug)]
struct Asked {
    at: Instant,
    owner: OwnedBy,
}

#[derive(Debug)]
struct Reader {
    results: mpsc::Receiver<Waiting>,
    /// The chunk handed out last, in case its answer was lost.
    last: Option<(u64, Waiting)>,
    /// The one that is being handed out.
    taken: Option<Waiting>,
}

impl RunningJob {
    /// Starts a plan when its turn comes. What the coordinator computes of it, if anything, runs on
    /// `plans`, within the job's span, and ends when `stop` is cancelled.
    pub(super) fn start(
        prepared: Prepared,
        held: HeldBlobs,
        owner: &Owner,
        operators: &Operators,
        turn: Turn,
        stop: CancellationToken,
        plans: Option<Handle>,
    ) -> Self {
        let context = Arc::clone(prepared.job());
        let asked = Asked { at: Instant::now(), owner: owner.owned() };
        let ahead = context.settings.result_chunks_ahead;
        let (is_detached, writes) = (context.is_detached(), prepared.output().is_some());
        let (sender, results) = match is_detached {
            true => kept_results(context.dispatcher.shared_room(), operators.results()),
            false => results(ahead, operators.results()),
        };
        let ending = Ending::of(&context);
        let run = run::run(prepared, turn, sender, ending);
        let run = run.instrument(context.span.clone());
        let run = match plans {
            // For as long as it takes: what it computes must hold up no connection.
            Some(plans) => plans.spawn(run),
            None => tokio::spawn(run),
        };
        let run = AbortOnDropHandle::new(run);
        let reader = tokio::sync::Mutex::new(Reader { results, last: None, taken: None });
        Self {
            context,
            reader,
            asked: Mutex::new(asked),
            run,
            is_detached,
            writes,
            _stop: stop.drop_guard(),
            _blobs: held,
        }
    }

    /// Waits a while for the next chunk. Whoever stops the job ends the wait.
    pub(super) async fn next(&self, sequence: u64, wait: Duration) -> Result<Next> {
        let mut reader = self.reader.lock().await;
        let due = match &mut reader.last {
            Some((last, answer)) if *last == sequence => return answer.next().await,
            Some((last, _)) => *last + 1,
            None => 0,
        };
        if sequence != due {
            return Err(out_of_turn(self.context.job, sequence, due));
        }
        let answer = match reader.taken.take() {
            Some(taken) => taken,
            None => match tokio::time::timeout(wait, reader.results.recv()).await {
                Err(_) => return Ok(Next::Pending(self.context.underway())),
                Ok(answer) => {
                    let stopped = || Error::internal("the job stopped without a result");
                    answer.unwrap_or_else(|| Waiting::last(Err(stopped())))
                }
            },
        };
        // If the client is gone while a file is read, what it holds is for whoever asks next.
        let next = reader.taken.insert(answer).next().await;
        self.count(&next);
        reader.last = reader.taken.take().map(|answer| (sequence, answer));
        next
    }

    /// How far it is.
    pub(super) fn status(&self) -> JobStatus {
        self.context.status()
    }

    /// How far its parts are.
    pub(super) fn progress(&self) -> JobProgress {
        self.context.progress()
    }

    /// Whether it is kept though its client is gone: until it has ended, and then for a while, if
    /// it has rows that nobody has taken.
    pub(super) fn is_kept(&self) -> bool {
        if !self.is_detached {
            return false;
        }
        let known = self.context.record().map(|record| &record.known);
        match known.and_then(|known| known.over_for()) {
            Some(over) => {
                // Why one failed is remembered without it.
                let has_rows =
                    !self.writes && known.is_some_and(|job| job.state() == JobState::Done);
                has_rows && over < self.context.settings.detached_result()
            }
            None => !self.ended(),
        }
    }

    /// Counts what goes to the client, once however often it is asked for.
    fn count(&self, next: &Result<Next>) {
        if let Ok(Next::Chunk { chunk, .. } | Next::Missed(chunk)) = next {
            self.context.dispatcher.metrics().bytes.results.inc_by(chunk.sent_bytes());
        }
    }

    /// Whether nothing runs any more.
    pub(super) fn ended(&self) -> bool {
        self.run.is_finished()
    }

    /// Whether it has begun to write its output: whatever ends it then sees to what is written.
    pub(super) fn has_begun_output(&self) -> bool {
        self.context.output.state() != OutputState::None
    }

    /// Whether its output only goes forward, whatever becomes of the job.
    pub(super) fn is_committing(&self) -> bool {
        self.context.output.state() == OutputState::Committing
    }

    /// How long its client was not heard of, and whether its connection is open.
    pub(super) fn idle(&self) -> (Duration, bool) {
        let asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        (asked.at.elapsed(), asked.owner.is_here())
    }

    /// Notes that its client was heard of.
    pub(super) fn renew(&self, owner: &Owner) {
        let asked = Asked { at: Instant::now(), owner: owner.owned() };
        *self.asked.lock().unwrap_or_else(PoisonError::into_inner) = asked;
    }
}

/// Whoever asks anew, for rows that somebody has taken, or skips some.
fn out_of_turn(job: JobId, sequence: u64, due: u64) -> Error {
    if sequence > due {
        return Error::invalid(format!("chunk {sequence} was asked for when {due} was due"));
    }
    Error::invalid(format!(
        "rows of job {job} were taken before, by somebody who may not have read them to their end: \
         they are handed out once; submit it again, or give it an output"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_asks_for_rows_that_were_taken_is_told_so() {
        let job = JobId::new();
        let expected = format!(
            "rows of job {job} were taken before, by somebody who may not have read them to their \
             end: they are handed out once; submit it again, or give it an output"
        );
        assert_eq!(out_of_turn(job, 0, 2).message(), expected);
        let expected = "chunk 3 was asked for when 2 was due";
        assert_eq!(out_of_turn(job, 3, 2).message(), expected);
    }
}
