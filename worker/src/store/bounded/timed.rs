//! How long the answers of a store take.

use std::{sync::Arc, time::Instant};

use async_trait::async_trait;
use keyloom_common::{Result, store::Access};

use super::rewrapped;
use crate::{
    metrics::Timing,
    store::{Found, KeySet, ReadStats, Request, Store},
};

/// A store whose requests are timed as whoever makes them waits for them: with what is kept, and
/// with rests and other attempts. What looks at it before, or for all keys of a job, is no request.
#[derive(Clone, Debug)]
pub(in crate::store) struct Timed {
    pub(in crate::store) store: Arc<dyn Store>,
    pub(in crate::store) timing: Timing,
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl Store for Timed {
    async fn lookup(&self, request: Request) -> Result<Found> {
        let begun = Instant::now();
        let found = self.store.lookup(request).await;
        self.timing.count(begun.elapsed(), found.is_err());
        found
    }

    async fn row_bytes(&self, columns: &[usize]) -> Result<u64> {
        self.store.row_bytes(columns).await
    }

    async fn knowing(
        &self,
        keys: &dyn KeySet,
        columns: &[usize],
        access: Access,
    ) -> Result<Option<(Arc<dyn Store>, ReadStats)>> {
        let known = self.store.knowing(keys, columns, access).await?;
        Ok(rewrapped(known, |store| Self { store, ..self.clone() }))
    }
}
