//! Bounds around stores, as far as each says that it needs them ([`Capabilities`]) or its user does
//! ([`asked`]). From the outside in: answers that are kept ([`cache`]), [`batches`] of at most so
//! many keys, each of them asked again if that may help ([`retries`]), of which at most so many are
//! in flight ([`slots`]), each answered within a [`deadline`].
//!
//! Each is a store around a store, also around what that store becomes when it knows the keys of a
//! job; one that bears all is left as it is. The order keeps what was answered from being asked
//! again, and what rests or waits from taking a slot or using up its time. Around all of them,
//! requests are [`timed`].

pub(super) mod asked;
mod batches;
pub(super) mod cache;
pub(super) mod deadline;
#[cfg(test)]
pub(super) mod faults;
mod named;
mod retries;
pub(super) mod slots;
#[cfg(test)]
mod tests;
pub(super) mod timed;

use std::{num::NonZeroUsize, sync::Arc};

use keyloom_common::{
    Result,
    store::{ResolvedStore, Snapshot, StoreSpec},
};
use tokio::sync::Semaphore;

use super::{
    Patience, ReadStats, Store, StoreEnv,
    factory::{Capabilities, OpenStore, Retrying},
};
use batches::Batches;
use cache::{Cached, StoreAnswers};
use deadline::Deadline;
use named::{Named, cannot_be_read};
use retries::Retries;
use slots::Slots;

/// The most requests at a time to a store that takes so many keys at once and does not say how many
/// requests: a large request must not become any number of small ones.
const BATCHES_IN_FLIGHT: NonZeroUsize = NonZeroUsize::new(8).expect("eight is not zero");

/// A store that is open, with the bounds that all who use it share.
#[derive(Clone, Debug)]
pub(crate) struct Opened {
    pub(super) handle: Arc<dyn OpenStore>,
    pub(super) bounds: Bounds,
    /// Whether what it says of itself names it where that is needed.
    pub(super) names_itself: bool,
}

/// The bounds around one open store, under however many names it is bound.
#[derive(Clone, Debug)]
pub(super) struct Bounds {
    capabilities: Capabilities,
    patience: Patience,
    slots: Option<Arc<Semaphore>>,
    /// Where its answers are kept, if they are.
    answers: Option<StoreAnswers>,
}

impl Opened {
    /// The store as a plan names it, within its bounds.
    ///
    /// # Errors
    /// As [`OpenStore::bind`].
    pub(super) fn bind(&self, store: &ResolvedStore) -> Result<Arc<dyn Store>> {
        let bound = Arc::clone(&self.handle).bind(store);
        if self.names_itself {
            return Ok(self.bounds.around(bound?, store));
        }
        let alias = store.alias.clone();
        let bound = bound.map_err(|error| cannot_be_read(&alias, error))?;
        Ok(Arc::new(Named { store: self.bounds.around(bound, store), alias }))
    }
}

impl Bounds {
    /// The bounds around a store that bears so much, which keeps its answers with those of others
    /// if it wants that.
    pub(super) fn of(
        env: &StoreEnv,
        spec: &StoreSpec,
        snapshot: Snapshot,
        capabilities: Capabilities,
    ) -> Self {
        let slots = capabilities.at_once().map(|slots| env.places.slots(spec, slots));
        // What is kept of a snapshot is true for ever.
        let keeps = capabilities.keeps_answers && snapshot != Snapshot::Live;
        let answers = keeps.then(|| env.answers.of_store());
        Self { capabilities, patience: env.parts.patience(), slots, answers }
    }

    /// A store, as the plan names it, within these bounds.
    pub(super) fn around(
        &self,
        mut store: Arc<dyn Store>,
        planned: &ResolvedStore,
    ) -> Arc<dyn Store> {
        let Self { capabilities, patience, slots, answers } = self;
        if let Some(time) = capabilities.deadline {
            store = Arc::new(Deadline { store, time });
        }
        let slots = slots.clone();
        if let Retrying::AtMost(attempts) = capabilities.retrying {
            let attempts = attempts.get().min(patience.attempts);
            store =
                Arc::new(Retries { store: Slots { store, slots }, attempts, patience: *patience });
        } else if slots.is_some() {
            store = Arc::new(Slots { store, slots });
        }
        if let Some(max_keys) = capabilities.max_keys {
            let at_once = capabilities.at_once().unwrap_or(BATCHES_IN_FLIGHT);
            store = Arc::new(Batches { store, max_keys, at_once });
        }
        if let Some(answers) = answers {
            store = Arc::new(Cached::new(store, answers.clone(), planned));
        }
        store
    }
}

impl Capabilities {
    /// How many requests may be in flight, if there is a bound.
    fn at_once(&self) -> Option<NonZeroUsize> {
        self.requests_in_flight.or_else(|| self.max_keys.map(|_| BATCHES_IN_FLIGHT))
    }
}

/// A store that knows keys, within the bounds of the one that it was before.
fn rewrapped<S: Store + 'static>(
    known: Option<(Arc<dyn Store>, ReadStats)>,
    wrap: impl FnOnce(Arc<dyn Store>) -> S,
) -> Option<(Arc<dyn Store>, ReadStats)> {
    known.map(|(store, stats)| (Arc::new(wrap(store)) as Arc<dyn Store>, stats))
}
