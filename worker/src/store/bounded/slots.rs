//! A bound on requests in flight.

use std::sync::Arc;

use async_trait::async_trait;
use keyloom_common::{Error, Result};
use tokio::sync::Semaphore;

use crate::store::{Found, Request, Store};

/// A store that answers as many requests at a time as there are slots, for all who use it.
#[derive(Debug)]
pub(super) struct Slots {
    pub(super) store: Arc<dyn Store>,
    pub(super) slots: Arc<Semaphore>,
}

#[async_trait]
impl Store for Slots {
    async fn lookup(&self, request: Request) -> Result<Found> {
        let slot = self.slots.acquire().await;
        let _slot = slot.map_err(|_| Error::internal("the store's slots were closed"))?;
        self.store.lookup(request).await
    }

    async fn row_bytes(&self, columns: &[usize]) -> Result<u64> {
        let slot = self.slots.acquire().await;
        let _slot = slot.map_err(|_| Error::internal("the store's slots were closed"))?;
        self.store.row_bytes(columns).await
    }
}
