//! Which workers have slots to give, and what of them is kept for a shuffle that waits.
//!
//! Who changes a worker takes it out before and puts it in again after.

use std::{cmp::Reverse, collections::BTreeSet};

use keyloom_common::WorkerId;

use super::fleet::Worker;

/// A worker with free slots, and how many, in the order in which they are given attempts.
pub(super) type Free = (Reverse<usize>, WorkerId);

/// The free slots of all workers.
#[derive(Debug, Default)]
pub(super) struct Slots {
    /// Workers that may be given an attempt, the one with the most free slots first.
    free: BTreeSet<Free>,
    /// Those that shuffle and have a free slot, kept or not.
    shufflers: BTreeSet<WorkerId>,
    /// Whether each of these keeps one.
    kept: bool,
}

impl Slots {
    pub(super) fn take_out(&mut self, id: WorkerId, worker: &Worker) {
        self.free.remove(&(Reverse(self.offered(worker)), id));
        self.shufflers.remove(&id);
    }

    pub(super) fn put_in(&mut self, id: WorkerId, worker: &Worker) {
        let offered = self.offered(worker);
        if offered > 0 {
            self.free.insert((Reverse(offered), id));
        }
        if worker.shuffles && worker.free_slots() > 0 {
            self.shufflers.insert(id);
        }
    }

    /// The slots of a worker that anybody may be given.
    fn offered(&self, worker: &Worker) -> usize {
        let kept = self.kept && worker.shuffles;
        worker.free_slots().saturating_sub(usize::from(kept))
    }

    /// A worker's entry among the free ones, if it has one.
    pub(super) fn entry(&self, id: WorkerId, worker: &Worker) -> Option<Free> {
        let offered = self.offered(worker);
        (offered > 0).then_some((Reverse(offered), id))
    }

    /// Workers that may be given an attempt, the one with the most free slots first.
    pub(super) fn free(&self) -> &BTreeSet<Free> {
        &self.free
    }

    /// Workers that shuffle and have a free slot, kept or not.
    pub(super) fn shufflers(&self) -> &BTreeSet<WorkerId> {
        &self.shufflers
    }

    /// Whether a slot of each worker that shuffles is kept.
    pub(super) fn are_kept(&self) -> bool {
        self.kept
    }

    /// Keeps one slot of each worker that shuffles, or none. Those with free slots are out.
    pub(super) fn keep(&mut self, kept: bool) {
        self.kept = kept;
    }
}
