//! The registered workers, with an index for each question that is asked of all of them.
//!
//! Every change of a worker goes through [`Fleet::update`], which keeps the indices true.

mod choose;
mod heartbeats;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use keyloom_common::{AttemptId, WorkerId};

use super::StageKind;
use super::slots::Slots;
use super::warmth::Warmth;

pub(super) use heartbeats::Unnamed;

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

/// One registered worker.
#[derive(Debug)]
pub(super) struct Worker {
    pub(super) slots: u32,
    pub(super) shuffles: bool,
    pub(super) draining: bool,
    pub(super) heartbeat: Duration,
    pub(super) attempts: BTreeMap<AttemptId, Held>,
    /// Those of the attempts that are questions.
    questions: BTreeSet<AttemptId>,
    /// Those of the attempts that wait until what they write is stored.
    flushing: BTreeSet<AttemptId>,
    /// The attempts of other workers in which it takes part.
    pub(super) beside: BTreeSet<AttemptId>,
}

impl Worker {
    pub(super) fn free_slots(&self) -> usize {
        let taken = self.taken_slots();
        if self.draining { 0 } else { (self.slots as usize).saturating_sub(taken) }
    }

    /// The slots that tasks hold, whose ends may be waited for.
    pub(super) fn taken_slots(&self) -> usize {
        // A storage that stands still holds up no more than this.
        let flushing = self.flushing.len().min(self.slots as usize);
        self.attempts.len() - self.questions.len() - flushing + self.beside.len()
    }

    /// Whether nobody waits for anything of it.
    fn is_idle(&self) -> bool {
        self.attempts.is_empty() && self.beside.is_empty()
    }

    fn remove(&mut self, attempt: AttemptId) -> Option<Held> {
        self.questions.remove(&attempt);
        self.flushing.remove(&attempt);
        self.attempts.remove(&attempt)
    }
}

/// A worker that is gone.
#[derive(Debug)]
pub(super) struct Gone {
    /// The current attempts that it ran.
    pub(super) running: Vec<AttemptId>,
    /// The attempts of other workers in which it took part.
    pub(super) beside: BTreeSet<AttemptId>,
    /// Whether it had said that it would go.
    pub(super) draining: bool,
}

/// So many workers with free slots are compared one by one. Of more, those are that the stores of a
/// task know.
pub(super) const COMPARED: usize = 16;

/// All registered workers.
#[derive(Debug, Default)]
pub(super) struct Fleet {
    workers: BTreeMap<WorkerId, Worker>,
    /// The slots that they have to give.
    slots: Slots,
    /// The workers that gave an attempt of another one a slot.
    lent: BTreeMap<AttemptId, Vec<WorkerId>>,
    /// Which stores are warm on them.
    pub(super) warmth: Warmth,
    /// Workers that are not draining.
    available: usize,
    /// Those of them that shuffle.
    shufflers: usize,
    /// The longest silent worker first.
    heartbeats: BTreeSet<(Duration, WorkerId)>,
    /// The first slot to be taken back first.
    stopping: BTreeSet<(Duration, WorkerId, AttemptId)>,
    /// Draining workers that hold nothing any more, until they are taken.
    drained: Vec<WorkerId>,
}

impl Fleet {
    /// Registers a worker, unless it is.
    pub(super) fn join(&mut self, id: WorkerId, slots: u32, shuffles: bool, now: Duration) {
        if self.workers.contains_key(&id) {
            return;
        }
        let worker = Worker {
            slots: slots.max(1),
            shuffles,
            draining: false,
            heartbeat: now,
            attempts: BTreeMap::new(),
            questions: BTreeSet::new(),
            flushing: BTreeSet::new(),
            beside: BTreeSet::new(),
        };
        self.slots.put_in(id, &worker);
        self.heartbeats.insert((now, id));
        self.available += 1;
        self.shufflers += usize::from(shuffles);
        self.workers.insert(id, worker);
    }

    /// Removes a worker.
    pub(super) fn remove(&mut self, id: WorkerId) -> Option<Gone> {
        let worker = self.workers.remove(&id)?;
        self.slots.take_out(id, &worker);
        self.heartbeats.remove(&(worker.heartbeat, id));
        self.available -= usize::from(!worker.draining);
        self.shufflers -= usize::from(worker.shuffles && !worker.draining);
        self.warmth.forget(id);
        let mut running = Vec::new();
        for (attempt, held) in worker.attempts {
            self.give_back(attempt);
            match held {
                Held::Running { .. } => running.push(attempt),
                Held::Stopping { until } => {
                    self.stopping.remove(&(until, id, attempt));
                }
            }
        }
        Some(Gone { running, beside: worker.beside, draining: worker.draining })
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

    /// Takes the slot of an attempt back that waits until what it writes is stored. None that the
    /// worker does not run as the current one of its task.
    pub(super) fn flush(&mut self, id: WorkerId, attempt: AttemptId) {
        self.update(id, |worker| {
            if let Some(Held::Running { .. }) = worker.attempts.get(&attempt)
                && !worker.questions.contains(&attempt)
            {
                worker.flushing.insert(attempt);
            }
        });
    }

    /// Gives an attempt a slot of each of these workers, too, for as long as it holds the one of
    /// the worker that runs it.
    pub(super) fn lend(&mut self, attempt: AttemptId, peers: &[WorkerId]) {
        for peer in peers {
            self.update(*peer, |worker| worker.beside.insert(attempt));
        }
        self.lent.insert(attempt, peers.to_vec());
    }

    /// The workers that gave an attempt of another one a slot, also those that are gone since.
    pub(super) fn peers(&self, attempt: AttemptId) -> Vec<WorkerId> {
        self.lent.get(&attempt).cloned().unwrap_or_default()
    }

    fn give_back(&mut self, attempt: AttemptId) {
        for peer in self.lent.remove(&attempt).unwrap_or_default() {
            self.update(peer, |worker| worker.beside.remove(&attempt));
        }
    }

    /// Takes back the slots of an attempt, and says why they were held; none if they were not.
    pub(super) fn release(&mut self, id: WorkerId, attempt: AttemptId) -> Option<Held> {
        let held = self.update(id, |worker| worker.remove(attempt))??;
        if let Held::Stopping { until } = held {
            self.stopping.remove(&(until, id, attempt));
        }
        self.give_back(attempt);
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

    /// Keeps one slot of each worker that shuffles for a shuffle that waits, or none any more.
    pub(super) fn keep_slots(&mut self, kept: bool) {
        if self.slots.are_kept() == kept {
            return;
        }
        let free = self.slots.shufflers().iter();
        let free: Vec<_> = free.filter_map(|id| Some((*id, self.workers.get(id)?))).collect();
        free.iter().for_each(|(id, worker)| self.slots.take_out(*id, worker));
        self.slots.keep(kept);
        free.iter().for_each(|(id, worker)| self.slots.put_in(*id, worker));
    }

    /// How many workers that shuffle have a free slot, kept or not.
    pub(super) fn free_shufflers(&self) -> usize {
        self.slots.shufflers().len()
    }

    /// How many workers shuffle, now or once they have a free slot.
    pub(super) fn shufflers(&self) -> usize {
        self.shufflers
    }

    /// Whether a worker has a free slot that is not kept.
    pub(super) fn has_free_slot(&self) -> bool {
        !self.slots.free().is_empty()
    }

    /// How many workers take new attempts, now or once they have a free slot.
    pub(super) fn available(&self) -> usize {
        self.available
    }

    /// Whether any worker takes new attempts, now or once it has a free slot.
    pub(super) fn is_available(&self) -> bool {
        self.available > 0
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
        self.slots.take_out(id, worker);
        let changed = change(worker);
        self.slots.put_in(id, worker);
        let drains = worker.draining && !was_draining;
        self.available -= usize::from(drains);
        self.shufflers -= usize::from(drains && worker.shuffles);
        if worker.draining && worker.is_idle() {
            self.drained.push(id);
        }
        Some(changed)
    }
}
