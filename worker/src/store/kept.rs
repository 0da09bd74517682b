//! Caches whose values take of the memory that tasks share, and give way to them.
//!
//! Each has a bound of its own. Where others leave less, a value is kept in place of some that were
//! kept before, or not at all. One that had to go while somebody has it is not made twice.

mod together;

use std::{
    collections::HashMap,
    hash::Hash,
    ops::Deref,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, Ordering},
    },
};

use keyloom_common::{
    Result,
    memory::{MemoryBudget, Reserved},
};
use quick_cache::{DefaultHashBuilder, Equivalent, OptionsBuilder, Weighter, sync::Cache};

use crate::memory::resize;

/// Values by their names.
#[derive(Debug)]
pub(super) struct KeptCache<K, T> {
    cache: Cache<K, Arc<Kept<T>>, Bytes>,
    /// What was made to be kept, as long as anybody has it: also if it is kept no longer.
    held: Mutex<HashMap<K, Weak<Kept<T>>>>,
    most: u64,
    memory: MemoryBudget,
}

/// A value, and the memory that it takes while anybody has it.
#[derive(Debug)]
pub(super) struct Kept<T> {
    value: T,
    room: Reserved,
    /// Whether it was asked for since unused values were last let go.
    was_used: AtomicBool,
}

#[derive(Clone, Copy, Debug)]
struct Bytes;

impl<K, T> Weighter<K, Arc<Kept<T>>> for Bytes {
    fn weight(&self, _name: &K, kept: &Arc<Kept<T>>) -> u64 {
        kept.room.bytes()
    }
}

impl<T> Kept<T> {
    /// A value of so many bytes, in room that was made for about as many.
    pub(super) fn new(value: T, bytes: u64, room: Reserved) -> Arc<Self> {
        // What weighs nothing is never evicted.
        resize(&room, bytes.max(1));
        Arc::new(Self { value, room, was_used: AtomicBool::new(true) })
    }
}

impl<T> Deref for Kept<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<K: Clone + Eq + Hash, T> KeptCache<K, T> {
    /// Keeps at most so many bytes, in values of about so many.
    pub(super) fn new(most: u64, value_bytes: u64, memory: &MemoryBudget) -> Self {
        let most = most.min(memory.bytes());
        let items = (most / value_bytes.max(1)).clamp(64, 1 << 16) as usize;
        let mut options = OptionsBuilder::new();
        // With several shards, an item may be larger than its shard while the whole has room.
        options.shards(1).estimated_items_capacity(items).weight_capacity(most);
        let options = options.build().expect("both capacities are set");
        let hasher = DefaultHashBuilder::default();
        let cache = Cache::with_options(options, Bytes, hasher, Default::default());
        // What is being made counts, too.
        Self { cache, held: Mutex::default(), most, memory: memory.part("all", u64::MAX) }
    }

    /// A value that is kept. One that somebody else still has is kept again.
    pub(super) fn get(&self, name: &K) -> Option<Arc<Kept<T>>> {
        let kept = self.cache.get(name).or_else(|| {
            let held = self.held().get(name)?.upgrade()?;
            self.cache.insert(name.clone(), held.clone());
            Some(held)
        })?;
        kept.was_used.store(true, Ordering::Relaxed);
        Some(kept)
    }

    /// A value that is kept, by what is as good as its name. One that somebody has and that is kept
    /// no longer is not found.
    pub(super) fn peek<Q: Hash + Equivalent<K>>(&self, name: &Q) -> Option<Arc<Kept<T>>> {
        let kept = self.cache.get(name)?;
        kept.was_used.store(true, Ordering::Relaxed);
        Some(kept)
    }

    /// Keeps a value of so many bytes, if there is room.
    pub(super) fn put(&self, name: K, value: T, bytes: u64) {
        if let Some(room) = self.room(bytes) {
            self.cache.insert(name, Kept::new(value, bytes, room));
        }
    }

    /// Keeps a value no longer.
    pub(super) fn remove(&self, name: &K) {
        self.held().remove(name);
        self.cache.remove(name);
    }

    /// A value, made and kept unless it is kept already, or somebody has it. Nobody else makes it
    /// meanwhile.
    pub(super) async fn get_or_make<E>(
        &self,
        name: &K,
        make: impl Future<Output = Result<Arc<Kept<T>>, E>>,
    ) -> Result<Arc<Kept<T>>, E> {
        let make = async {
            let held = self.held().get(name).and_then(Weak::upgrade);
            if let Some(held) = held {
                return Ok::<_, E>(held);
            }
            let made = make.await?;
            let mut all = self.held();
            all.retain(|_, other| other.strong_count() > 0);
            all.insert(name.clone(), Arc::downgrade(&made));
            Ok(made)
        };
        let kept = self.cache.get_or_insert_async(name, make).await?;
        kept.was_used.store(true, Ordering::Relaxed);
        Ok(kept)
    }

    /// A value of about so many bytes, made unless it is kept, and kept then if there is room.
    pub(super) async fn get_or_pass(
        &self,
        name: &K,
        bytes: u64,
        weigh: fn(&T) -> u64,
        make: impl Future<Output = Result<T>>,
    ) -> Result<T>
    where
        T: Clone,
    {
        let guard = match self.cache.get_value_or_guard_async(name).await {
            Ok(kept) => return Ok(kept.value.clone()),
            Err(guard) => guard,
        };
        let Some(room) = self.room(bytes) else {
            // Whoever waits for this finds no room, either, and is not to wait.
            drop(guard);
            return make.await;
        };
        let value = make.await?;
        let bytes = weigh(&value);
        // If it is not wanted any more, it is only not kept.
        let _ = guard.insert(Kept::new(value.clone(), bytes, room));
        Ok(value)
    }

    /// The most bytes that it may keep.
    pub(super) fn most(&self) -> u64 {
        self.most
    }

    /// The bytes that it keeps.
    pub(super) fn bytes(&self) -> u64 {
        self.cache.weight()
    }

    /// The most that it could keep now, as far as others leave it memory.
    pub(super) fn there_is(&self) -> u64 {
        self.most.min(self.memory.used().saturating_add(self.memory.free()))
    }

    /// Room that may not be free.
    pub(super) fn force(&self, bytes: u64) -> Reserved {
        self.memory.force(bytes)
    }

    /// Room for another value, in place of others if need be, and beyond the bound if there is none.
    pub(super) fn room_or_force(&self, bytes: u64) -> Reserved {
        self.room(bytes).unwrap_or_else(|| self.force(bytes))
    }

    /// Room for another value, in place of others if need be. None if there is none.
    pub(super) fn room(&self, bytes: u64) -> Option<Reserved> {
        if bytes > self.most {
            return None;
        }
        let room = self.memory.try_take(bytes).ok();
        room.or_else(|| {
            self.let_go(bytes.saturating_sub(self.memory.free()));
            self.memory.try_take(bytes).ok()
        })
    }

    /// Lets go of about so many bytes.
    pub(super) fn let_go(&self, bytes: u64) {
        let kept = self.bytes();
        if kept == 0 || bytes == 0 {
            return;
        }
        // Next to nothing goes, too: of a small capacity the cache's own shares are rounded, and
        // they are the same parts of the usual one afterwards.
        let left = Some(kept.saturating_sub(bytes)).filter(|left| *left > self.most / 64);
        self.cache.set_capacity(left.unwrap_or(0));
        self.cache.set_capacity(self.most);
    }

    /// Lets go of what nobody has, nor asked for since this was last called.
    pub(super) fn let_go_unused(&self) {
        self.cache.retain(|_, kept| {
            let is_held = Arc::strong_count(kept) > 1;
            kept.was_used.swap(is_held, Ordering::Relaxed) || is_held
        });
    }

    fn held(&self) -> MutexGuard<'_, HashMap<K, Weak<Kept<T>>>> {
        // No change leaves them half-done, so a poisoned lock guards sound contents.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many values there are.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.cache.len()
    }
}

#[cfg(test)]
mod tests {
    use keyloom_common::Error;

    use super::*;

    const MIB: u64 = 1 << 20;

    /// Of a value.
    const BYTES: u64 = 10 * MIB;

    /// Memory of 100 MiB, and a cache that may keep half of it.
    fn half() -> (MemoryBudget, KeptCache<u32, u32>) {
        let memory = MemoryBudget::new("memory_bytes", 100 * MIB);
        let cache = KeptCache::new(50 * MIB, BYTES, &memory);
        (memory, cache)
    }

    /// Keeps a number if there is room.
    async fn keep(cache: &KeptCache<u32, u32>, number: u32) {
        let value = async { Ok(number) };
        let value = cache.get_or_pass(&number, BYTES, |_| BYTES, value).await;
        assert_eq!(value, Ok(number));
    }

    /// How many values are kept, and the mebibytes that are taken.
    fn state(cache: &KeptCache<u32, u32>, memory: &MemoryBudget) -> (usize, u64) {
        (cache.len(), memory.used() / MIB)
    }

    #[tokio::test]
    async fn what_is_kept_takes_memory_and_gives_it_back() {
        let (memory, cache) = half();
        for number in 0..20 {
            keep(&cache, number).await;
            assert!(memory.used() <= 50 * MIB);
        }
        assert_eq!((state(&cache, &memory), cache.there_is()), ((5, 50), 50 * MIB));
        cache.let_go(25 * MIB);
        assert_eq!(state(&cache, &memory), (2, 20));
        // It may keep as much as before.
        for number in 20..40 {
            keep(&cache, number).await;
        }
        assert_eq!(state(&cache, &memory), (5, 50));
        cache.let_go(u64::MAX);
        assert_eq!(state(&cache, &memory), (0, 0));
        keep(&cache, 1).await;
        assert_eq!(cache.get(&1).as_deref().map(Deref::deref), Some(&1));
    }

    #[tokio::test]
    async fn where_others_leave_less_values_are_kept_in_place_of_others_or_not_at_all() {
        let (memory, cache) = half();
        let others = memory.try_take(75 * MIB).unwrap();
        for number in 0..20 {
            keep(&cache, number).await;
            assert!(memory.used() <= 100 * MIB);
        }
        assert_eq!((state(&cache, &memory), cache.there_is()), ((2, 95), 25 * MIB));
        assert!(cache.room(26 * MIB).is_none() && cache.room(25 * MIB).is_some());
        cache.let_go(u64::MAX);
        others.try_grow(20 * MIB).unwrap();
        keep(&cache, 1).await;
        assert_eq!(state(&cache, &memory), (0, 95));
    }

    #[test]
    fn what_is_put_takes_the_place_of_what_was_there_before() {
        let (memory, cache) = half();
        cache.put(1, 1, BYTES);
        cache.put(1, 2, BYTES);
        cache.put(2, 3, 51 * MIB);
        assert_eq!(cache.get(&1).as_deref().map(Deref::deref), Some(&2));
        assert_eq!((cache.get(&2).is_none(), state(&cache, &memory)), (true, (1, 10)));
        for number in 3..20 {
            cache.put(number, number, BYTES);
        }
        assert_eq!(state(&cache, &memory), (5, 50));
    }

    #[tokio::test]
    async fn who_has_a_value_has_its_memory() {
        let (memory, cache) = half();
        keep(&cache, 7).await;
        let held = cache.get(&7);
        cache.let_go(u64::MAX);
        assert_eq!(state(&cache, &memory), (0, 10));
        drop(held);
        assert_eq!(state(&cache, &memory), (0, 0));
    }

    #[tokio::test]
    async fn a_value_counts_as_what_it_turns_out_to_be() {
        let (memory, cache) = half();
        for (number, mebibytes, state_after) in [(1, 40, (1, 40)), (2, 60, (1, 40))] {
            make(&cache, number, mebibytes * MIB).await;
            assert_eq!(state(&cache, &memory), state_after, "{mebibytes} MiB");
        }
    }

    /// Makes a number to be kept, unless somebody has it.
    async fn make(cache: &KeptCache<u32, u32>, number: u32, bytes: u64) -> Arc<Kept<u32>> {
        let value = async {
            let room = cache.room(BYTES).unwrap();
            Ok::<_, Error>(Kept::new(number, bytes, room))
        };
        cache.get_or_make(&number, value).await.unwrap()
    }

    #[tokio::test]
    async fn what_somebody_has_is_not_made_again() {
        let (memory, cache) = half();
        // One of them is larger than all that may be kept.
        for (bytes, kept) in [(BYTES, (1, 10)), (60 * MIB, (0, 60))] {
            let first = make(&cache, 1, bytes).await;
            cache.let_go(u64::MAX);
            assert_eq!(state(&cache, &memory), (0, bytes / MIB));
            assert!(Arc::ptr_eq(&make(&cache, 1, bytes).await, &first));
            assert_eq!(state(&cache, &memory), kept);
            cache.let_go(u64::MAX);
            assert!(Arc::ptr_eq(&cache.get(&1).unwrap(), &first));
            assert_eq!(state(&cache, &memory), kept);
            cache.remove(&1);
            assert!(cache.get(&1).is_none());
            drop(first);
            assert_eq!(state(&cache, &memory), (0, 0));
        }
    }

    #[tokio::test]
    async fn what_could_not_be_made_is_made_by_the_next() {
        let (memory, cache) = half();
        let failed = cache.get_or_make(&1, async { Err("no room") }).await;
        assert_eq!(failed.err(), Some("no room"));
        assert_eq!(state(&cache, &memory), (0, 0));
        make(&cache, 1, BYTES).await;
        assert_eq!(state(&cache, &memory), (1, 10));
    }

    #[tokio::test]
    async fn what_nobody_has_goes_if_nobody_asks_for_it() {
        let (memory, cache) = half();
        let held = make(&cache, 1, BYTES).await;
        make(&cache, 2, BYTES).await;
        make(&cache, 3, BYTES).await;
        cache.let_go_unused();
        assert_eq!(state(&cache, &memory), (3, 30));
        assert!(cache.get(&2).is_some());
        cache.let_go_unused();
        assert_eq!(state(&cache, &memory), (2, 20));
        assert!(cache.get(&3).is_none());
        cache.let_go_unused();
        assert_eq!(state(&cache, &memory), (1, 10));
        // Who had it until now may come back for it.
        drop(held);
        cache.let_go_unused();
        assert_eq!(state(&cache, &memory), (1, 10));
        cache.let_go_unused();
        assert_eq!(state(&cache, &memory), (0, 0));
    }
}
