//! The registered workers, with an index for each question that is asked of all of them.
//!
//! Every change of a worker goes through [`Fleet::update`], which keeps the indices true.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use keyloom_common::{AttemptId, WorkerId};

/// Why an attempt holds a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Held {
    /// It is the current attempt of its task.
    Running,
    /// It was revoked, and the worker has not reported its end.
    Stopping {
        /// When the slot is free whatever the worker says.
        until: Duration,
    },
}

/// One registered worker.
#[derive(Debug)]
pub(super) struct Worker {
    pub(super) slots: u32,
    pub(super) draining: bool,
    pub(super) heartbeat: Duration,
    pub(super) attempts: BTreeMap<AttemptId, Held>,
}

impl Worker {
    fn free_slots(&self) -> usize {
        if self.draining { 0 } else { (self.slots as usize).saturating_sub(self.attempts.len()) }
    }
}

/// All registered workers.
#[derive(Debug, Default)]
pub(super) struct Fleet {
    workers: BTreeMap<WorkerId, Worker>,
    /// Workers that may be given an attempt, the one with the most free slots first.
    free: BTreeSet<(Reverse<usize>, WorkerId)>,
    /// Workers that are not draining.
    available: usize,
    /// The longest silent worker first.
    heartbeats: BTreeSet<(Duration, WorkerId)>,
    /// The first slot to be taken back first.
    stopping: BTreeSet<(Duration, WorkerId, AttemptId)>,
    /// Draining workers that hold nothing any more, until they are taken.
    drained: Vec<WorkerId>,
}

impl Fleet {
    /// Registers a worker, unless it is.
    pub(super) fn join(&mut self, id: WorkerId, slots: u32, now: Duration) {
        if self.workers.contains_key(&id) {
            return;
        }
        let worker = Worker {
            slots: slots.max(1),
            draining: false,
            heartbeat: now,
            attempts: BTreeMap::new(),
        };
        self.free.insert((Reverse(worker.free_slots()), id));
        self.heartbeats.insert((now, id));
        self.available += 1;
        self.workers.insert(id, worker);
    }

    /// Removes a worker, and gives the current attempts that it ran.
    pub(super) fn remove(&mut self, id: WorkerId) -> Option<Vec<AttemptId>> {
        let worker = self.workers.remove(&id)?;
        self.free.remove(&(Reverse(worker.free_slots()), id));
        self.heartbeats.remove(&(worker.heartbeat, id));
        self.available -= usize::from(!worker.draining);
        let mut running = Vec::new();
        for (attempt, held) in worker.attempts {
            match held {
                Held::Running => running.push(attempt),
                Held::Stopping { until } => {
                    self.stopping.remove(&(until, id, attempt));
                }
            }
        }
        Some(running)
    }

    pub(super) fn heartbeat(&mut self, id: WorkerId, now: Duration) {
        let Some(worker) = self.workers.get_mut(&id) else { return };
        self.heartbeats.remove(&(worker.heartbeat, id));
        worker.heartbeat = now;
        self.heartbeats.insert((now, id));
    }

    pub(super) fn drain(&mut self, id: WorkerId) {
        self.update(id, |worker| worker.draining = true);
    }

    /// Gives a slot to an attempt.
    pub(super) fn launch(&mut self, id: WorkerId, attempt: AttemptId) {
        self.update(id, |worker| worker.attempts.insert(attempt, Held::Running));
    }

    /// Takes back the slot of an attempt, and says why it was held; none if it was not.
    pub(super) fn release(&mut self, id: WorkerId, attempt: AttemptId) -> Option<Held> {
        let held = self.update(id, |worker| worker.attempts.remove(&attempt))??;
        if let Held::Stopping { until } = held {
            self.stopping.remove(&(until, id, attempt));
        }
        Some(held)
    }

    /// Lets an attempt hold its slot only until the worker reports its end, or `until`. False if
    /// the worker does not hold it.
    pub(super) fn stop(&mut self, id: WorkerId, attempt: AttemptId, until: Duration) -> bool {
        let held = self.workers.get_mut(&id).and_then(|worker| worker.attempts.get_mut(&attempt));
        let Some(held) = held else { return false };
        *held = Held::Stopping { until };
        self.stopping.insert((until, id, attempt))
    }

    /// Takes back the slots of revoked attempts that were not reported in time.
    pub(super) fn expire(&mut self, now: Duration) {
        while let Some(&(until, id, attempt)) = self.stopping.first()
            && until <= now
        {
            self.stopping.pop_first();
            self.release(id, attempt);
        }
    }

    /// The best worker for a task: one with the most free slots, none of `avoid` while another
    /// worker exists that could take the task sooner or later.
    pub(super) fn choose(&self, avoid: &[WorkerId]) -> Option<WorkerId> {
        let is_available = |id: &&WorkerId| self.workers.get(id).is_some_and(|w| !w.draining);
        let elsewhere = avoid.iter().filter(is_available).count() < self.available;
        let mut free = self.free.iter().map(|(_, id)| *id);
        free.find(|id| !elsewhere || !avoid.contains(id))
    }

    pub(super) fn has_free_slot(&self) -> bool {
        !self.free.is_empty()
    }

    /// How many workers take new attempts, now or once they have a free slot.
    pub(super) fn available(&self) -> usize {
        self.available
    }

    /// Whether any worker takes new attempts, now or once it has a free slot.
    pub(super) fn is_available(&self) -> bool {
        self.available > 0
    }

    /// The worker that was silent for the longest time, and since when.
    pub(super) fn most_silent(&self) -> Option<(Duration, WorkerId)> {
        self.heartbeats.first().copied()
    }

    /// When the next slot of a revoked attempt is taken back.
    pub(super) fn next_expiry(&self) -> Option<Duration> {
        self.stopping.first().map(|(until, ..)| *until)
    }

    /// The workers that became free to go since the last call; each is still registered.
    pub(super) fn take_drained(&mut self) -> Vec<WorkerId> {
        std::mem::take(&mut self.drained)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&WorkerId, &Worker)> {
        self.workers.iter()
    }

    fn update<T>(&mut self, id: WorkerId, change: impl FnOnce(&mut Worker) -> T) -> Option<T> {
        let worker = self.workers.get_mut(&id)?;
        let was_draining = worker.draining;
        self.free.remove(&(Reverse(worker.free_slots()), id));
        let changed = change(worker);
        if worker.free_slots() > 0 {
            self.free.insert((Reverse(worker.free_slots()), id));
        }
        self.available -= usize::from(worker.draining && !was_draining);
        if worker.draining && worker.attempts.is_empty() {
            self.drained.push(id);
        }
        Some(changed)
    }
}
