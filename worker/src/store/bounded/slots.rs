//! A bound on requests in flight, of all stores of a kind that are at one place.

use std::{
    collections::HashMap,
    num::NonZeroUsize,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use async_trait::async_trait;
use keyloom_common::{
    Error, Result,
    store::{Access, StoreSpec},
};
use tokio::sync::{Semaphore, SemaphorePermit};

use super::rewrapped;
use crate::store::{Found, KeySet, ReadStats, Request, Store};

/// A store that answers as many requests at a time as there are slots, for all who use it.
#[derive(Clone, Debug)]
pub(super) struct Slots {
    pub(super) store: Arc<dyn Store>,
    /// Any number, if there are none.
    pub(super) slots: Option<Arc<Semaphore>>,
}

/// The slots of all places that a worker asks. What serves a place does not care under which
/// options, at which snapshots and by which keys it is open.
#[derive(Debug, Default)]
pub(in crate::store) struct Places {
    slots: Mutex<HashMap<Place, Weak<Semaphore>>>,
}

/// A kind, where its store is, and how many slots there are: who allows fewer has his own.
type Place = (String, String, usize);

impl Places {
    /// So many slots of a store's place.
    pub(super) fn slots(&self, spec: &StoreSpec, slots: NonZeroUsize) -> Arc<Semaphore> {
        let slots = slots.get().min(Semaphore::MAX_PERMITS);
        let place = (spec.kind.clone(), spec.place.clone(), slots);
        // No change leaves them half-done, so a poisoned lock guards sound contents.
        let mut known = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(slots) = known.get(&place).and_then(Weak::upgrade) {
            return slots;
        }
        known.retain(|_, slots| slots.strong_count() > 0);
        let slots = Arc::new(Semaphore::new(slots));
        known.insert(place, Arc::downgrade(&slots));
        slots
    }
}

impl Slots {
    /// Waits for a slot.
    ///
    /// # Errors
    /// None, but for a defect.
    pub(super) async fn slot(&self) -> Result<Option<SemaphorePermit<'_>>> {
        let Some(slots) = &self.slots else { return Ok(None) };
        let slot = slots.acquire().await;
        slot.map(Some).map_err(|_| Error::internal("the store's slots were closed"))
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl Store for Slots {
    async fn lookup(&self, request: Request) -> Result<Found> {
        let _slot = self.slot().await?;
        self.store.lookup(request).await
    }

    async fn row_bytes(&self, columns: &[usize]) -> Result<u64> {
        let _slot = self.slot().await?;
        self.store.row_bytes(columns).await
    }

    async fn knowing(
        &self,
        keys: &dyn KeySet,
        columns: &[usize],
        access: Access,
    ) -> Result<Option<(Arc<dyn Store>, ReadStats)>> {
        let _slot = self.slot().await?;
        let known = self.store.knowing(keys, columns, access).await?;
        Ok(rewrapped(known, |store| Self { store, ..self.clone() }))
    }
}
