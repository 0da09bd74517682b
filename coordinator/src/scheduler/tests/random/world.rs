//! The model: what is true of workers, stages and attempts, by events and actions alone.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use keyloom_common::{AttemptId, StageId, TaskId, WorkerId};

use super::super::rig::*;
use super::op::STORES;
use crate::scheduler::stage::Phase;
use crate::scheduler::{Settings, StoreDigest};

pub(super) fn settings() -> Settings {
    Settings {
        heartbeat_timeout_ms: 1_000,
        attempt_timeout_ms: 1_000,
        order_timeout_ms: 1_000,
        no_worker_timeout_ms: 3_000,
        max_task_deaths: 3,
        max_task_losses: 24,
        max_task_attempts: 4,
        retry_backoff_ms: 50,
        retry_backoff_max_ms: 150,
        retry_elsewhere_ms: 300,
        max_tasks_ahead: 4,
        question_slots: 2,
        shuffle_wait_ms: 200,
        put_off_ms: 50,
        revoke_grace_ms: 500,
    }
}

pub(super) struct Worker {
    pub(super) slots: usize,
    pub(super) shuffles: bool,
    pub(super) draining: bool,
}

/// What the test believes, from events and actions alone.
pub(super) struct World {
    pub(super) rig: Rig,
    pub(super) workers: BTreeMap<WorkerId, Worker>,
    /// Tasks added to each stage that has not ended.
    pub(super) stages: BTreeMap<StageId, u32>,
    pub(super) live: BTreeMap<AttemptId, WorkerId>,
    pub(super) revoked: BTreeMap<AttemptId, (WorkerId, Duration)>,
    /// Attempts of workers that are gone.
    pub(super) orphans: Vec<(AttemptId, WorkerId)>,
    /// Attempts that have computed what they write, also those that have ended.
    pub(super) flushing: BTreeSet<AttemptId>,
    pub(super) latest: BTreeMap<TaskId, u32>,
    pub(super) done: BTreeMap<TaskId, (AttemptId, WorkerId)>,
    pub(super) consumed: BTreeSet<TaskId>,
    /// Those of the stages that are questions.
    pub(super) questions: BTreeSet<StageId>,
    /// Those that are shuffles, and of how many workers.
    pub(super) shuffles: BTreeMap<StageId, u32>,
    /// Who takes part in the attempts at them, beside their leaders.
    pub(super) peers: BTreeMap<AttemptId, Vec<WorkerId>>,
    /// Whether slots were kept for a shuffle before the last event, or after it.
    pub(super) kept: bool,
    /// Tasks that were put off and not launched again, and when.
    pub(super) put_off: BTreeMap<TaskId, Duration>,
    /// The task that the reader of a stage came to last.
    pub(super) due: BTreeMap<StageId, TaskId>,
    /// What the tasks of each stage look up, also of those that have ended.
    pub(super) stores: BTreeMap<StageId, Vec<StoreDigest>>,
    /// Where tasks ended that looked a store up, also on workers that are gone.
    pub(super) warm: BTreeMap<StoreDigest, BTreeSet<WorkerId>>,
    pub(super) drawn: u32,
}

impl World {
    pub(super) fn new() -> Self {
        Self {
            rig: Rig::with(settings()),
            workers: BTreeMap::new(),
            stages: BTreeMap::new(),
            live: BTreeMap::new(),
            revoked: BTreeMap::new(),
            orphans: Vec::new(),
            flushing: BTreeSet::new(),
            latest: BTreeMap::new(),
            done: BTreeMap::new(),
            consumed: BTreeSet::new(),
            questions: BTreeSet::new(),
            shuffles: BTreeMap::new(),
            peers: BTreeMap::new(),
            kept: false,
            put_off: BTreeMap::new(),
            due: BTreeMap::new(),
            stores: BTreeMap::new(),
            warm: STORES.map(|n| (store(n), BTreeSet::new())).into(),
            drawn: 0,
        }
    }

    pub(super) fn draw(&mut self) -> u32 {
        self.drawn += 1;
        self.drawn
    }

    /// Until when a task rests.
    pub(super) fn rests(&self, id: TaskId) -> Option<Duration> {
        match self.rig.state.stages.get(&id.stage)?.task(id.index)?.phase {
            Phase::Resting { until } => Some(until),
            Phase::Queued { .. } | Phase::Running { .. } | Phase::Done => None,
        }
    }

    /// In how many attempts of others a worker takes part, or does while they stop.
    pub(super) fn beside(&self, worker: WorkerId) -> usize {
        let grace = Duration::from_millis(settings().revoke_grace_ms);
        let is_held = |attempt: &AttemptId| {
            let stops = self.revoked.get(attempt).is_some_and(|(_, at)| *at + grace > self.rig.now);
            stops || self.live.contains_key(attempt)
        };
        let of_it = self.peers.iter().filter(|(_, peers)| peers.contains(&worker));
        of_it.filter(|(attempt, _)| is_held(attempt)).count()
    }

    /// How many questions a worker has or stops, and how many slots tasks take.
    pub(super) fn held_by(&self, worker: WorkerId) -> (usize, usize) {
        let held = self.running_on(worker).chain(self.stopping_on(worker));
        let (questions, tasks): (Vec<_>, Vec<_>) =
            held.partition(|attempt| self.questions.contains(&attempt.task.stage));
        let flushing = tasks.iter().filter(|attempt| self.flushing.contains(attempt)).count();
        let computing = tasks.len() - flushing.min(self.workers[&worker].slots);
        (questions.len(), computing + self.beside(worker))
    }

    /// The current attempts that a worker has.
    pub(super) fn running_on(&self, worker: WorkerId) -> impl Iterator<Item = AttemptId> {
        self.live.iter().filter(move |(_, on)| **on == worker).map(|(attempt, _)| *attempt)
    }

    /// The revoked attempts that hold a slot of a worker.
    pub(super) fn stopping_on(&self, worker: WorkerId) -> impl Iterator<Item = AttemptId> {
        let grace = Duration::from_millis(settings().revoke_grace_ms);
        let holds = move |at: Duration| at + grace > self.rig.now;
        let revoked = self.revoked.iter().filter(move |(_, (on, at))| *on == worker && holds(*at));
        revoked.map(|(attempt, _)| *attempt)
    }
}
