//! The registered workers, with an index for each question that is asked of all of them.
//!
//! Every change of a worker goes through [`Fleet::update`], which keeps the indices true.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use keyloom_common::{AttemptId, WorkerId};

use super::StageKind;
use super::warmth::{StoreDigest, Warmth};

/// Why an attempt holds a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Held {
    /// It is the current attempt of its task.
    Running {
        /// When its worker last named it; before it has, when it was launched.
        since: Duration,
        /// Whether its worker has named it, and so has its order.
        named: bool,
        /// How many heartbeats in a row have not named it.
        missed: u32,
    },
    /// It was revoked, and the worker has not reported its end.
    Stopping {
        /// When the slot is free whatever the worker says.
        until: Duration,
    },
}

/// So many heartbeats must miss an attempt before it can be dropped: one may be just behind its
/// end.
const MISSED: u32 = 3;

/// How long a worker that lives may leave an attempt unnamed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Unnamed {
    /// Before it has named it.
    pub(super) at_first: Duration,
    /// After it has.
    pub(super) again: Duration,
}

/// One registered worker.
#[derive(Debug)]
pub(super) struct Worker {
    pub(super) slots: u32,
    pub(super) draining: bool,
    pub(super) heartbeat: Duration,
    pub(super) attempts: BTreeMap<AttemptId, Held>,
    /// Those of the attempts that are questions.
    questions: BTreeSet<AttemptId>,
}

impl Worker {
    pub(super) fn free_slots(&self) -> usize {
        let taken = self.taken_slots();
        if self.draining { 0 } else { (self.slots as usize).saturating_sub(taken) }
    }

    /// The slots that tasks hold, whose ends may be waited for.
    pub(super) fn taken_slots(&self) -> usize {
        self.attempts.len() - self.questions.len()
    }

    fn remove(&mut self, attempt: AttemptId) -> Option<Held> {
        self.questions.remove(&attempt);
        self.attempts.remove(&attempt)
    }
}

/// A worker that is gone.
#[derive(Debug)]
pub(super) struct Gone {
    /// The current attempts that it ran.
    pub(super) running: Vec<AttemptId>,
    /// Whether it had said that it would go.
    pub(super) draining: bool,
}

/// So many workers with free slots are compared one by one. Of more, those are that the stores of a
/// task know.
pub(super) const COMPARED: usize = 16;

/// A worker with free slots, and how many, in the order in which they are given attempts.
type Free = (Reverse<usize>, WorkerId);

/// All registered workers.
#[derive(Debug, Default)]
pub(super) struct Fleet {
    workers: BTreeMap<WorkerId, Worker>,
    /// Workers that may be given an attempt, the one with the most free slots first.
    free: BTreeSet<Free>,
    /// Which stores are warm on them.
    pub(super) warmth: Warmth,
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
            questions: BTreeSet::new(),
        };
        self.free.insert((Reverse(worker.free_slots()), id));
        self.heartbeats.insert((now, id));
        self.available += 1;
        self.workers.insert(id, worker);
    }

    /// Removes a worker.
    pub(super) fn remove(&mut self, id: WorkerId) -> Option<Gone> {
        let worker = self.workers.remove(&id)?;
        self.free.remove(&(Reverse(worker.free_slots()), id));
        self.heartbeats.remove(&(worker.heartbeat, id));
        self.available -= usize::from(!worker.draining);
        self.warmth.forget(id);
        let mut running = Vec::new();
        for (attempt, held) in worker.attempts {
            match held {
                Held::Running { .. } => running.push(attempt),
                Held::Stopping { until } => {
                    self.stopping.remove(&(until, id, attempt));
                }
            }
        }
        Some(Gone { running, draining: worker.draining })
    }

    /// Notes that a worker lives, and says which of its attempts it should not have.
    pub(super) fn heartbeat(
        &mut self,
        id: WorkerId,
        attempts: Vec<AttemptId>,
        now: Duration,
    ) -> Vec<AttemptId> {
        let Some(worker) = self.workers.get_mut(&id) else { return Vec::new() };
        self.heartbeats.remove(&(worker.heartbeat, id));
        worker.heartbeat = now;
        self.heartbeats.insert((now, id));
        let mut unknown = attempts;
        unknown.retain(|attempt| match worker.attempts.get_mut(attempt) {
            Some(held @ Held::Running { .. }) => {
                *held = Held::Running { since: now, named: true, missed: 0 };
                false
            }
            Some(Held::Stopping { .. }) => false,
            None => true,
        });
        for held in worker.attempts.values_mut() {
            if let Held::Running { since, missed, .. } = held
                && *since < now
            {
                *missed += 1;
            }
        }
        unknown
    }

    /// The current attempts that a worker has dropped, though it lives: it has not named for so
    /// long what it had named before, or for much longer what it was told to start. A worker whose
    /// threads all compute may be slow to read its orders.
    pub(super) fn dropped(&self, id: WorkerId, bounds: Unnamed, now: Duration) -> Vec<AttemptId> {
        let attempts = self.workers.get(&id).into_iter().flat_map(|worker| &worker.attempts);
        let dropped = attempts.filter(|(_, held)| {
            let Held::Running { since, named, missed } = **held else { return false };
            let bound = if named { bounds.again } else { bounds.at_first };
            missed >= MISSED && since.saturating_add(bound) <= now
        });
        dropped.map(|(attempt, _)| *attempt).collect()
    }

    pub(super) fn drain(&mut self, id: WorkerId) {
        self.update(id, |worker| worker.draining = true);
    }

    /// Gives a slot to an attempt.
    pub(super) fn launch(
        &mut self,
        id: WorkerId,
        attempt: AttemptId,
        kind: StageKind,
        now: Duration,
    ) {
        self.update(id, |worker| {
            let held = Held::Running { since: now, named: false, missed: 0 };
            worker.attempts.insert(attempt, held);
            if kind == StageKind::Question {
                worker.questions.insert(attempt);
            }
        });
    }

    /// Takes back the slot of an attempt, and says why it was held; none if it was not.
    pub(super) fn release(&mut self, id: WorkerId, attempt: AttemptId) -> Option<Held> {
        let held = self.update(id, |worker| worker.remove(attempt))??;
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

    /// The best worker for a task that looks these stores up: where the most of them are warm, of
    /// those one with the most free slots; none of `avoid` while another worker exists that could
    /// take the task sooner or later.
    pub(super) fn choose(&self, avoid: &[WorkerId], stores: &[StoreDigest]) -> Option<WorkerId> {
        let is_available = |id: &&WorkerId| self.workers.get(id).is_some_and(|w| !w.draining);
        let elsewhere = avoid.iter().filter(is_available).count() < self.available;
        let may_take = |free: &Free| !elsewhere || !avoid.contains(&free.1);
        let freest = self.free.iter().copied().find(may_take)?;
        Some(self.warmest(freest, stores, may_take))
    }

    /// Of the workers with free slots that may take a task, the one where the most stores are warm.
    /// `freest` is the first of them; if all are warm there, as they are after a while, no other is
    /// looked at.
    fn warmest(
        &self,
        freest: Free,
        stores: &[StoreDigest],
        may_take: impl Fn(&Free) -> bool,
    ) -> WorkerId {
        let warm = |free: Free| self.warmth.count(free.1, stores);
        if self.free.len() == 1 || warm(freest) == stores.len() {
            return freest.1;
        }
        let rank = |free: Free| (Reverse(warm(free)), free);
        let best = if self.free.len() <= COMPARED {
            self.free.iter().copied().filter(may_take).map(rank).min()
        } else {
            let known =
                self.warmth.workers(stores).into_iter().filter_map(|id| self.free_entry(id));
            known.filter(may_take).chain([freest]).map(rank).min()
        };
        best.map_or(freest.1, |(_, (_, id))| id)
    }

    /// A worker's entry among the free ones, if it has one.
    fn free_entry(&self, id: WorkerId) -> Option<Free> {
        let slots = self.workers.get(&id)?.free_slots();
        (slots > 0).then_some((Reverse(slots), id))
    }

    /// A worker that answers another question, of those with the fewest; none of `avoid` while
    /// another is there.
    pub(super) fn choose_for_question(&self, slots: u32, avoid: &[WorkerId]) -> Option<WorkerId> {
        let asked = |worker: &Worker| worker.questions.len();
        let elsewhere = self.workers.iter().any(|(id, w)| !w.draining && !avoid.contains(id));
        let free = self.workers.iter().filter(|(id, worker)| {
            let is_free = !worker.draining && asked(worker) < (slots as usize).max(1);
            is_free && !(elsewhere && avoid.contains(id))
        });
        free.min_by_key(|(_, worker)| asked(worker)).map(|(id, _)| *id)
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
