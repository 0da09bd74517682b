//! Bounds around stores, as far as each says that it needs them ([`Capabilities`]) or its user does
//! ([`asked`]). From the outside in: answers that are kept ([`cache`]), [`batches`] of at most so many
//! keys, each of them asked again if that may help ([`retries`]), of which at most so many are in
//! flight ([`slots`]), each answered within a [`deadline`].
//!
//! Each is a store around a store; one that bears all is left as it is. The order keeps what was
//! answered from being asked again, and what rests or waits from taking a slot or using up its time.

pub(super) mod asked;
mod batches;
pub(super) mod cache;
mod deadline;
#[cfg(test)]
pub(super) mod faults;
mod named;
mod retries;
mod slots;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use keyloom_common::{
    Result,
    store::{ResolvedStore, StoreKind},
};
use tokio::sync::Semaphore;

use super::{
    Patience, Store,
    factory::{Capabilities, OpenStore},
};
use batches::Batches;
use cache::{Answers, Cached, Shelf};
use deadline::Deadline;
use named::Named;
use retries::Retries;
use slots::Slots;

/// The most requests at a time to a store that takes so many keys at once and does not say how many
/// requests: a large request must not become any number of small ones.
const BATCHES_IN_FLIGHT: usize = 8;

/// A store that is open, with the bounds that all who use it share.
#[derive(Clone, Debug)]
pub(crate) struct Opened {
    pub(super) handle: Arc<dyn OpenStore>,
    pub(super) bounds: Bounds,
}

/// The bounds around one open store, under however many names it is bound.
#[derive(Clone, Debug)]
pub(super) struct Bounds {
    capabilities: Capabilities,
    patience: Patience,
    slots: Option<Arc<Semaphore>>,
    /// Where its answers are kept, if they are.
    shelf: Option<Shelf>,
}

impl Opened {
    /// The store as a plan names it, within its bounds.
    ///
    /// # Errors
    /// As [`OpenStore::bind`].
    pub(super) fn bind(&self, store: &ResolvedStore) -> Result<Arc<dyn Store>> {
        let mut bound = self.bounds.around(Arc::clone(&self.handle).bind(store)?);
        // The others name themselves where they need to.
        if let StoreKind::Other(_) = &store.spec.kind {
            bound = Arc::new(Named { store: bound, alias: store.alias.clone() });
        }
        Ok(bound)
    }
}

impl Bounds {
    /// The bounds around a store that bears so much, on a worker with so much patience, which keeps
    /// its answers there if it wants that.
    pub(super) fn of(
        capabilities: Capabilities,
        patience: Patience,
        answers: &Arc<Answers>,
    ) -> Self {
        let slots = match capabilities {
            Capabilities { requests_in_flight: Some(slots), .. } => Some(slots.get()),
            Capabilities { max_keys: Some(_), .. } => Some(BATCHES_IN_FLIGHT),
            _ => None,
        };
        let slots = slots.map(|slots| Semaphore::new(slots.min(Semaphore::MAX_PERMITS)));
        let shelf = capabilities.keeps_answers.then(|| answers.shelf());
        Self { capabilities, patience, slots: slots.map(Arc::new), shelf }
    }

    /// A store within these bounds.
    pub(super) fn around(&self, mut store: Arc<dyn Store>) -> Arc<dyn Store> {
        let Self { capabilities, patience, slots, shelf } = self;
        if let Some(time) = capabilities.deadline {
            store = Arc::new(Deadline { store, time });
        }
        if let Some(slots) = slots {
            store = Arc::new(Slots { store, slots: Arc::clone(slots) });
        }
        if let Some(retries) = capabilities.max_retries {
            let retries = retries.min(patience.retries());
            store = Arc::new(Retries { store, retries, patience: *patience });
        }
        if let Some(max_keys) = capabilities.max_keys {
            store = Arc::new(Batches { store, max_keys });
        }
        if let Some(shelf) = shelf {
            store = Arc::new(Cached { store, shelf: shelf.clone() });
        }
        store
    }
}
