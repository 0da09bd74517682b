//! Requests of more keys than a store takes, as several.

use std::{num::NonZeroUsize, sync::Arc};

use async_trait::async_trait;
use futures::future::try_join_all;
use keyloom_common::Result;

use crate::store::{Found, Request, Store};

/// A store that is asked for so many keys at once, at most.
#[derive(Debug)]
pub(super) struct Batches {
    pub(super) store: Arc<dyn Store>,
    pub(super) max_keys: NonZeroUsize,
}

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
        Found::concat(try_join_all(batches).await?, columns)
    }

    async fn row_bytes(&self, columns: &[usize]) -> Result<u64> {
        self.store.row_bytes(columns).await
    }
}
