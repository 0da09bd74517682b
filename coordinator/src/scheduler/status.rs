//! What can be read from the state: for people, and for the loop that has to know when to wake.

use std::time::Duration;

use keyloom_common::WorkerId;

use super::State;
use super::fleet::{Held, Worker};

/// One registered worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WorkerStatus {
    /// Its life.
    pub worker: WorkerId,
    /// How many attempts it runs at a time.
    pub slots: u32,
    /// How many current attempts it runs.
    pub running: usize,
    /// How many revoked attempts hold a slot, their end not yet reported.
    pub stopping: usize,
    /// Whether it gets nothing new.
    pub draining: bool,
    /// When it last said that it lives, as time since the loop's epoch.
    pub heartbeat: Duration,
}

impl State {
    /// The registered workers, by id.
    pub(crate) fn workers(&self) -> impl Iterator<Item = WorkerStatus> {
        self.fleet.iter().map(|(id, worker)| worker_status(*id, worker))
    }

    /// How many workers take tasks: those that do not drain.
    pub(crate) fn available_workers(&self) -> usize {
        self.fleet.available()
    }

    /// When the state wants a [`Tick`](super::Event::Tick), if nothing happens before. Time may
    /// have passed it already.
    pub(crate) fn next_deadline(&self) -> Option<Duration> {
        let silence = self.fleet.most_silent().map(|(since, _)| since);
        let lost = silence.map(|since| since.saturating_add(self.settings.heartbeat_timeout()));
        let timer = self.timers.first().map(|(at, _)| *at);
        let deadlines = [lost, timer, self.fleet.next_expiry(), self.starves_at()];
        deadlines.into_iter().flatten().min()
    }

    /// When the first stage fails for want of a worker.
    pub(super) fn starves_at(&self) -> Option<Duration> {
        let (since, _) = self.waiting.first()?;
        let since = self.no_workers_since?.max(*since);
        Some(since.saturating_add(self.settings.no_worker_timeout()))
    }
}

fn worker_status(id: WorkerId, worker: &Worker) -> WorkerStatus {
    let held = worker.attempts.values();
    let running = held.filter(|held| matches!(held, Held::Running { .. })).count();
    WorkerStatus {
        worker: id,
        slots: worker.slots,
        running,
        stopping: worker.attempts.len() - running,
        draining: worker.draining,
        heartbeat: worker.heartbeat,
    }
}
