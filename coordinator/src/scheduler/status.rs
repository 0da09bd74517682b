//! What can be read from the state: for people, and for the loop that has to know when to wake.

use std::time::Duration;

use keyloom_common::WorkerId;

use super::fleet::{Held, Worker};
use super::{StageKind, State};

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

/// What there is to do, and who is there to do it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Load {
    /// Workers that take tasks.
    pub active: usize,
    /// Workers that take no new ones.
    pub draining: usize,
    /// Slots that tasks may be given.
    pub free_slots: usize,
    /// Slots that tasks hold.
    pub taken_slots: usize,
    /// Tasks that run.
    pub running: usize,
    /// Tasks that wait for a slot, or rest.
    pub queued: usize,
    /// How long the worker was silent that was silent for the longest time.
    pub silence: Duration,
}

impl State {
    /// What there is to do at a time, and who is there to do it.
    pub(crate) fn load(&self, now: Duration) -> Load {
        let since = self.fleet.most_silent().map_or(now, |(since, _)| since);
        let mut load = Load { silence: now.saturating_sub(since), ..Load::default() };
        for (_, worker) in self.fleet.iter() {
            load.active += usize::from(!worker.draining);
            load.draining += usize::from(worker.draining);
            load.free_slots += worker.free_slots();
            load.taken_slots += worker.taken_slots();
        }
        for stage in self.stages.values().filter(|stage| stage.kind == StageKind::Work) {
            load.running += stage.running;
            load.queued += stage.pending();
        }
        load
    }

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
