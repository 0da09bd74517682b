//! The stores that a worker has open: each is opened once, however many tasks want it, and the
//! least recently used is closed when there are too many.
//!
//! Closing only forgets: tasks that hold a store keep it until they are done. A failed opening is
//! not remembered; but those that waited for one whose storage did not answer fail with it, for
//! each would wait as long again.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use futures::FutureExt;
use keyloom_common::{
    Error, ErrorKind, Result,
    store::{ResolvedStore, Snapshot, StoreDescription, StoreSpec},
};
use tokio::sync::OnceCell;

use super::{
    Store, StoreEnv, StoreSettings,
    lance::LanceHandle,
    open::{Handle, cannot_open},
};

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
    opening: Arc<Opening>,
    last_use: u64,
}

/// A store that is open, or will be if that succeeds.
#[derive(Debug, Default)]
struct Opening {
    handle: OnceCell<Handle>,
    /// How often its storage did not answer, and what was said the last time.
    silences: Mutex<(u64, Option<Error>)>,
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
        let opening = self.with_slots(|slots| slots.touch(&key));
        match opening.open(self.env.open_unnamed(spec, snapshot).boxed()).await {
            Ok(opened) => {
                self.with_slots(|slots| slots.shrink(self.env.settings.max_open_stores.max(1)));
                Ok(opened)
            }
            Err(error) => {
                self.with_slots(|slots| slots.forget_unopened(&key, opening));
                Err(cannot_open(name, error))
            }
        }
    }

    /// The bounds under which stores are opened and read.
    pub(crate) fn settings(&self) -> &StoreSettings {
        &self.env.settings
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

impl Opening {
    /// The handle, by this way if it is not there and nobody is on the way already.
    async fn open(&self, open: impl Future<Output = Result<Handle>>) -> Result<Handle> {
        let known = self.with_silences(|(count, _)| *count);
        let opened = async {
            let silence =
                |(count, last): &mut (u64, Option<Error>)| last.clone().filter(|_| *count > known);
            if let Some(error) = self.with_silences(silence) {
                return Err(error);
            }
            let opened = open.await;
            if let Err(error) = &opened
                && error.kind() == ErrorKind::Timeout
            {
                self.with_silences(|(count, last)| {
                    *count += 1;
                    *last = Some(error.clone());
                });
            }
            opened
        };
        self.handle.get_or_try_init(|| opened).await.cloned()
    }

    fn with_silences<T>(&self, look: impl FnOnce(&mut (u64, Option<Error>)) -> T) -> T {
        // No look leaves them half-done, so a poisoned lock guards sound contents.
        look(&mut self.silences.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Slots {
    fn touch(&mut self, key: &Key) -> Arc<Opening> {
        self.uses += 1;
        let last_use = self.uses;
        if let Some(slot) = self.by_key.get_mut(key) {
            slot.last_use = last_use;
            return slot.opening.clone();
        }
        let opening = Arc::<Opening>::default();
        self.by_key.insert(key.clone(), Slot { opening: opening.clone(), last_use });
        opening
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
    fn forget_unopened(&mut self, key: &Key, opening: Arc<Opening>) {
        const SLOT_AND_CALLER: usize = 2;
        let unwanted = self.by_key.get(key).is_some_and(|slot| {
            Arc::ptr_eq(&slot.opening, &opening)
                && !opening.handle.initialized()
                && Arc::strong_count(&opening) == SLOT_AND_CALLER
        });
        if unwanted {
            self.by_key.remove(key);
        }
        // Under the lock still: the last caller that fails must find itself the last.
        drop(opening);
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
