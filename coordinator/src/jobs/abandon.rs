//! What is left of jobs that will not be resumed: a worker removes the pieces that nobody sees.

use std::sync::Arc;

use futures::{StreamExt, stream};
use keyloom_common::{
    Error, ErrorKind, JobId, Result, StageId, ipc,
    output::piece_schema,
    rpc::{TaskReport, Work, WrittenOutput},
};
use tokio::{task::spawn_blocking, time::timeout};
use tracing::Instrument;

use super::Jobs;
use crate::{
    blobs::Blobs,
    dispatch::Dispatcher,
    history::{History, KnownJob, PlanRecord, Resumable, TaskRecord},
    output::kept_pieces,
    owner::Owner,
    settings::Settings,
};

/// Of how many jobs at once what is left is removed.
const AT_ONCE: usize = 8;

impl Jobs {
    /// Has what these jobs wrote removed, in the background. Those that were done, or wrote nothing
    /// that was kept, have nothing left. Must be called within a tokio runtime.
    pub(super) fn abandon(&self, jobs: Vec<Arc<KnownJob>>) {
        let abandoned = |known: Arc<KnownJob>| Abandoned {
            known,
            history: Arc::clone(&self.history),
            blobs: Arc::clone(&self.blobs),
            dispatcher: self.dispatcher.clone(),
            settings: Arc::clone(&self.settings),
        };
        let left = jobs.into_iter().filter(|known| known.resumable == Resumable::Yes);
        let left: Vec<_> = left.map(abandoned).collect();
        if left.is_empty() {
            return;
        }
        let removing = stream::iter(left).for_each_concurrent(AT_ONCE, Abandoned::remove);
        drop(tokio::spawn(removing.in_current_span()));
    }
}

/// A job of which something may be left.
struct Abandoned {
    known: Arc<KnownJob>,
    history: Arc<History>,
    blobs: Arc<Blobs>,
    dispatcher: Dispatcher,
    settings: Arc<Settings>,
}

impl Abandoned {
    async fn remove(self) {
        let job = self.known.id;
        match self.try_remove().await {
            Ok(true) => tracing::info!(%job, "what it had written is removed"),
            Ok(false) => {}
            Err(error) if self.known.may_be_committed() => {
                tracing::warn!(%job, %error, "what it had written is not removed");
            }
            Err(error) => {
                tracing::warn!(
                    %job, %error, "what it had written is not removed before the next start"
                );
                return;
            }
        }
        self.history.settle(job);
    }

    /// Whether there was something.
    async fn try_remove(&self) -> Result<bool> {
        let Some((plan, tasks)) = self.read().await? else { return Ok(false) };
        if self.known.may_be_committed() {
            return Err(Error::internal("it is not known whether its output was committed"));
        }
        let id = self.known.id;
        let held = self.blobs.hold(id, &Owner::default(), [])?;
        let pieces =
            self.blobs.put_rows(id, ipc::encode_all(&piece_schema(), &kept_pieces(tasks)?)?)?;
        let written = WrittenOutput { job: id, output: plan.output, pieces };
        let stage = StageId { job: JobId::new(), index: 0 };
        let bound = self.settings.abort_timeout();
        let removing = self.dispatcher.ask(stage, Work::AbortOutput(written), None);
        let removed = timeout(bound, removing).await;
        drop(held);
        let late = |_| {
            let ms = bound.as_millis();
            Error::timeout(format!("no worker had an answer within abort_timeout_ms = {ms}"))
        };
        match removed.map_err(late).flatten()? {
            TaskReport::Aborted => Ok(true),
            _ => Err(Error::internal("a worker answered another question than was asked")),
        }
    }

    async fn read(&self) -> Result<Option<(PlanRecord, Vec<TaskRecord>)>> {
        let (id, history) = (self.known.id, Arc::clone(&self.history));
        let read = move || match history.plan(id) {
            Ok(plan) => Ok(Some((plan, history.tasks(id)?))),
            // It was settled.
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        };
        spawn_blocking(read).await.map_err(Error::from_join)?
    }
}
