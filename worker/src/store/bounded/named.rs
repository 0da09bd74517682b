//! Which store it was that could not be read.

use std::sync::Arc;

use async_trait::async_trait;
use keyloom_common::{Error, Result};

use crate::store::{Found, Request, Store};

/// A store whose errors say its alias.
#[derive(Debug)]
pub(super) struct Named {
    pub(super) store: Arc<dyn Store>,
    pub(super) alias: String,
}

#[async_trait]
impl Store for Named {
    async fn lookup(&self, request: Request) -> Result<Found> {
        self.store.lookup(request).await.map_err(|error| self.cannot_be_read(error))
    }

    async fn row_bytes(&self, columns: &[usize]) -> Result<u64> {
        self.store.row_bytes(columns).await.map_err(|error| self.cannot_be_read(error))
    }
}

impl Named {
    fn cannot_be_read(&self, error: Error) -> Error {
        error.context(format_args!("KV store '{}' cannot be read", self.alias))
    }
}
