//! The loop itself: commands and the clock in, actions out.

mod clock;
mod stage;

use std::{collections::HashMap, sync::Arc, time::Instant};

use keyloom_common::{
    AttemptId, Error, ErrorKind, Result, StageId, WorkerId,
    report::WorkerStatus,
    rpc::{Assignment, Order, TaskReport, Work},
};
use tokio::sync::mpsc;

use super::{
    Command, Finished, Incident, Lost, StageUpdate,
    outputs::{Outputs, drop_apart},
    workers::Workers,
};
use crate::{
    metrics::Metrics,
    scheduler::{ATTEMPTS_OF_A_RUN, Action, Departure, Event, Settings, StageKind, State},
};
use clock::{Clock, MAX_REST, MIN_REST};
use stage::{End, Launched, StageEntry};

/// The scheduler's state and what it stands for. One task owns it.
pub(super) struct EventLoop {
    state: State,
    clock: Clock,
    workers: Arc<Workers>,
    stages: HashMap<StageId, StageEntry>,
    /// The shuffle of which was said last that it waits for slots.
    waiting: Option<StageId>,
    /// Outputs that workers say are complete, until the scheduler has decided about them.
    finished: HashMap<AttemptId, Finished>,
    outputs: Arc<Outputs>,
    metrics: Arc<Metrics>,
}

impl EventLoop {
    pub(super) fn new(
        settings: Settings,
        outputs: Arc<Outputs>,
        workers: Arc<Workers>,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self {
            clock: Clock::new(&settings),
            state: State::new(settings),
            workers,
            stages: HashMap::new(),
            waiting: None,
            finished: HashMap::new(),
            outputs,
            metrics,
        }
    }

    /// Runs until the last handle is dropped.
    pub(super) async fn run(mut self, mut commands: mpsc::UnboundedReceiver<Command>) {
        loop {
            // The clock is looked at also while nobody waits: else that would be a pause.
            let now = self.clock.now();
            let deadline = self.state.next_deadline();
            let rest = deadline.map_or(MAX_REST, |at| at.saturating_sub(now));
            tokio::select! {
                biased;
                command = commands.recv() => match command {
                    Some(command) => self.handle(command),
                    None => return,
                },
                () = tokio::time::sleep(rest.clamp(MIN_REST, self.clock.max_rest())) => {}
            }
            // Heartbeats that queued during a stall are heard before silence is judged; and it is
            // judged however many commands come.
            for _ in 0..commands.len() {
                if let Ok(command) = commands.try_recv() {
                    self.handle(command);
                }
            }
            if self.state.next_deadline().is_some_and(|at| at <= self.clock.now()) {
                self.event(Event::Tick);
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
            Command::Join(info) => {
                let (worker, name) = (info.id, &info.name);
                tracing::info!(%worker, %name, slots = info.slots, "worker registered");
                self.metrics.workers.registered.inc();
                let shuffles = info.shuffle.is_some();
                self.event(Event::WorkerJoined { worker, slots: info.slots, shuffles });
            }
            Command::Open(stage, kind, stores, trace, updates) => {
                let (work, launched) = (HashMap::new(), HashMap::new());
                let entry = StageEntry { kind, updates, work, trace, launched };
                self.stages.insert(stage, entry);
                self.event(Event::StageOpened { stage, kind, stores });
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
            Command::Load(reply) => {
                let now = self.clock.now();
                let _ = reply.send(self.state.load(now));
            }
        }
    }

    fn finish(&mut self, worker: WorkerId, attempt: AttemptId, outcome: Result<TaskReport>) {
        let outcome = outcome.and_then(|report| self.complete(worker, attempt, report));
        if let Err(error) = &outcome {
            self.over(worker, attempt, error);
        }
        if let Err(error) = &outcome
            && error.kind() != ErrorKind::Cancelled
        {
            let (job, task) = (attempt.task.stage.job, attempt.task);
            tracing::info!(%job, %task, %attempt, %worker, %error, "an attempt failed");
        }
        self.event(match outcome {
            Err(_) if self.outputs.take_put_off(attempt) => {
                self.metrics.tasks.put_off.inc();
                Event::TaskPutOff { worker, attempt }
            }
            Ok(()) => Event::TaskFinished { worker, attempt },
            Err(error) => {
                self.count_failure(attempt, &error);
                Event::TaskFailed { worker, attempt, error }
            }
        });
    }

    /// Notes that an attempt ended and does not count, and tells of it if it failed.
    fn over(&mut self, worker: WorkerId, attempt: AttemptId, error: &Error) {
        let task = attempt.task.index;
        let Some(stage) = self.stages.get_mut(&attempt.task.stage) else { return };
        let attempts = stage.launched.get_mut(&task).into_iter().flatten();
        let mut own =
            attempts.filter(|one| one.attempt == attempt && one.workers.contains(&worker));
        let Some(launched) = own.next().filter(|launched| launched.end.is_none()) else { return };
        if error.kind() == ErrorKind::Cancelled {
            launched.end = Some(End::Stopped);
            return;
        }
        launched.end = Some(End::Failed);
        let name = self.workers.get(worker).map(|registered| registered.info.name.clone());
        let (worker, error) = (name.unwrap_or_else(|| worker.to_string()), error.clone());
        stage.tell(Incident::Failed { task, worker, error });
    }

    /// Tells whoever has tasks on a worker that it is gone.
    fn tell_lost(&mut self, worker: WorkerId, name: &str, reason: &str) {
        for stage in self.stages.values_mut() {
            let tasks = stage.lose(worker);
            if !tasks.is_empty() {
                let (worker, reason) = (name.to_owned(), reason.to_owned());
                stage.tell(Incident::Lost { tasks, worker, reason });
            }
        }
    }

    fn count_departure(&self, how: Departure) {
        let workers = &self.metrics.workers;
        match how {
            Departure::Drained => {
                workers.drained.inc();
            }
            Departure::Silent => workers.lose("silent"),
            Departure::Disconnected => workers.lose("disconnected"),
        }
    }

    /// Counts an attempt that failed, unless it was stopped, or nobody wants its stage any more.
    fn count_failure(&self, attempt: AttemptId, error: &Error) {
        let stage = self.stages.get(&attempt.task.stage);
        let is_work = stage.is_some_and(|stage| !stage.kind.is_question());
        if is_work && error.kind() != ErrorKind::Cancelled {
            self.metrics.tasks.fail(error);
        }
    }

    /// Sets an attempt's output aside if all of it has arrived.
    fn complete(&mut self, worker: WorkerId, attempt: AttemptId, report: TaskReport) -> Result<()> {
        let chunks = self.outputs.take(worker, attempt)?;
        if let TaskReport::Rows { chunks: sent, .. } = &report
            && *sent as usize != chunks.len()
        {
            let arrived = chunks.len();
            return Err(Error::unavailable(format!("{arrived} of {sent} chunks arrived")));
        }
        let (launched, ended) = (self.launched(attempt), Instant::now());
        let is_kept = false;
        let finished = Finished { worker, report, chunks, is_kept, launched, ended };
        self.finished.insert(attempt, finished);
        Ok(())
    }

    /// When an attempt was launched, whose output is complete.
    fn launched(&self, attempt: AttemptId) -> Instant {
        let stage = self.stages.get(&attempt.task.stage);
        let attempts = stage.and_then(|stage| stage.launched.get(&attempt.task.index));
        let launched = attempts.into_iter().flatten().find(|one| one.attempt == attempt);
        launched.map_or_else(Instant::now, |launched| launched.at)
    }

    fn event(&mut self, event: Event) {
        let now = self.clock.now();
        for action in self.state.on_event(event, now) {
            self.act(action);
        }
        self.workers.set_available(self.state.available_workers());
        self.workers.set_shufflers(self.state.available_shufflers());
        self.tell_waiting();
    }

    /// Says which shuffle waits for slots, once for each.
    fn tell_waiting(&mut self) {
        let waiting = self.state.waiting_shuffle();
        if waiting == self.waiting {
            return;
        }
        self.waiting = waiting;
        if let Some(stage) = waiting {
            tracing::info!(job = %stage.job, %stage, "a shuffle waits for a slot of each worker");
        }
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Launch { worker, attempt } => self.launch(&[worker], attempt),
            Action::LaunchTogether { workers, attempt } => self.launch(&workers, attempt),
            Action::Revoke { worker, attempt } => {
                self.outputs.discard(attempt);
                self.workers.order(worker, Order::Stop(attempt));
            }
            Action::TaskDone { attempt } => self.done(attempt),
            Action::Discard { attempt } => {
                self.outputs.discard(attempt);
                drop_apart(self.finished.remove(&attempt));
            }
            Action::StageFailed { stage, error } => {
                tracing::warn!(job = %stage.job, %stage, %error, "stage failed");
                if let Some(entry) = self.stages.get(&stage) {
                    let launches = entry.launched.values().map(Vec::len).sum();
                    let lost = Lost { error: unwanted(error), launches };
                    let _ = entry.updates.send(StageUpdate::Failed(lost));
                }
                self.forget(stage);
            }
            Action::WorkerGone { worker, how, reason } => {
                self.count_departure(how);
                if let Some(gone) = self.workers.remove(worker) {
                    let name = &gone.info.name;
                    match how {
                        Departure::Drained => {
                            tracing::info!(%worker, %name, reason, "worker gone");
                        }
                        // What it ran runs elsewhere, and it did not say that it would go.
                        Departure::Silent | Departure::Disconnected => {
                            tracing::warn!(%worker, %name, reason, "worker gone");
                        }
                    }
                    self.tell_lost(worker, name, &reason);
                }
                self.outputs.discard_worker(worker);
            }
            Action::Waiting { stage, tasks, .. } => {
                let job = stage.job;
                tracing::warn!(%job, %stage, tasks, "tasks wait for a worker to register");
                if let Some(entry) = self.stages.get(&stage) {
                    entry.tell(Incident::Alone { tasks });
                }
            }
        }
    }

    /// Has the first of these workers begin an attempt, with the others if it is a shuffle.
    fn launch(&mut self, workers: &[WorkerId], attempt: AttemptId) {
        let Some(&worker) = workers.first() else { return };
        let task = attempt.task;
        let Some(stage) = self.stages.get_mut(&task.stage) else { return };
        let Some(mut work) = stage.work.get(&task.index).cloned() else { return };
        if let Work::Shuffle { peers, .. } = &mut work {
            // Those that have slots for it: another attempt has others.
            *peers = self.workers.shuffle_at(workers);
        }
        // The scheduler launches on workers that it has not said are gone.
        let Some(registered) = self.workers.get(worker) else { return };
        let attempts = stage.launched.entry(task.index).or_default();
        // What was put off counts for nothing.
        let is_again = attempts.last().is_some_and(|last| last.end != Some(End::Stopped));
        let dropped = attempts.last().filter(|last| last.end.is_none());
        let dropped_by = dropped.and_then(|last| self.workers.get(*last.workers.first()?));
        let (together, at) = (workers.to_vec(), Instant::now());
        attempts.push(Launched { attempt, workers: together, at, end: None });
        if let Some(dropped_by) = dropped_by {
            let (task, worker) = (task.index, dropped_by.info.name.clone());
            let error = Error::unavailable("it is not run any more, and nobody said how it ended");
            stage.tell(Incident::Failed { task, worker, error });
        }
        if is_again {
            let (task, worker) = (task.index, registered.info.name.clone());
            let attempt = attempt.number % ATTEMPTS_OF_A_RUN + 1;
            stage.tell(Incident::Again { task, worker, attempt });
        }
        match stage.kind {
            StageKind::Work | StageKind::Shuffle { .. } => {
                self.metrics.tasks.start(attempt.number.is_multiple_of(ATTEMPTS_OF_A_RUN))
            }
            StageKind::Question => self.metrics.tasks.ask(),
        }
        self.outputs.open(registered, attempt);
        let together = workers.len();
        tracing::debug!(job = %task.stage.job, %task, %attempt, %worker, together, "launched");
        let assignment = Assignment { attempt, work, trace: stage.trace };
        self.workers.order(worker, Order::Start(Box::new(assignment)));
    }

    fn done(&mut self, attempt: AttemptId) {
        let Some(finished) = self.finished.remove(&attempt) else { return };
        let Some(stage) = self.stages.get_mut(&attempt.task.stage) else { return };
        stage.work.remove(&attempt.task.index);
        stage.launched.remove(&attempt.task.index);
        if !stage.kind.is_question() {
            self.metrics.tasks.finished.inc();
        }
        let finished = Box::new(finished);
        let update = StageUpdate::Done { index: attempt.task.index, finished };
        // A reader that is gone cancels its stage.
        let _ = stage.updates.send(update);
    }

    fn forget(&mut self, stage: StageId) {
        self.stages.remove(&stage);
        self.outputs.discard_stage(stage);
        let finished = self.finished.extract_if(|attempt, _| attempt.task.stage == stage);
        drop_apart(finished);
    }

    fn worker_statuses(&self) -> Vec<WorkerStatus> {
        let status = |worker: crate::scheduler::WorkerStatus| {
            let registered = self.workers.get(worker.worker)?;
            let running = worker.running + worker.beside;
            Some(WorkerStatus {
                id: registered.id(),
                name: registered.info.name.clone(),
                slots: worker.slots,
                running: u32::try_from(running).unwrap_or(u32::MAX),
                // It was told to, and says so itself a moment later.
                draining: worker.draining || registered.is_leaving(),
            })
        };
        self.state.workers().filter_map(status).collect()
    }
}

/// Why a stage failed that nobody has cancelled: if a worker says that it was, that is no word of
/// whoever wants the job's end, or of the coordinator's.
fn unwanted(error: Error) -> Error {
    match error.kind() {
        ErrorKind::Cancelled => {
            let message = error.message();
            Error::unavailable(format!("a worker ended a task that was wanted: {message}"))
        }
        _ => error,
    }
}
