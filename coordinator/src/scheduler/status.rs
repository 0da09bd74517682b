//! What can be read from the state: for people, and for the loop that has to know when to wake.

use std::time::Duration;

use keyloom_common::{StageId, WorkerId};

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
    /// In how many attempts of other workers it takes part.
    pub beside: usize,
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
        for stage in self.stages.values().filter(|stage| !stage.kind.is_question()) {
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

    /// How many of these shuffle.
    pub(crate) fn available_shufflers(&self) -> usize {
        self.fleet.shufflers()
    }

    /// The shuffle that waits for slots, which are kept for it.
    pub(crate) fn waiting_shuffle(&self) -> Option<StageId> {
        self.kept_for.map(|(stage, _)| stage)
    }

    /// When the state wants a [`Tick`](super::Event::Tick), if nothing happens before. Time may
    /// have passed it already.
    pub(crate) fn next_deadline(&self) -> Option<Duration> {
        let silence = self.fleet.most_silent().map(|(since, _)| since);
        let lost = silence.map(|since| since.saturating_add(self.settings.heartbeat_timeout()));
        let timer = self.timers.first().map(|(at, _)| *at);
        let kept = self.kept_for.map(|(_, since)| self.shuffle_waits_until(since));
        // What has passed was judged, and is again when a slot is free.
        let kept = kept.filter(|until| *until > self.now);
        let deadlines = [lost, timer, kept, self.fleet.next_expiry(), self.starves_at()];
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
        beside: worker.beside.len(),
        stopping: worker.attempts.len() - running,
        draining: worker.draining,
        heartbeat: worker.heartbeat,
    }
}
