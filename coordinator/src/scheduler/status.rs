//! What can be read from the state: for people, and for the loop that has to know when to wake.

use std::time::Duration;

use keyloom_common::{StageId, WorkerId};

use super::State;
use super::fleet::{Held, Worker};
use super::stage::Stage;

/// One registered worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WorkerStatus {
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

/// The tasks of one stage, counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StageStatus {
    /// The stage.
    pub stage: StageId,
    /// Tasks that wait: for a slot, for the window, or before a retry.
    pub pending: usize,
    /// Tasks whose current attempt runs.
    pub running: usize,
    /// Tasks whose output counts, consumed or not.
    pub done: usize,
    /// Whether all its tasks are known.
    pub closed: bool,
}

impl State {
    /// The registered workers, by id.
    pub fn workers(&self) -> impl Iterator<Item = WorkerStatus> {
        self.fleet.iter().map(|(id, worker)| worker_status(*id, worker))
    }

    /// The stages that are not forgotten, by id.
    pub fn stages(&self) -> impl Iterator<Item = StageStatus> {
        self.stages.iter().map(|(id, stage)| stage_status(*id, stage))
    }

    /// One stage, unless it is unknown or forgotten.
    pub fn stage(&self, id: StageId) -> Option<StageStatus> {
        self.stages.get(&id).map(|stage| stage_status(id, stage))
    }

    /// When the state wants a [`Tick`](super::Event::Tick), if nothing happens before. Time may
    /// have passed it already.
    pub fn next_deadline(&self) -> Option<Duration> {
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
    let running = worker.attempts.values().filter(|held| **held == Held::Running).count();
    WorkerStatus {
        worker: id,
        slots: worker.slots,
        running,
        stopping: worker.attempts.len() - running,
        draining: worker.draining,
        heartbeat: worker.heartbeat,
    }
}

fn stage_status(id: StageId, stage: &Stage) -> StageStatus {
    StageStatus {
        stage: id,
        pending: stage.pending(),
        running: stage.running,
        done: stage.done,
        closed: stage.closed,
    }
}
