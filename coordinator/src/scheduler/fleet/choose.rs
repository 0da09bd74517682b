//! The best worker for a task, of those that may be given one.

use std::cmp::Reverse;

use keyloom_common::WorkerId;

use super::{COMPARED, Fleet, Worker};
use crate::scheduler::{slots::Free, warmth::StoreDigest};

impl Fleet {
    /// The best worker for a task that looks these stores up: where the most of them are warm, of
    /// those one with the most free slots; none of `avoid` while another worker exists that could
    /// take the task sooner or later.
    pub(in crate::scheduler) fn choose(
        &self,
        avoid: &[WorkerId],
        stores: &[StoreDigest],
    ) -> Option<WorkerId> {
        let is_available = |id: &&WorkerId| self.workers.get(id).is_some_and(|w| !w.draining);
        let elsewhere = avoid.iter().filter(is_available).count() < self.available;
        let may_take = |free: &Free| !elsewhere || !avoid.contains(&free.1);
        let freest = self.slots.free().iter().copied().find(may_take)?;
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
        let (warm, all) = (|free: Free| self.warmth.count(free.1, stores), self.slots.free());
        if all.len() == 1 || warm(freest) == stores.len() {
            return freest.1;
        }
        let rank = |free: Free| (Reverse(warm(free)), free);
        let best = if all.len() <= COMPARED {
            all.iter().copied().filter(may_take).map(rank).min()
        } else {
            let known =
                self.warmth.workers(stores).into_iter().filter_map(|id| self.free_entry(id));
            known.filter(may_take).chain([freest]).map(rank).min()
        };
        best.map_or(freest.1, |(_, (_, id))| id)
    }

    /// A worker's entry among the free ones, if it has one.
    fn free_entry(&self, id: WorkerId) -> Option<Free> {
        self.slots.entry(id, self.workers.get(&id)?)
    }

    /// The workers with a free slot, kept or not, that run a shuffle together, so many at most. The
    /// first leads it, and is none of `avoid` if another one is there.
    pub(in crate::scheduler) fn choose_together(
        &self,
        most: usize,
        avoid: &[WorkerId],
        stores: &[StoreDigest],
    ) -> Vec<WorkerId> {
        let rank = |id: &WorkerId| {
            let free = self.workers.get(id).map_or(0, Worker::free_slots);
            (Reverse(self.warmth.count(*id, stores)), Reverse(free), *id)
        };
        let mut chosen: Vec<_> = self.slots.shufflers().iter().copied().collect();
        chosen.sort_by_cached_key(rank);
        chosen.truncate(most);
        if let Some(leader) = chosen.iter().position(|id| !avoid.contains(id)) {
            chosen.swap(0, leader);
        }
        chosen
    }

    /// A worker that answers another question, of those with the fewest; none of `avoid` while
    /// another is there.
    pub(in crate::scheduler) fn choose_for_question(
        &self,
        slots: u32,
        avoid: &[WorkerId],
    ) -> Option<WorkerId> {
        let asked = |worker: &Worker| worker.questions.len();
        let elsewhere = self.workers.iter().any(|(id, w)| !w.draining && !avoid.contains(id));
        let free = self.workers.iter().filter(|(id, worker)| {
            let is_free = !worker.draining && asked(worker) < (slots as usize).max(1);
            is_free && !(elsewhere && avoid.contains(id))
        });
        free.min_by_key(|(_, worker)| asked(worker)).map(|(id, _)| *id)
    }
}
