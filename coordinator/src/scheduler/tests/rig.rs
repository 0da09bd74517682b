//! A scheduler with a clock that the test moves, and short names for what it is fed.

use std::time::Duration;

use keyloom_common::{AttemptId, Error, JobId, StageId, TaskId, WorkerId};

use super::super::{Action, Departure, Event, Settings, StageKind, State, StoreDigest};

pub(super) fn worker(n: u32) -> WorkerId {
    WorkerId::from_u128(n.into())
}

pub(super) fn stage(n: u32) -> StageId {
    StageId { job: JobId::from_u128(n.into()), index: 0 }
}

pub(super) fn store(n: u32) -> StoreDigest {
    StoreDigest::of(&n)
}

pub(super) fn task(stage: StageId, index: u32) -> TaskId {
    TaskId { stage, index }
}

pub(super) fn attempt(stage: StageId, index: u32, number: u32) -> AttemptId {
    AttemptId { task: task(stage, index), number }
}

pub(super) fn launch(n: u32, attempt: AttemptId) -> Action {
    Action::Launch { worker: worker(n), attempt }
}

pub(super) fn together(workers: &[u32], attempt: AttemptId) -> Action {
    let workers = workers.iter().copied().map(worker).collect();
    Action::LaunchTogether { workers, attempt }
}

pub(super) fn revoke(n: u32, attempt: AttemptId) -> Action {
    Action::Revoke { worker: worker(n), attempt }
}

pub(super) fn done(attempt: AttemptId) -> Action {
    Action::TaskDone { attempt }
}

pub(super) fn discard(attempt: AttemptId) -> Action {
    Action::Discard { attempt }
}

pub(super) fn gone(n: u32, reason: &str) -> Action {
    let how = match reason {
        "drained" => Departure::Drained,
        _ if reason.starts_with("no heartbeat") => Departure::Silent,
        _ => Departure::Disconnected,
    };
    Action::WorkerGone { worker: worker(n), how, reason: reason.to_owned() }
}

pub(super) fn flaky() -> Error {
    Error::store("read timed out")
}

pub(super) struct Rig {
    pub(super) state: State,
    pub(super) now: Duration,
}

impl Rig {
    pub(super) fn new() -> Self {
        Self::with(Settings::default())
    }

    pub(super) fn with(settings: Settings) -> Self {
        // The epoch is the loop's choice: nothing may depend on starting at zero.
        Self { state: State::new(settings), now: Duration::from_secs(1_000_000) }
    }

    pub(super) fn feed(&mut self, event: Event) -> Vec<Action> {
        self.state.on_event(event, self.now)
    }

    /// Lets time pass, and ticks.
    pub(super) fn pass(&mut self, ms: u64) -> Vec<Action> {
        self.now += Duration::from_millis(ms);
        self.feed(Event::Tick)
    }

    /// Lets time pass while some workers heartbeat, and ticks.
    pub(super) fn pass_alive(&mut self, ms: u64, alive: &[u32]) -> Vec<Action> {
        self.now += Duration::from_millis(ms);
        let beats = alive.iter().map(|n| self.beat(*n));
        let events = beats.chain([Event::Tick]).collect::<Vec<_>>();
        events.into_iter().flat_map(|event| self.feed(event)).collect()
    }

    /// A heartbeat of a worker that runs what it should run.
    pub(super) fn beat(&self, n: u32) -> Event {
        let attempts = self.state.fleet.iter().filter(|(id, _)| **id == worker(n));
        let attempts = attempts.flat_map(|(_, worker)| worker.attempts.keys().copied()).collect();
        Event::Heartbeat { worker: worker(n), attempts }
    }

    pub(super) fn join(&mut self, n: u32, slots: u32) -> Vec<Action> {
        self.feed(Event::WorkerJoined { worker: worker(n), slots, shuffles: false })
    }

    pub(super) fn join_shuffler(&mut self, n: u32, slots: u32) -> Vec<Action> {
        self.feed(Event::WorkerJoined { worker: worker(n), slots, shuffles: true })
    }

    pub(super) fn leave(&mut self, n: u32) -> Vec<Action> {
        self.feed(Event::WorkerLeft { worker: worker(n), reason: "connection reset".to_owned() })
    }

    pub(super) fn drain(&mut self, n: u32) -> Vec<Action> {
        self.feed(Event::WorkerDraining { worker: worker(n) })
    }

    /// Opens a stage, and adds tasks 0 to `tasks`.
    pub(super) fn open(&mut self, stage: StageId, tasks: u32) -> Vec<Action> {
        self.open_over(&[], stage, tasks)
    }

    /// Opens a stage whose tasks look these stores up, and adds tasks 0 to `tasks`.
    pub(super) fn open_over(&mut self, stores: &[u32], stage: StageId, tasks: u32) -> Vec<Action> {
        let (kind, stores) = (StageKind::Work, stores.iter().copied().map(store).collect());
        let mut actions = self.feed(Event::StageOpened { stage, kind, stores });
        for index in 0..tasks {
            actions.extend(self.add(stage, index));
        }
        actions
    }

    /// Opens a stage of one shuffle, in which so many workers have something to do.
    pub(super) fn open_shuffle(&mut self, stage: StageId, workers: u32) -> Vec<Action> {
        let (kind, stores) = (StageKind::Shuffle { workers }, Vec::new());
        self.feed(Event::StageOpened { stage, kind, stores });
        self.add(stage, 0)
    }

    pub(super) fn add(&mut self, stage: StageId, index: u32) -> Vec<Action> {
        self.feed(Event::TaskAdded { task: task(stage, index) })
    }

    pub(super) fn computed(&mut self, n: u32, attempt: AttemptId) -> Vec<Action> {
        self.feed(Event::TaskComputed { worker: worker(n), attempt })
    }

    pub(super) fn finish(&mut self, n: u32, attempt: AttemptId) -> Vec<Action> {
        self.feed(Event::TaskFinished { worker: worker(n), attempt })
    }

    pub(super) fn fail(&mut self, n: u32, attempt: AttemptId, error: Error) -> Vec<Action> {
        self.feed(Event::TaskFailed { worker: worker(n), attempt, error })
    }

    pub(super) fn consume(&mut self, stage: StageId, index: u32) -> Vec<Action> {
        self.feed(Event::TaskConsumed { task: task(stage, index) })
    }

    /// Pending, running and done tasks of a stage.
    pub(super) fn counts(&self, id: StageId) -> Option<(usize, usize, usize)> {
        self.state.stage(id).map(|stage| (stage.pending, stage.running, stage.done))
    }
}
