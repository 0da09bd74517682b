//! The scheduler's state, how an event changes it, and the indices that spare it scans.
//!
//! [`State::refresh`] follows every change of a stage, and [`State::watch_fleet`] every change of
//! the fleet: they alone move stages in and out of the indices.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use keyloom_common::{AttemptId, Error, StageId, TaskId, WorkerId};

use super::fleet::{Fleet, Gone};
use super::settings::human;
use super::stage::{Phase, Stage};
use super::turns::Turns;
use super::{Action, Departure, Event, Settings};

/// How long the death of a worker speaks for a cause that is no task.
const LATELY: Duration = Duration::from_secs(600);

/// All that the scheduler knows.
#[derive(Debug)]
pub(crate) struct State {
    pub(super) settings: Settings,
    pub(super) now: Duration,
    pub(super) fleet: Fleet,
    pub(super) stages: BTreeMap<StageId, Stage>,
    /// Stages with a task that may be launched, the one that was served longest ago first.
    pub(super) turns: Turns,
    next_turn: u64,
    /// The shuffle that slots are kept for, and since when.
    pub(super) kept_for: Option<(StageId, Duration)>,
    /// When a task's rest, or its choice of workers, ends.
    pub(super) timers: BTreeSet<(Duration, TaskId)>,
    /// Stages with pending tasks, by when they began to have some.
    pub(super) waiting: BTreeSet<(Duration, StageId)>,
    /// Stages in `waiting` of which nobody was told that there is no worker.
    untold: BTreeSet<StageId>,
    /// When workers were lost lately that ran something and had not said that they would go.
    pub(super) losses: VecDeque<Duration>,
    pub(super) no_workers_since: Option<Duration>,
    pub(super) actions: Vec<Action>,
}

impl State {
    /// A scheduler without workers and stages.
    pub(crate) fn new(settings: Settings) -> Self {
        Self {
            settings,
            now: Duration::ZERO,
            fleet: Fleet::default(),
            stages: BTreeMap::new(),
            turns: Turns::default(),
            next_turn: 0,
            kept_for: None,
            timers: BTreeSet::new(),
            waiting: BTreeSet::new(),
            untold: BTreeSet::new(),
            losses: VecDeque::new(),
            no_workers_since: Some(Duration::ZERO),
            actions: Vec::new(),
        }
    }

    /// Takes in what happened, and says what to do about it, in order. `now` is the time since the
    /// loop's epoch.
    pub(crate) fn on_event(&mut self, event: Event, now: Duration) -> Vec<Action> {
        self.now = self.now.max(now);
        self.run_timers();
        match event {
            Event::WorkerJoined { worker, slots, shuffles } => {
                self.fleet.join(worker, slots, shuffles, self.now);
            }
            Event::Heartbeat { worker, attempts } => self.reconcile(worker, attempts),
            Event::WorkerLeft { worker, reason } => {
                self.lose(worker, Departure::Disconnected, reason);
            }
            Event::WorkerDraining { worker } => self.fleet.drain(worker),
            Event::StageOpened { stage, kind, stores } => {
                self.stages.entry(stage).or_insert_with(|| Stage::new(kind, stores));
            }
            Event::AttemptsNumbered { stage, from } => {
                self.change(stage, |stage| stage.first_attempt = from);
            }
            Event::TaskAdded { task } => self.change(task.stage, |stage| stage.add(task.index)),
            Event::StageClosed { stage } => self.change(stage, |stage| stage.closed = true),
            Event::StageCancelled { stage } => self.forget(stage),
            Event::TaskComputed { worker, attempt } => self.fleet.flush(worker, attempt),
            Event::TaskFinished { worker, attempt } => self.finished(worker, attempt),
            Event::TaskFailed { worker, attempt, error } => self.failed(worker, attempt, error),
            Event::TaskPutOff { worker, attempt } => self.put_off(worker, attempt),
            Event::TaskDue { task } => self.due(task),
            Event::TaskConsumed { task } => {
                self.change(task.stage, |stage| stage.consume(task.index));
            }
            Event::Tick => self.tick(),
        }
        for worker in self.fleet.take_drained() {
            self.lose(worker, Departure::Drained, "drained".to_owned());
        }
        self.watch_fleet();
        self.assign();
        self.tell_waiting();
        std::mem::take(&mut self.actions)
    }

    /// Changes a stage, if it is known.
    pub(super) fn change(&mut self, id: StageId, change: impl FnOnce(&mut Stage)) {
        if let Some(stage) = self.stages.get_mut(&id) {
            change(stage);
            self.refresh(id);
        }
    }

    /// Makes the indices true of a stage that changed, and forgets it if it is over.
    fn refresh(&mut self, id: StageId) {
        let Some(stage) = self.stages.get_mut(&id) else { return };
        match (stage.turn, stage.is_ready(self.settings.window())) {
            (None, true) => {
                stage.turn = Some(self.next_turn);
                self.turns.of(stage.kind).insert((self.next_turn, id));
                self.next_turn += 1;
            }
            (Some(turn), false) => {
                stage.turn = None;
                self.turns.of(stage.kind).remove(&(turn, id));
            }
            (None, false) | (Some(_), true) => {}
        }
        match (stage.waiting_since, stage.pending() > 0) {
            (None, true) => {
                stage.waiting_since = Some(self.now);
                self.waiting.insert((self.now, id));
                self.untold.insert(id);
            }
            (Some(since), false) => {
                stage.waiting_since = None;
                self.waiting.remove(&(since, id));
                self.untold.remove(&id);
            }
            (None, false) | (Some(_), true) => {}
        }
        if stage.is_over() {
            self.stages.remove(&id);
        }
    }

    /// Revokes what runs of a stage, and drops it.
    fn forget(&mut self, id: StageId) {
        let Some(stage) = self.stages.remove(&id) else { return };
        if let Some(turn) = stage.turn {
            self.turns.of(stage.kind).remove(&(turn, id));
        }
        if let Some(since) = stage.waiting_since {
            self.waiting.remove(&(since, id));
        }
        self.untold.remove(&id);
        let until = self.now.saturating_add(self.settings.revoke_grace());
        for (index, task) in stage.tasks() {
            let name = TaskId { stage: id, index };
            if let Some(at) = task.timer() {
                self.timers.remove(&(at, name));
            }
            let Phase::Running { worker } = task.phase else { continue };
            let attempt = AttemptId { task: name, number: task.number };
            // A worker that is just being lost holds nothing any more, and is not told.
            if self.fleet.stop(worker, attempt, until) {
                self.actions.push(Action::Revoke { worker, attempt });
            }
        }
    }

    pub(super) fn fail(&mut self, stage: StageId, error: Error) {
        self.actions.push(Action::StageFailed { stage, error });
        self.forget(stage);
    }

    /// Removes a worker, for whatever reason: the one path for that.
    fn lose(&mut self, worker: WorkerId, how: Departure, reason: String) {
        let Some(Gone { running, beside, draining }) = self.fleet.remove(worker) else { return };
        self.actions.push(Action::WorkerGone { worker, how, reason: reason.clone() });
        // One that ran nothing says nothing of what kills workers.
        let was_at_work = !running.is_empty() || !beside.is_empty();
        if was_at_work && !draining {
            self.losses.push_back(self.now);
            self.losses.retain(|at| at.saturating_add(LATELY) > self.now);
        }
        let tasks: BTreeSet<_> = running.iter().map(|attempt| attempt.task).collect();
        if !draining {
            self.count_against_stages(&tasks, &reason);
        }
        let tasks: BTreeSet<_> = beside.iter().map(|attempt| attempt.task).chain(tasks).collect();
        let reason = (!draining).then_some(&reason);
        self.lose_peer(worker, &beside, &tasks, reason);
        for attempt in running {
            self.died(attempt, &tasks, reason);
        }
    }

    /// Counts a dead worker against the stages of what it ran: one whose tasks all kill their
    /// workers must end, though each excuses the others.
    fn count_against_stages(&mut self, tasks: &BTreeSet<TaskId>, reason: &str) {
        let stages: BTreeSet<_> = tasks.iter().map(|task| task.stage).collect();
        for id in stages {
            // Many workers may go at once: what dies for the first time says nothing of its stage.
            let again = |stage: &Stage| {
                let mut of_it = tasks.iter().filter(|task| task.stage == id);
                of_it.any(|task| stage.task(task.index).is_some_and(|task| task.deaths.count > 0))
            };
            let Some(stage) = self.stages.get_mut(&id).filter(|stage| again(stage)) else {
                continue;
            };
            stage.losses += 1;
            let losses = stage.losses;
            if losses >= self.settings.max_task_losses {
                let message = format!(
                    "{losses} workers died while they ran its tasks, and no task ended meanwhile \
                     (scheduler.max_task_losses); last: {reason}"
                );
                self.fail(id, Error::unavailable(message));
            }
        }
    }

    /// Makes what a worker runs, by its own word, what it should run.
    fn reconcile(&mut self, worker: WorkerId, attempts: Vec<AttemptId>) {
        for attempt in self.fleet.heartbeat(worker, attempts, self.now) {
            self.actions.push(Action::Revoke { worker, attempt });
        }
        for attempt in self.fleet.dropped(worker, self.settings.unnamed(), self.now) {
            // In case that it only begins.
            self.actions.push(Action::Revoke { worker, attempt });
            let message = "its worker does not run it any more, and did not say how it ended";
            self.failed(worker, attempt, Error::unavailable(message));
        }
    }

    fn tick(&mut self) {
        while let Some((since, worker)) = self.fleet.most_silent()
            && since.saturating_add(self.settings.heartbeat_timeout()) <= self.now
        {
            let timeout = human(self.settings.heartbeat_timeout_ms);
            self.lose(worker, Departure::Silent, format!("no heartbeat for {timeout}"));
        }
        while let Some(&(_, stage)) = self.waiting.first()
            && self.starves_at().is_some_and(|at| at <= self.now)
        {
            let bound = human(self.settings.no_worker_timeout_ms);
            let message = format!(
                "no workers: waited {bound} for one to register; \
                 start one with keyloom-worker --coordinator <address>"
            );
            self.fail(stage, Error::unavailable(message));
        }
    }

    /// Notes when the last worker goes and the first one comes.
    fn watch_fleet(&mut self) {
        match (self.no_workers_since, self.fleet.is_available()) {
            (None, false) => self.no_workers_since = Some(self.now),
            (Some(_), true) => {
                self.no_workers_since = None;
                self.untold = self.waiting.iter().map(|(_, stage)| *stage).collect();
            }
            (None, true) | (Some(_), false) => {}
        }
    }

    fn tell_waiting(&mut self) {
        let Some(no_workers) = self.no_workers_since else { return };
        for id in std::mem::take(&mut self.untold) {
            let Some(stage) = self.stages.get(&id) else { continue };
            let since = stage.waiting_since.unwrap_or(self.now).max(no_workers);
            let fails_at = since.saturating_add(self.settings.no_worker_timeout());
            self.actions.push(Action::Waiting { stage: id, tasks: stage.pending(), fails_at });
        }
    }
}
