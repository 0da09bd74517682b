//! The stores that a worker has open: each is opened once, however many tasks want it, and the
//! least recently used is closed when there are too many.
//!
//! Closing only forgets: tasks that hold a store keep it until they are done. A failed opening is
//! not remembered.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use keyloom_common::{
    Error, Result,
    store::{ResolvedStore, Snapshot, StoreDescription, StoreSpec},
};
use tokio::sync::OnceCell;

use super::{Store, StoreEnv, lance::LanceHandle, open::Handle};

/// The open stores of a worker. All its tasks share one.
#[derive(Debug)]
pub struct OpenStores {
    env: StoreEnv,
    slots: Mutex<Slots>,
}

type Key = (StoreSpec, Snapshot);

/// Counts uses in place of a clock.
#[derive(Debug, Default)]
struct Slots {
    uses: u64,
    by_key: HashMap<Key, Slot>,
}

#[derive(Debug)]
struct Slot {
    handle: Arc<OnceCell<Handle>>,
    last_use: u64,
}

impl OpenStores {
    /// No stores yet.
    pub fn new(env: StoreEnv) -> Self {
        Self { env, slots: Mutex::default() }
    }

    /// The store, opened if it is not open yet.
    ///
    /// # Errors
    /// As [`StoreEnv::open`].
    pub async fn get(&self, store: &Arc<ResolvedStore>) -> Result<Arc<dyn Store>> {
        let (spec, snapshot) = (&store.spec, store.description.snapshot);
        self.handle(&store.alias, spec, snapshot).await?.bind(store)
    }

    /// A Lance dataset as a table, opened if it is not open yet.
    ///
    /// # Errors
    /// As [`StoreEnv::open`].
    pub(crate) async fn table(
        &self,
        spec: &StoreSpec,
        snapshot: Snapshot,
    ) -> Result<Arc<LanceHandle>> {
        match self.handle(&spec.name, spec, snapshot).await? {
            Handle::Lance(handle) => Ok(handle),
            Handle::Memory(_) => Err(Error::internal("a memory store is no table")),
        }
    }

    async fn handle(&self, name: &str, spec: &StoreSpec, snapshot: Snapshot) -> Result<Handle> {
        let key = (spec.clone(), snapshot);
        let handle = self.with_slots(|slots| slots.touch(&key));
        match handle.get_or_try_init(|| self.env.open_handle(name, spec, snapshot)).await {
            Ok(opened) => {
                self.with_slots(|slots| slots.shrink(self.env.settings.max_open_stores.max(1)));
                Ok(opened.clone())
            }
            Err(error) => {
                self.with_slots(|slots| slots.forget_unopened(&key, handle));
                Err(error)
            }
        }
    }

    /// Opens a store to learn its columns and its newest (or pinned) snapshot.
    ///
    /// # Errors
    /// As [`StoreEnv::describe`].
    pub async fn describe(&self, spec: &StoreSpec) -> Result<StoreDescription> {
        self.env.describe(spec).await
    }

    fn with_slots<T>(&self, change: impl FnOnce(&mut Slots) -> T) -> T {
        // No change leaves the slots half-done, so a poisoned lock guards sound contents.
        change(&mut self.slots.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Slots {
    fn touch(&mut self, key: &Key) -> Arc<OnceCell<Handle>> {
        self.uses += 1;
        let last_use = self.uses;
        if let Some(slot) = self.by_key.get_mut(key) {
            slot.last_use = last_use;
            return slot.handle.clone();
        }
        let handle = Arc::<OnceCell<Handle>>::default();
        self.by_key.insert(key.clone(), Slot { handle: handle.clone(), last_use });
        handle
    }

    /// Called once a store is open, so that one which cannot be opened pushes out none that is.
    fn shrink(&mut self, max: usize) {
        while self.by_key.len() > max {
            let oldest = self.by_key.iter().min_by_key(|(_, slot)| slot.last_use);
            let Some(oldest) = oldest.map(|(key, _)| key.clone()) else { break };
            self.by_key.remove(&oldest);
        }
    }

    /// Forgets an opening that failed. The slot stays while others wait for it, because the next of
    /// them opens it.
    fn forget_unopened(&mut self, key: &Key, handle: Arc<OnceCell<Handle>>) {
        const SLOT_AND_CALLER: usize = 2;
        let unwanted = self.by_key.get(key).is_some_and(|slot| {
            Arc::ptr_eq(&slot.handle, &handle)
                && !handle.initialized()
                && Arc::strong_count(&handle) == SLOT_AND_CALLER
        });
        if unwanted {
            self.by_key.remove(key);
        }
        // Under the lock still: the last caller that fails must find itself the last.
        drop(handle);
    }
}

#[cfg(test)]
mod tests;

#[cfg(test)]
impl OpenStores {
    /// The own names of the stores that are open, sorted.
    fn open_names(&self) -> Vec<String> {
        let mut names: Vec<_> = self
            .with_slots(|slots| slots.by_key.keys().map(|(spec, _)| spec.name.clone()).collect());
        names.sort_unstable();
        names
    }
}
