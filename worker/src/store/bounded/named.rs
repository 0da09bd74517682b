//! Which store it was that could not be read.

use std::sync::Arc;

use async_trait::async_trait;
use keyloom_common::{Error, Result, store::Access};

use super::rewrapped;
use crate::store::{Found, KeySet, ReadStats, Request, Store};

/// A store whose errors say its alias.
#[derive(Clone, Debug)]
pub(super) struct Named {
    pub(super) store: Arc<dyn Store>,
    pub(super) alias: String,
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl Store for Named {
    async fn lookup(&self, request: Request) -> Result<Found> {
        self.store.lookup(request).await.map_err(|error| cannot_be_read(&self.alias, error))
    }

    async fn row_bytes(&self, columns: &[usize]) -> Result<u64> {
        self.store.row_bytes(columns).await.map_err(|error| cannot_be_read(&self.alias, error))
    }

    async fn knowing(
        &self,
        keys: &dyn KeySet,
        columns: &[usize],
        access: Access,
    ) -> Result<Option<(Arc<dyn Store>, ReadStats)>> {
        let known = self.store.knowing(keys, columns, access).await;
        let known = known.map_err(|error| cannot_be_read(&self.alias, error))?;
        Ok(rewrapped(known, |store| Self { store, ..self.clone() }))
    }
}

/// Says of which store an error is.
pub(super) fn cannot_be_read(alias: &str, error: Error) -> Error {
    error.context(format_args!("KV store '{alias}' cannot be read"))
}
