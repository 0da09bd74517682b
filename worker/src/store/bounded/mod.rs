//! Bounds around stores, as far as each says that it needs them ([`Capabilities`]): [`batches`] of at
//! most so many keys, of which at most so many are in flight ([`slots`]), each answered within a
//! [`deadline`]. Each is a store around a store; one that bears all is left as it is.

mod batches;
mod deadline;
mod slots;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use tokio::sync::Semaphore;

use super::{Store, factory::Capabilities};
use batches::Batches;
use deadline::Deadline;
use slots::Slots;

/// The most requests at a time to a store that takes so many keys at once and does not say how many
/// requests: a large request must not become any number of small ones.
const BATCHES_IN_FLIGHT: usize = 8;

/// The bounds around one open store, under however many names it is bound.
#[derive(Clone, Debug)]
pub(super) struct Bounds {
    capabilities: Capabilities,
    slots: Option<Arc<Semaphore>>,
}

impl Bounds {
    pub(super) fn of(capabilities: Capabilities) -> Self {
        let slots = match capabilities {
            Capabilities { requests_in_flight: Some(slots), .. } => Some(slots.get()),
            Capabilities { max_keys: Some(_), .. } => Some(BATCHES_IN_FLIGHT),
            _ => None,
        };
        Self { capabilities, slots: slots.map(|slots| Arc::new(Semaphore::new(slots))) }
    }

    /// A store within these bounds. What waits for a slot does not use up its time.
    pub(super) fn around(&self, mut store: Arc<dyn Store>) -> Arc<dyn Store> {
        if let Some(time) = self.capabilities.deadline {
            store = Arc::new(Deadline { store, time });
        }
        if let Some(slots) = &self.slots {
            store = Arc::new(Slots { store, slots: Arc::clone(slots) });
        }
        if let Some(max_keys) = self.capabilities.max_keys {
            store = Arc::new(Batches { store, max_keys });
        }
        store
    }
}
