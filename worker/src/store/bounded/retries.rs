//! Requests that failed, made again where that may help.

use std::sync::Arc;

use async_trait::async_trait;
use keyloom_common::Result;
use tokio::time::sleep;

use crate::store::{Found, Patience, Request, Store};

/// A store that is asked again, after a rest that grows, for what it could not answer. What it did
/// answer is never asked again, nor what it will always refuse.
#[derive(Debug)]
pub(super) struct Retries {
    pub(super) store: Arc<dyn Store>,
    /// How often, at most.
    pub(super) retries: u32,
    pub(super) patience: Patience,
}

#[async_trait]
impl Store for Retries {
    async fn lookup(&self, request: Request) -> Result<Found> {
        self.until_answered(|| self.store.lookup(request.clone())).await
    }

    async fn row_bytes(&self, columns: &[usize]) -> Result<u64> {
        self.until_answered(|| self.store.row_bytes(columns)).await
    }
}

impl Retries {
    async fn until_answered<T, F>(&self, ask: impl Fn() -> F) -> Result<T>
    where
        F: Future<Output = Result<T>>,
    {
        let mut made = 0;
        loop {
            let error = match ask().await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            if made == self.retries || !error.kind().is_transient() {
                return Err(error);
            }
            tracing::debug!("a store is asked again: {error}");
            sleep(self.patience.rest_after(made)).await;
            made += 1;
        }
    }
}
