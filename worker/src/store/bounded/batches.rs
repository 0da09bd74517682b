//! Requests of more keys than a store takes, as several.

use std::{num::NonZeroUsize, sync::Arc};

use async_trait::async_trait;
use futures::{StreamExt, TryStreamExt, stream};
use keyloom_common::{Result, store::Access};

use super::rewrapped;
use crate::store::{Found, KeySet, ReadStats, Request, Store};

/// A store that is asked for so many keys at once, at most.
#[derive(Clone, Debug)]
pub(super) struct Batches {
    pub(super) store: Arc<dyn Store>,
    pub(super) max_keys: NonZeroUsize,
    /// How many parts of a request are on their way: more would only wait for their turn.
    pub(super) at_once: NonZeroUsize,
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl Store for Batches {
    async fn lookup(&self, request: Request) -> Result<Found> {
        let (keys, most) = (request.keys.len(), self.max_keys.get());
        if keys <= most {
            return self.store.lookup(request).await;
        }
        let columns = request.columns.len();
        let batches = (0..keys).step_by(most).map(|from| {
            let keys = request.keys.slice(from, most.min(keys - from));
            self.store.lookup(Request { keys, ..request.clone() })
        });
        let answers = stream::iter(batches).buffered(self.at_once.get());
        Found::concat(answers.try_collect().await?, columns)
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
