//! One job: its run, and the chunk that its client asked for last.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use keyloom_common::{
    Error, JobId, Result,
    rpc::{Next, Submission},
};
use tokio::{runtime::Handle, sync::mpsc};
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::AbortOnDropHandle,
};

use super::run::{self, Prepared};
use crate::{blobs::Blobs, dispatch::Dispatcher, gather::JobContext, settings::Settings};

/// A job that runs. Dropping it stops it.
#[derive(Debug)]
pub(super) struct Job {
    id: JobId,
    context: Arc<JobContext>,
    blobs: Arc<Blobs>,
    reader: tokio::sync::Mutex<Reader>,
    asked: Mutex<Instant>,
    run: AbortOnDropHandle<()>,
    _stop: DropGuard,
}

#[derive(Debug)]
struct Reader {
    results: mpsc::Receiver<Result<Next>>,
    /// The chunk handed out last, in case its answer was lost.
    last: Option<(u64, Result<Next>)>,
}

impl Job {
    /// Decodes a plan and starts it. What the coordinator computes of it runs on `plans`.
    pub(super) fn start<'a>(
        submission: Submission,
        dispatcher: Dispatcher,
        blobs: Arc<Blobs>,
        settings: Arc<Settings>,
        in_process: bool,
        plans: impl FnOnce() -> Result<&'a Handle>,
    ) -> Result<Self> {
        let id = submission.id;
        let context = Arc::new(JobContext::new(
            id,
            dispatcher,
            Arc::clone(&blobs),
            Arc::clone(&settings),
            submission.batch_rows,
            submission.discard,
            in_process,
        ));
        let stop = CancellationToken::new();
        let prepared = Prepared::new(&submission.plan.0, &context, &stop)?;
        blobs.hold(id, prepared.blobs())?;
        let (sender, results) = mpsc::channel(settings.result_chunks_ahead.max(1));
        let run = match prepared.computes() {
            // For as long as it takes: what it computes must hold up no connection.
            true => plans()?.spawn(run::run(prepared, sender)),
            false => tokio::spawn(run::run(prepared, sender)),
        };
        let run = AbortOnDropHandle::new(run);
        let reader = tokio::sync::Mutex::new(Reader { results, last: None });
        Ok(Self {
            id,
            context,
            blobs,
            reader,
            asked: Mutex::new(Instant::now()),
            run,
            _stop: stop.drop_guard(),
        })
    }

    pub(super) async fn next(&self, sequence: u64, wait: Duration) -> Result<Next> {
        self.touch();
        let mut reader = self.reader.lock().await;
        let due = match &reader.last {
            Some((last, answer)) if *last == sequence => return answer.clone(),
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
                let stopped = || Err(Error::internal("the job stopped without a result"));
                let answer = answer.unwrap_or_else(stopped);
                reader.last = Some((sequence, answer.clone()));
                answer
            }
        }
    }

    /// Whether nothing runs any more.
    pub(super) fn ended(&self) -> bool {
        self.run.is_finished()
    }

    pub(super) fn idle(&self) -> Duration {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).elapsed()
    }

    fn touch(&self) {
        *self.asked.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        self.blobs.release(self.id);
    }
}
