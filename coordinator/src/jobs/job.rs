//! One job: its run, and the chunk that its client asked for last.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use keyloom_common::{Error, Result, rpc::Next};
use tokio::{runtime::Handle, sync::mpsc};
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::AbortOnDropHandle,
};
use tracing::Instrument;

use super::{
    ending::Ending,
    memory::Operators,
    results::{Waiting, results},
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
}

impl RunningJob {
    /// Decodes a plan, and starts it when its turn comes. What the coordinator computes of it runs
    /// on `plans`, within the job's span, and ends when `stop` is cancelled.
    pub(super) fn start(
        context: Arc<JobContext>,
        plan: &[u8],
        owner: &Owner,
        operators: &Operators,
        turn: Turn,
        stop: CancellationToken,
        plans: impl FnOnce() -> Result<Handle>,
    ) -> Result<Self> {
        let asked = Asked { at: Instant::now(), owner: owner.owned() };
        let prepared = Prepared::new(plan, &context, operators.of_a_job(), &stop)?;
        let held = context.blobs.hold(context.job, owner, prepared.blobs())?;
        let ahead = context.settings.result_chunks_ahead;
        let (sender, results) = results(ahead, operators.results());
        let plans = prepared.computes().then(plans).transpose()?;
        let ending = Ending::of(context.job, context.dispatcher.metrics());
        let run = run::run(prepared, turn, sender, ending);
        let run = run.instrument(context.span.clone());
        let run = match plans {
            // For as long as it takes: what it computes must hold up no connection.
            Some(plans) => plans.spawn(run),
            None => tokio::spawn(run),
        };
        let run = AbortOnDropHandle::new(run);
        let reader = tokio::sync::Mutex::new(Reader { results, last: None });
        Ok(Self {
            context,
            reader,
            asked: Mutex::new(asked),
            run,
            _stop: stop.drop_guard(),
            _blobs: held,
        })
    }

    /// Waits a while for the next chunk. Whoever stops the job ends the wait.
    pub(super) async fn next(&self, sequence: u64, wait: Duration) -> Result<Next> {
        let mut reader = self.reader.lock().await;
        let due = match &reader.last {
            Some((last, answer)) if *last == sequence => return answer.next.clone(),
            Some((last, _)) => last + 1,
            None => 0,
        };
        if sequence != due {
            return Err(Error::invalid(format!(
                "chunk {sequence} was asked for when {due} was due"
            )));
        }
        match tokio::time::timeout(wait, reader.results.recv()).await {
            Err(_) => Ok(Next::Pending(self.context.status())),
            Ok(answer) => {
                let stopped = || Error::internal("the job stopped without a result");
                let answer = answer.unwrap_or_else(|| Waiting::last(Err(stopped())));
                let next = answer.next.clone();
                self.count(&next);
                reader.last = Some((sequence, answer));
                next
            }
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
