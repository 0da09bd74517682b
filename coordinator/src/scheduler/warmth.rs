//! Which stores are warm on which workers: a task that looked them up ended there lately, so their
//! blocks and maps are likely there still.
//!
//! It is a hint. It chooses among workers that could all begin at once, so nobody waits for it; and
//! what it forgets is read once more. So it may be small, whatever happens.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};

use keyloom_common::WorkerId;

/// So many of a stage's stores count.
pub(super) const STORES_OF_A_STAGE: usize = 16;

/// So many stores are known to be warm on a worker, the last ones that it had.
const STORES_OF_A_WORKER: usize = 64;

/// So many workers are known by each store, the last ones that had it: those are the likeliest to
/// have a free slot.
pub(super) const WORKERS_OF_A_STORE: usize = 16;

/// A store at a snapshot. Two that share a digest by chance only cost a worker that reads what
/// another has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct StoreDigest(u64);

impl StoreDigest {
    /// The digest of what tells a store from others.
    pub(crate) fn of(store: &impl Hash) -> Self {
        let mut hasher = DefaultHasher::new();
        store.hash(&mut hasher);
        Self(hasher.finish())
    }
}

/// What is warm, from both sides.
#[derive(Debug, Default)]
pub(super) struct Warmth {
    stores: BTreeMap<WorkerId, Recent<StoreDigest, STORES_OF_A_WORKER>>,
    /// The same the other way round, of fewer workers: each is one of `stores`.
    workers: BTreeMap<StoreDigest, Recent<WorkerId, WORKERS_OF_A_STORE>>,
}

impl Warmth {
    /// Notes that a task which looked these stores up has ended on a worker.
    pub(super) fn note(&mut self, worker: WorkerId, stores: &[StoreDigest]) {
        if stores.is_empty() {
            return;
        }
        let known = self.stores.entry(worker).or_default();
        for store in stores {
            let cold = known.note(*store);
            self.workers.entry(*store).or_default().note(worker);
            if let Some(cold) = cold {
                leave(&mut self.workers, cold, worker);
            }
        }
    }

    /// Forgets a worker.
    pub(super) fn forget(&mut self, worker: WorkerId) {
        let Some(known) = self.stores.remove(&worker) else { return };
        for store in known.0 {
            leave(&mut self.workers, store, worker);
        }
    }

    /// How many of these stores are warm on a worker.
    pub(super) fn count(&self, worker: WorkerId, stores: &[StoreDigest]) -> usize {
        if stores.is_empty() {
            return 0;
        }
        let Some(known) = self.stores.get(&worker) else { return 0 };
        stores.iter().filter(|store| known.0.contains(store)).count()
    }

    /// The workers that had one of these stores last.
    pub(super) fn workers(&self, stores: &[StoreDigest]) -> BTreeSet<WorkerId> {
        let workers = stores.iter().filter_map(|store| self.workers.get(store));
        workers.flat_map(|workers| workers.0.iter().copied()).collect()
    }
}

/// Takes a worker from those of a store.
fn leave(
    workers: &mut BTreeMap<StoreDigest, Recent<WorkerId, WORKERS_OF_A_STORE>>,
    store: StoreDigest,
    worker: WorkerId,
) {
    let Some(of_it) = workers.get_mut(&store) else { return };
    of_it.0.retain(|other| *other != worker);
    if of_it.0.is_empty() {
        workers.remove(&store);
    }
}

/// The last different things that were noted, the latest first, and no more than `MOST`.
#[derive(Debug)]
struct Recent<T, const MOST: usize>(Vec<T>);

impl<T, const MOST: usize> Default for Recent<T, MOST> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T: PartialEq, const MOST: usize> Recent<T, MOST> {
    /// Puts a thing in front, and gives what had to go for it.
    fn note(&mut self, thing: T) -> Option<T> {
        if let Some(at) = self.0.iter().position(|known| *known == thing) {
            self.0[..=at].rotate_right(1);
            return None;
        }
        let gone = if self.0.len() < MOST { None } else { self.0.pop() };
        self.0.insert(0, thing);
        gone
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store(n: usize) -> StoreDigest {
        StoreDigest::of(&n)
    }

    fn worker(n: usize) -> WorkerId {
        WorkerId::from_u128(n as u128)
    }

    #[test]
    fn the_least_recently_noted_goes_first() {
        let mut recent = Recent::<_, 3>::default();
        for (thing, gone) in
            [(1, None), (2, None), (3, None), (1, None), (4, Some(2)), (4, None), (5, Some(3))]
        {
            assert_eq!(recent.note(thing), gone, "{thing}");
        }
        assert_eq!(recent.0, [5, 4, 1]);
    }

    #[test]
    fn a_digest_tells_stores_apart() {
        assert_eq!(store(1), store(1));
        assert_ne!(store(1), store(2));
    }

    #[test]
    fn what_is_kept_is_bounded_and_goes_with_the_workers() {
        const WORKERS: usize = 100;
        let mut warmth = Warmth::default();
        for n in 0..10 * STORES_OF_A_WORKER {
            for w in 0..WORKERS {
                warmth.note(worker(w), &[store(n), store(n + 1)]);
            }
        }
        assert!(warmth.stores.values().all(|known| known.0.len() == STORES_OF_A_WORKER));
        assert_eq!(warmth.workers.len(), STORES_OF_A_WORKER);
        assert!(warmth.workers.values().all(|known| known.0.len() == WORKERS_OF_A_STORE));
        (0..WORKERS).for_each(|w| warmth.forget(worker(w)));
        assert!(warmth.stores.is_empty() && warmth.workers.is_empty(), "{warmth:?}");
    }

    #[test]
    fn workers_and_stores_know_each_other() {
        let mut warmth = Warmth::default();
        warmth.note(worker(1), &[store(1), store(2)]);
        warmth.note(worker(2), &[store(2)]);
        warmth.note(worker(3), &[]);
        let counts = |warmth: &Warmth| {
            [1, 2, 3].map(|n| warmth.count(worker(n), &[store(1), store(2), store(3)]))
        };
        assert_eq!(counts(&warmth), [2, 1, 0]);
        let both = BTreeSet::from([worker(1), worker(2)]);
        assert_eq!(warmth.workers(&[store(2), store(1)]), both);
        warmth.forget(worker(1));
        assert_eq!(counts(&warmth), [0, 1, 0]);
        assert_eq!(warmth.workers(&[store(2), store(1)]), BTreeSet::from([worker(2)]));
        assert_eq!(warmth.workers(&[store(1)]), BTreeSet::new());
    }
}
