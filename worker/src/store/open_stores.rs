//! The stores that a worker has open: each is opened once, however many tasks want it and under
//! however many names, and the least recently used is closed when there are too many.
//!
//! A store that somebody holds is not closed, or the next one would open it beside the first. And
//! only opening closes others: however many stores a job has, its next task finds those of the one
//! before. Only where memory is short, those that hold some are closed as soon as nobody uses them.
//! A failed opening is not remembered; but those that waited for one whose storage did not
//! answer fail with it, for each would wait as long again.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use futures::FutureExt;
use keyloom_common::{
    Error, ErrorKind, Result,
    store::{ResolvedStore, STORAGE_OPTIONS, Snapshot, StoreDescription, StoreSpec},
};
use tokio::sync::OnceCell;

use super::{
    BlobSource, ProfileVersion, Store, StoreEnv, StoreSettings,
    bounded::{Opened, timed::Timed},
    lance::{LanceHandle, Target},
    open::cannot_open,
};
use crate::{memory::Keeper, metrics::Lookups};

/// The open stores of a worker. All its tasks share one.
#[derive(Debug)]
pub struct OpenStores {
    env: StoreEnv,
    slots: Arc<Mutex<Slots>>,
    /// Where requests are timed, if they are.
    lookups: Option<Arc<Lookups>>,
}

/// What tells open stores apart, the secrets with which they were opened among it. Their names do
/// not, nor how it was said which snapshot is meant.
type Key = (StoreSpec, Snapshot, ProfileVersion);

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
    handle: OnceCell<Opened>,
    /// How often its storage did not answer, and what was said the last time.
    silences: Mutex<(u64, Option<Error>)>,
}

impl OpenStores {
    /// No stores yet. Those that nobody uses any more, and what was read of others, give way to
    /// tasks where memory is short.
    pub fn new(env: StoreEnv) -> Self {
        let slots = Arc::<Mutex<Slots>>::default();
        let (stores, answers) = (Arc::downgrade(&slots), Arc::downgrade(&env.answers));
        let commons = &env.parts.commons;
        // What is read again most cheaply goes first.
        env.kinds.keepers().for_each(|keeper| commons.add_keeper(keeper));
        commons.add_keeper(answers);
        commons.add_keeper(stores);
        Self { env, slots, lookups: None }
    }

    /// The same, where requests are timed.
    pub(crate) fn timed(self, lookups: &Arc<Lookups>) -> Self {
        Self { lookups: Some(Arc::clone(lookups)), ..self }
    }

    /// The store, opened if it is not open yet.
    ///
    /// # Errors
    /// As [`StoreEnv::open`].
    pub async fn get(&self, store: &Arc<ResolvedStore>) -> Result<Arc<dyn Store>> {
        let (spec, snapshot) = (&store.spec, store.description.snapshot);
        let bound = self.handle(&store.alias, spec, snapshot).await?.bind(store)?;
        let Some(lookups) = &self.lookups else { return Ok(bound) };
        let timing = lookups.timing(&store.alias, &spec.kind);
        Ok(Arc::new(Timed { store: bound, timing }))
    }

    /// A Lance dataset that is to be written, be it there or not. Whether it may be touched is
    /// asked before.
    ///
    /// # Errors
    /// `invalid` if no dataset can be there, or the storage profile is unknown.
    pub(crate) fn lance_target(&self, spec: &StoreSpec) -> Result<Target> {
        Target::of(&self.env, spec)
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
        let Opened { handle, .. } = self.handle(&spec.name, spec, snapshot).await?;
        let kind = &spec.kind;
        handle.into_any().downcast().map_err(|_| Error::internal(format!("{kind} is no table")))
    }

    /// Looks whether a Lance dataset is what it was. It may have been open for long, and whoever
    /// reads what is kept of it does not see that it is gone.
    ///
    /// # Errors
    /// As [`Self::table`], and `not_found` if it was removed or written anew.
    pub(crate) async fn check_dataset(&self, spec: &StoreSpec, snapshot: Snapshot) -> Result<()> {
        let table = self.table(spec, snapshot).await?;
        table.gone().await.map_or(Ok(()), Err)
    }

    async fn handle(&self, name: &str, spec: &StoreSpec, snapshot: Snapshot) -> Result<Opened> {
        let profile = self.settings().profile(spec.options.text(STORAGE_OPTIONS));
        let profile = profile.map_err(|error| cannot_open(name, error))?;
        let key = key(spec, snapshot, profile.and_then(|profile| profile.version));
        let opening = self.with_slots(|slots| slots.touch(&key));
        if let Some(opened) = opening.handle.get() {
            return Ok(opened.clone());
        }
        match opening.open(self.env.open_unnamed(spec, snapshot).boxed()).await {
            Ok(opened) => {
                self.with_slots(|slots| {
                    slots.shrink(self.env.parts.settings.max_open_stores.max(1))
                });
                Ok(opened)
            }
            Err(error) => {
                self.with_slots(|slots| slots.forget_unopened(&key, opening));
                Err(cannot_open(name, error))
            }
        }
    }

    /// What stores take of the memory, by who has it.
    pub(crate) fn memory(&self) -> Vec<(&'static str, u64)> {
        let contents =
            |slots: &mut Slots| slots.by_key.values().map(Slot::content_bytes).sum::<u64>();
        let own = [
            ("memory_stores", self.with_slots(contents)),
            ("answers", self.env.answers.bytes()),
            ("reads", self.env.parts.reads.taken()),
        ];
        own.into_iter().chain(self.env.kinds.memory()).collect()
    }

    /// The bytes that all reads may bring at once.
    pub(crate) fn read_bytes(&self) -> u64 {
        self.env.parts.reads.bytes()
    }

    /// How many stores are open, or are being opened.
    pub(crate) fn open_count(&self) -> usize {
        self.with_slots(|slots| slots.by_key.len())
    }

    /// Where contents come from.
    pub(crate) fn blobs(&self) -> &Arc<dyn BlobSource> {
        &self.env.parts.blobs
    }

    /// The bounds under which stores are opened and read.
    pub(crate) fn settings(&self) -> &StoreSettings {
        &self.env.parts.settings
    }

    /// Opens a store to learn its columns and its newest (or pinned) snapshot.
    ///
    /// # Errors
    /// As [`StoreEnv::describe`].
    pub async fn describe(&self, spec: &StoreSpec) -> Result<StoreDescription> {
        self.env.describe(spec).await
    }

    fn with_slots<T>(&self, change: impl FnOnce(&mut Slots) -> T) -> T {
        with_slots(&self.slots, change)
    }
}

fn with_slots<T>(slots: &Mutex<Slots>, change: impl FnOnce(&mut Slots) -> T) -> T {
    // No change leaves the slots half-done, so a poisoned lock guards sound contents.
    change(&mut slots.lock().unwrap_or_else(PoisonError::into_inner))
}

impl Keeper for Mutex<Slots> {
    fn let_go(&self, bytes: u64) {
        // What large stores hold is given back when the others are not kept waiting any more.
        let closed = with_slots(self, |slots| slots.close_idle(bytes));
        drop(closed);
    }
}

fn key(spec: &StoreSpec, snapshot: Snapshot, profile: ProfileVersion) -> Key {
    (spec.bare(), snapshot, profile)
}

impl Opening {
    /// The handle, by this way if it is not there and nobody is on the way already.
    async fn open(&self, open: impl Future<Output = Result<Opened>>) -> Result<Opened> {
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
        while self.by_key.len() > max && self.close_oldest(Slot::is_idle).is_some() {}
    }

    /// Closes stores whose contents are in memory, until they were so many bytes.
    fn close_idle(&mut self, bytes: u64) -> Vec<Slot> {
        let (mut closed, mut of_them) = (Vec::new(), 0);
        while of_them < bytes {
            let holds = |slot: &Slot| slot.is_idle() && slot.content_bytes() > 0;
            let Some(slot) = self.close_oldest(holds) else { break };
            of_them += slot.content_bytes();
            closed.push(slot);
        }
        closed
    }

    /// Closes the least recently used of some stores.
    fn close_oldest(&mut self, of: impl Fn(&Slot) -> bool) -> Option<Slot> {
        let some = self.by_key.iter().filter(|(_, slot)| of(slot));
        let oldest = some.min_by_key(|(_, slot)| slot.last_use).map(|(key, _)| key.clone())?;
        self.by_key.remove(&oldest)
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

impl Slot {
    /// Whether nobody uses the store or is about to: that would need the slots, which are locked.
    fn is_idle(&self) -> bool {
        Arc::strong_count(&self.opening) == 1
            && self.opening.handle.get().is_none_or(|opened| Arc::strong_count(&opened.handle) == 1)
    }

    /// The bytes of its content, if it is in memory.
    fn content_bytes(&self) -> u64 {
        self.opening.handle.get().map_or(0, |opened| opened.handle.content_bytes())
    }
}

#[cfg(test)]
mod tests;

#[cfg(test)]
impl OpenStores {
    /// The key columns of the stores that are open, sorted.
    fn open_keys(&self) -> Vec<String> {
        let key = |(spec, ..): &Key| {
            spec.key.as_ref().map(|key| key.columns().join(",")).unwrap_or_default()
        };
        let mut keys: Vec<_> = self.with_slots(|slots| slots.by_key.keys().map(key).collect());
        keys.sort_unstable();
        keys
    }
}
