//! The loop around the scheduler: it feeds events, carries out actions, and keeps what the pure
//! state does not: the work of tasks, the outputs of attempts, the orders for workers.
//!
//! One task owns all of it; others hold a [`Dispatcher`] and send commands. Chunks of output and
//! orders take shorter ways: chunks through a table that refuses attempts that are not current,
//! orders through the table of registered workers ([`workers`]).

mod event_loop;
mod outbox;
mod outputs;
mod question;
#[cfg(test)]
mod testing;
mod told;
mod workers;

use std::{collections::BTreeMap, sync::Arc, time::Instant};

use keyloom_common::{
    AttemptId, Error, JobId, Result, StageId, TaskId, WorkerId,
    report::{TaskProgress, WorkerStatus},
    rpc::{Chunk, Identity, Order, TaskReport, Work, WorkerInfo},
    trace::TraceParent,
};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::{
    metrics::Metrics,
    scheduler::{Event, Load, Settings, StageKind, StoreDigest},
    spool::{Spool, SpoolRoom},
    supervise::supervised,
};
use event_loop::EventLoop;
use outputs::Outputs;
pub(crate) use outputs::Patience;
#[cfg(test)]
pub(crate) use testing::{FakeWorker, dispatcher};
use workers::Workers;

/// The handle to the loop.
#[derive(Clone, Debug)]
pub(crate) struct Dispatcher {
    commands: mpsc::UnboundedSender<Command>,
    outputs: Arc<Outputs>,
    workers: Arc<Workers>,
    metrics: Arc<Metrics>,
}

/// The handle to one stage.
#[derive(Clone, Debug)]
pub(crate) struct StageHandle {
    stage: StageId,
    commands: mpsc::UnboundedSender<Command>,
    outputs: Arc<Outputs>,
}

/// What happens to a stage.
#[derive(Debug)]
pub(crate) enum StageUpdate {
    /// A task is done; this output counts.
    Done { index: u32, finished: Box<Finished> },
    /// The stage is lost.
    Failed(Lost),
    /// This is to be told of it, and changes nothing.
    Met(Incident),
}

/// What goes otherwise than it should, and who had to do with it. Tasks are numbered within their
/// stage, and workers are called by their names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Incident {
    /// A worker could not do a task.
    Failed { task: u32, worker: String, error: Error },
    /// A task runs once more, as its attempt of this number, from 1 on.
    Again { task: u32, worker: String, attempt: u32 },
    /// A worker is gone that ran these tasks.
    Lost { tasks: Vec<u32>, worker: String, reason: String },
    /// So many tasks wait, and no worker is there.
    Alone { tasks: usize },
}

/// A stage that is lost.
#[derive(Debug)]
pub(crate) struct Lost {
    pub(crate) error: Error,
    /// How often workers were told to begin one of its tasks that was not done.
    pub(crate) launches: usize,
}

impl From<Error> for Lost {
    /// What nobody was told to begin.
    fn from(error: Error) -> Self {
        Self { error, launches: 0 }
    }
}

/// What a task reports, and its output.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) worker: WorkerId,
    pub(crate) report: TaskReport,
    pub(crate) chunks: Spool,
    /// Whether a run of the job before has done it.
    pub(crate) is_kept: bool,
    /// When its worker was told to begin.
    pub(crate) launched: Instant,
    /// When its worker had said that it was done.
    pub(crate) ended: Instant,
}

#[derive(Debug)]
enum Command {
    Event(Event),
    Join(WorkerInfo),
    Open(
        StageId,
        StageKind,
        Vec<StoreDigest>,
        Option<TraceParent>,
        mpsc::UnboundedSender<StageUpdate>,
    ),
    Add(TaskId, Work),
    Finish(WorkerId, AttemptId, Result<TaskReport>),
    Workers(oneshot::Sender<Vec<WorkerStatus>>),
    Load(oneshot::Sender<Load>),
}

impl Dispatcher {
    /// Starts the loop. It ends when the last handle is dropped.
    ///
    /// While `room` has no memory for them, attempts whose rows are not due yet wait.
    ///
    /// If it breaks, `broken` is cancelled: nothing goes on without it.
    pub(crate) fn start(
        settings: Settings,
        room: Arc<SpoolRoom>,
        patience: Patience,
        broken: &CancellationToken,
    ) -> Self {
        let (commands, receiver) = mpsc::unbounded_channel();
        let metrics = Arc::new(Metrics::new(room.spills()));
        let outputs = Arc::new(Outputs::new(room, patience));
        let workers = Arc::new(Workers::default());
        let (taken, known) = (Arc::clone(&outputs), Arc::clone(&workers));
        let event_loop = EventLoop::new(settings, taken, known, Arc::clone(&metrics));
        let event_loop = event_loop.run(receiver);
        drop(tokio::spawn(supervised("the scheduler's loop", broken.clone(), event_loop)));
        Self { commands, outputs, workers, metrics }
    }

    fn send(&self, command: Command) {
        // The loop outlives its handles; if it is gone, the runtime is being shut down.
        let _ = self.commands.send(command);
    }

    /// A worker joins, whose it is; from now on it may ask for [`Self::orders`].
    ///
    /// # Errors
    /// `unavailable` if one of its id is registered, `invalid` if its name is none.
    pub(crate) fn join(&self, worker: WorkerInfo, whose: &Identity) -> Result<()> {
        worker.check()?;
        self.workers.join(worker.clone(), whose)?;
        self.send(Command::Join(worker));
        Ok(())
    }

    /// Refuses who speaks for a worker that somebody else registered.
    ///
    /// # Errors
    /// `permission_denied`, naming the worker.
    pub(crate) fn check_worker(&self, worker: WorkerId, speaks: &Identity) -> Result<()> {
        self.workers.check(worker, speaks)
    }

    /// Waits for orders for a worker, and gives as many as one answer of so many bytes holds, or
    /// one. Who stops waiting loses none.
    ///
    /// # Errors
    /// `unavailable` if the worker is not registered, or not any more.
    pub(crate) async fn orders(&self, worker: WorkerId, max_bytes: usize) -> Result<Vec<Order>> {
        self.workers.orders(worker, max_bytes).await
    }

    /// A worker lives, has these attempts, and those among them are so far that run a plan.
    pub(crate) fn heartbeat(
        &self,
        worker: WorkerId,
        attempts: Vec<AttemptId>,
        progress: Vec<(AttemptId, TaskProgress)>,
    ) {
        self.outputs.tell(worker, progress);
        self.send(Command::Event(Event::Heartbeat { worker, attempts }));
    }

    /// How far the tasks of a job are that are not [counted](Self::counted), stage by stage.
    pub(crate) fn told(&self, job: JobId) -> BTreeMap<StageId, TaskProgress> {
        self.outputs.told(job)
    }

    /// What a task has reported is counted, and what was told of it before counts no more.
    pub(crate) fn counted(&self, task: TaskId) {
        self.outputs.counted(task);
    }

    pub(crate) fn drain(&self, worker: WorkerId) {
        self.send(Command::Event(Event::WorkerDraining { worker }));
    }

    /// Tells a worker to end what it runs, to take no more, and to go. It says itself that it
    /// drains: one that was removed at once would not hear of it, and register again.
    ///
    /// # Errors
    /// `not_found` if it is not registered.
    pub(crate) fn send_away(&self, worker: WorkerId) -> Result<()> {
        match self.workers.order(worker, Order::Leave) {
            true => Ok(()),
            false => Err(Error::not_found(format!(
                "worker {worker} is not registered with the coordinator (any more)"
            ))),
        }
    }

    /// Room for the chunks of a task that was done before.
    pub(crate) fn spool(&self) -> Spool {
        Spool::new(self.outputs.shared_room())
    }

    /// The same room, for whoever keeps chunks there.
    pub(crate) fn shared_room(&self) -> Arc<SpoolRoom> {
        self.outputs.shared_room()
    }

    pub(crate) fn left(&self, worker: WorkerId, reason: String) {
        self.send(Command::Event(Event::WorkerLeft { worker, reason }));
    }

    /// Takes the next chunk of an attempt's output.
    ///
    /// # Errors
    /// `cancelled` if the attempt is not the current one of its task on this worker.
    pub(crate) async fn deliver(
        &self,
        worker: WorkerId,
        attempt: AttemptId,
        sequence: u32,
        chunk: Chunk,
    ) -> Result<()> {
        self.metrics.bytes.task_rows.inc_by(chunk.sent_bytes());
        self.outputs.push(worker, attempt, sequence, chunk).await
    }

    /// An attempt gives its slot back before its end.
    pub(crate) fn computed(&self, worker: WorkerId, attempt: AttemptId) {
        self.send(Command::Event(Event::TaskComputed { worker, attempt }));
    }

    pub(crate) fn finish(&self, worker: WorkerId, attempt: AttemptId, outcome: Result<TaskReport>) {
        let outcome = outcome.and_then(|report| report.check().map(|()| report));
        self.send(Command::Finish(worker, attempt, outcome));
    }

    /// Opens a stage, whose tasks look these stores up, and are part of this trace; what happens to
    /// it comes through the receiver.
    pub(crate) fn open_stage(
        &self,
        stage: StageId,
        kind: StageKind,
        stores: Vec<StoreDigest>,
        trace: Option<TraceParent>,
    ) -> (StageHandle, mpsc::UnboundedReceiver<StageUpdate>) {
        let (updates, receiver) = mpsc::unbounded_channel();
        self.send(Command::Open(stage, kind, stores, trace, updates));
        let (commands, outputs) = (self.commands.clone(), Arc::clone(&self.outputs));
        (StageHandle { stage, commands, outputs }, receiver)
    }

    /// The workers that are registered.
    pub(crate) async fn workers(&self) -> Vec<WorkerStatus> {
        let (reply, answer) = oneshot::channel();
        self.send(Command::Workers(reply));
        answer.await.unwrap_or_default()
    }

    /// What there is to do now, and who is there to do it.
    pub(crate) async fn load(&self) -> Load {
        let (reply, answer) = oneshot::channel();
        self.send(Command::Load(reply));
        answer.await.unwrap_or_default()
    }

    /// What is counted, of all that the coordinator does.
    pub(crate) fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// Where rows wait for their turn.
    pub(crate) fn room(&self) -> &SpoolRoom {
        self.outputs.room()
    }

    /// How many workers that take tasks can shuffle.
    pub(crate) fn shufflers(&self) -> usize {
        self.workers.shufflers()
    }

    /// Whether a worker is registered.
    pub(crate) fn is_registered(&self, worker: WorkerId) -> bool {
        self.workers.get(worker).is_some()
    }

    /// How many workers take tasks.
    pub(crate) fn live_workers(&self) -> u32 {
        self.workers.available()
    }
}

impl StageHandle {
    pub(crate) fn stage(&self) -> StageId {
        self.stage
    }

    /// Has the first attempts at tasks that are added from now on this number: their names must not
    /// be those of attempts in an earlier run of the job.
    pub(crate) fn number_from(&self, number: u32) {
        self.event(Event::AttemptsNumbered { stage: self.stage, from: number });
    }

    pub(crate) fn add(&self, task: TaskId, work: Work) {
        let _ = self.commands.send(Command::Add(task, work));
    }

    pub(crate) fn close(&self) {
        self.event(Event::StageClosed { stage: self.stage });
    }

    /// Says which task's rows the reader takes next, if it reads in order.
    pub(crate) fn set_due(&self, index: u32) {
        self.outputs.set_due(self.stage, index);
        self.event(Event::TaskDue { task: TaskId { stage: self.stage, index } });
    }

    pub(crate) fn consumed(&self, task: TaskId) {
        self.event(Event::TaskConsumed { task });
    }

    pub(crate) fn cancel(&self) {
        self.event(Event::StageCancelled { stage: self.stage });
    }

    fn event(&self, event: Event) {
        let _ = self.commands.send(Command::Event(event));
    }
}
