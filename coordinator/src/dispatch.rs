//! The loop around the scheduler: it feeds events, carries out actions, and keeps what the pure
//! state does not: the work of tasks, the outputs of attempts, the orders for workers.
//!
//! One task owns all of it; others hold a [`Dispatcher`] and send commands. Only chunks of output
//! take a shorter way, through a table that refuses attempts that are not current.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use keyloom_common::{
    AttemptId, Error, Result, StageId, TaskId, WorkerId,
    report::WorkerStatus,
    rpc::{Assignment, Order, TaskOutput, Work, WorkerInfo},
};
use tokio::sync::{mpsc, oneshot};

use crate::{
    gather::{Spool, SpoolRoom},
    scheduler::{Action, Event, Settings, State},
};

/// The shortest rest before the clock is looked at, so that a deadline that has passed and changes
/// nothing does not keep the loop busy.
const MIN_REST: Duration = Duration::from_millis(5);

/// The handle to the loop.
#[derive(Clone, Debug)]
pub(crate) struct Dispatcher {
    commands: mpsc::UnboundedSender<Command>,
    outputs: Arc<Outputs>,
    live_workers: Arc<AtomicU32>,
}

/// The handle to one stage.
#[derive(Clone, Debug)]
pub(crate) struct StageHandle {
    stage: StageId,
    commands: mpsc::UnboundedSender<Command>,
}

/// What happens to a stage.
#[derive(Debug)]
pub(crate) enum StageEvent {
    /// A task is done; this output counts.
    Done { index: u32, finished: Finished },
    /// The stage is lost.
    Failed(Error),
}

/// The output of a task.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) worker: WorkerId,
    pub(crate) output: TaskOutput,
    pub(crate) chunks: Spool,
}

#[derive(Debug)]
enum Command {
    Event(Event),
    Join(WorkerInfo, mpsc::UnboundedSender<Order>),
    Open(StageId, mpsc::UnboundedSender<StageEvent>),
    Add(TaskId, Work),
    Finish(WorkerId, AttemptId, Result<TaskOutput>),
    Workers(oneshot::Sender<Vec<WorkerStatus>>),
}

/// Chunks of attempts that run now.
#[derive(Debug)]
struct Outputs {
    room: Arc<SpoolRoom>,
    attempts: Mutex<HashMap<AttemptId, (WorkerId, Spool)>>,
}

impl Outputs {
    fn lock(&self) -> MutexGuard<'_, HashMap<AttemptId, (WorkerId, Spool)>> {
        self.attempts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Dispatcher {
    /// Starts the loop. It ends when the last handle is dropped.
    pub(crate) fn start(settings: Settings, room: Arc<SpoolRoom>) -> Self {
        let (commands, receiver) = mpsc::unbounded_channel();
        let outputs = Arc::new(Outputs { room, attempts: Mutex::default() });
        let live_workers = Arc::new(AtomicU32::new(0));
        let dispatch = Loop {
            state: State::new(settings),
            started: Instant::now(),
            workers: HashMap::new(),
            stages: HashMap::new(),
            finished: HashMap::new(),
            outputs: Arc::clone(&outputs),
            live_workers: Arc::clone(&live_workers),
        };
        tokio::spawn(dispatch.run(receiver));
        Self { commands, outputs, live_workers }
    }

    fn send(&self, command: Command) {
        // The loop outlives its handles; if it is gone, the runtime is being shut down.
        let _ = self.commands.send(command);
    }

    /// A worker joins; its orders come through the receiver.
    pub(crate) fn join(&self, worker: WorkerInfo) -> mpsc::UnboundedReceiver<Order> {
        let (orders, receiver) = mpsc::unbounded_channel();
        self.send(Command::Join(worker, orders));
        receiver
    }

    pub(crate) fn heartbeat(&self, worker: WorkerId) {
        self.send(Command::Event(Event::Heartbeat { worker }));
    }

    pub(crate) fn drain(&self, worker: WorkerId) {
        self.send(Command::Event(Event::WorkerDraining { worker }));
    }

    pub(crate) fn left(&self, worker: WorkerId, reason: String) {
        self.send(Command::Event(Event::WorkerLeft { worker, reason }));
    }

    /// Takes the next chunk of an attempt's output.
    ///
    /// # Errors
    /// `cancelled` if the attempt is not the current one of its task on this worker.
    pub(crate) fn deliver(
        &self,
        worker: WorkerId,
        attempt: AttemptId,
        sequence: u32,
        chunk: Bytes,
    ) -> Result<()> {
        let mut attempts = self.outputs.lock();
        let spool = match attempts.get_mut(&attempt) {
            Some((owner, spool)) if *owner == worker => spool,
            _ => return Err(Error::cancelled(format!("attempt {attempt} is not wanted any more"))),
        };
        match (sequence as usize).cmp(&spool.len()) {
            // Sent twice, because the answer was lost.
            std::cmp::Ordering::Less => Ok(()),
            std::cmp::Ordering::Equal => spool.push(chunk),
            std::cmp::Ordering::Greater => Err(Error::internal(format!(
                "attempt {attempt}: chunk {sequence} came when {} was due",
                spool.len()
            ))),
        }
    }

    pub(crate) fn finish(&self, worker: WorkerId, attempt: AttemptId, outcome: Result<TaskOutput>) {
        self.send(Command::Finish(worker, attempt, outcome));
    }

    /// Opens a stage; what happens to it comes through the receiver.
    pub(crate) fn open_stage(
        &self,
        stage: StageId,
    ) -> (StageHandle, mpsc::UnboundedReceiver<StageEvent>) {
        let (events, receiver) = mpsc::unbounded_channel();
        self.send(Command::Open(stage, events));
        (StageHandle { stage, commands: self.commands.clone() }, receiver)
    }

    /// The workers that are registered.
    pub(crate) async fn workers(&self) -> Vec<WorkerStatus> {
        let (reply, answer) = oneshot::channel();
        self.send(Command::Workers(reply));
        answer.await.unwrap_or_default()
    }

    /// How many workers take tasks.
    pub(crate) fn live_workers(&self) -> u32 {
        self.live_workers.load(Ordering::Relaxed)
    }
}

impl StageHandle {
    pub(crate) fn stage(&self) -> StageId {
        self.stage
    }

    pub(crate) fn add(&self, task: TaskId, work: Work) {
        let _ = self.commands.send(Command::Add(task, work));
    }

    pub(crate) fn close(&self) {
        self.event(Event::StageClosed { stage: self.stage });
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

struct Loop {
    state: State,
    started: Instant,
    workers: HashMap<WorkerId, (WorkerInfo, mpsc::UnboundedSender<Order>)>,
    stages: HashMap<StageId, Stage>,
    /// Outputs that workers say are complete, until the scheduler has decided about them.
    finished: HashMap<AttemptId, Finished>,
    outputs: Arc<Outputs>,
    live_workers: Arc<AtomicU32>,
}

struct Stage {
    events: mpsc::UnboundedSender<StageEvent>,
    work: HashMap<u32, Work>,
}

impl Loop {
    async fn run(mut self, mut commands: mpsc::UnboundedReceiver<Command>) {
        loop {
            let deadline = self.state.next_deadline();
            let rest = deadline.map(|at| at.saturating_sub(self.started.elapsed()).max(MIN_REST));
            // Biased: heartbeats that queued during a stall are heard before silence is judged.
            tokio::select! {
                biased;
                command = commands.recv() => match command {
                    Some(command) => self.handle(command),
                    None => return,
                },
                () = tokio::time::sleep(rest.unwrap_or_default()), if rest.is_some() => {
                    self.event(Event::Tick);
                }
            }
        }
    }

    fn handle(&mut self, command: Command) {
        match command {
            Command::Event(event) => {
                let forget = match &event {
                    Event::StageCancelled { stage } => Some(*stage),
                    _ => None,
                };
                self.event(event);
                forget.into_iter().for_each(|stage| self.forget(stage));
            }
            Command::Join(info, orders) => {
                tracing::info!(worker = %info.name, slots = info.slots, "worker registered");
                let event = Event::WorkerJoined { worker: info.id, slots: info.slots };
                self.workers.insert(info.id, (info, orders));
                self.event(event);
            }
            Command::Open(stage, events) => {
                self.stages.insert(stage, Stage { events, work: HashMap::new() });
                self.event(Event::StageOpened { stage });
            }
            Command::Add(task, work) => {
                let Some(stage) = self.stages.get_mut(&task.stage) else { return };
                stage.work.insert(task.index, work);
                self.event(Event::TaskAdded { task });
            }
            Command::Finish(worker, attempt, outcome) => self.finish(worker, attempt, outcome),
            Command::Workers(reply) => {
                let _ = reply.send(self.worker_statuses());
            }
        }
    }

    fn finish(&mut self, worker: WorkerId, attempt: AttemptId, outcome: Result<TaskOutput>) {
        let outcome = outcome.and_then(|output| self.complete(worker, attempt, output));
        self.event(match outcome {
            Ok(()) => Event::TaskFinished { worker, attempt },
            Err(error) => Event::TaskFailed { worker, attempt, error },
        });
    }

    /// Sets an attempt's output aside if all of it has arrived.
    fn complete(&mut self, worker: WorkerId, attempt: AttemptId, output: TaskOutput) -> Result<()> {
        let mut attempts = self.outputs.lock();
        let (owner, chunks) = attempts.remove(&attempt).ok_or_else(not_wanted)?;
        if owner != worker {
            attempts.insert(attempt, (owner, chunks));
            return Err(not_wanted());
        }
        if let TaskOutput::Rows { chunks: sent, .. } = &output
            && *sent as usize != chunks.len()
        {
            let arrived = chunks.len();
            return Err(Error::unavailable(format!("{arrived} of {sent} chunks arrived")));
        }
        self.finished.insert(attempt, Finished { worker, output, chunks });
        Ok(())
    }

    fn event(&mut self, event: Event) {
        let now = self.started.elapsed();
        for action in self.state.on_event(event, now) {
            self.act(action);
        }
        let live = self.state.available_workers();
        self.live_workers.store(u32::try_from(live).unwrap_or(u32::MAX), Ordering::Relaxed);
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Launch { worker, attempt } => self.launch(worker, attempt),
            Action::Revoke { worker, attempt } => {
                self.outputs.lock().remove(&attempt);
                self.order(worker, Order::Stop(attempt));
            }
            Action::TaskDone { attempt } => self.done(attempt),
            Action::Discard { attempt } => {
                self.outputs.lock().remove(&attempt);
                self.finished.remove(&attempt);
            }
            Action::StageFailed { stage, error } => {
                tracing::warn!(%stage, %error, "stage failed");
                if let Some(entry) = self.stages.get(&stage) {
                    let _ = entry.events.send(StageEvent::Failed(error));
                }
                self.forget(stage);
            }
            Action::WorkerGone { worker, reason } => {
                if let Some((info, _)) = self.workers.remove(&worker) {
                    tracing::info!(worker = %info.name, reason, "worker gone");
                }
                self.outputs.lock().retain(|_, (owner, _)| *owner != worker);
            }
            Action::Waiting { stage, tasks, .. } => {
                tracing::warn!(%stage, tasks, "tasks wait for a worker to register");
            }
        }
    }

    fn launch(&mut self, worker: WorkerId, attempt: AttemptId) {
        let task = attempt.task;
        let stage = self.stages.get(&task.stage);
        let Some(work) = stage.and_then(|stage| stage.work.get(&task.index)).cloned() else {
            return;
        };
        let spool = Spool::new(Arc::clone(&self.outputs.room));
        self.outputs.lock().insert(attempt, (worker, spool));
        self.order(worker, Order::Start(Assignment { attempt, work }));
    }

    fn order(&self, worker: WorkerId, order: Order) {
        if let Some((_, orders)) = self.workers.get(&worker) {
            // A worker that hung up is reported lost by its connection.
            let _ = orders.send(order);
        }
    }

    fn done(&mut self, attempt: AttemptId) {
        let Some(finished) = self.finished.remove(&attempt) else { return };
        let Some(stage) = self.stages.get_mut(&attempt.task.stage) else { return };
        stage.work.remove(&attempt.task.index);
        let event = StageEvent::Done { index: attempt.task.index, finished };
        // A reader that is gone cancels its stage.
        let _ = stage.events.send(event);
    }

    fn forget(&mut self, stage: StageId) {
        self.stages.remove(&stage);
        self.outputs.lock().retain(|attempt, _| attempt.task.stage != stage);
        self.finished.retain(|attempt, _| attempt.task.stage != stage);
    }

    fn worker_statuses(&self) -> Vec<WorkerStatus> {
        let status = |worker: crate::scheduler::WorkerStatus| {
            let (info, _) = self.workers.get(&worker.worker)?;
            Some(WorkerStatus {
                id: info.id,
                name: info.name.clone(),
                slots: worker.slots,
                running: u32::try_from(worker.running).unwrap_or(u32::MAX),
                draining: worker.draining,
            })
        };
        self.state.workers().filter_map(status).collect()
    }
}

fn not_wanted() -> Error {
    Error::cancelled("the attempt is not wanted any more")
}
