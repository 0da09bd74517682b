//! Requests that failed, made again where that may help.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use keyloom_common::{Error, Result, store::Access};
use tokio::time::{Instant, sleep, timeout};

use super::{rewrapped, slots::Slots};
use crate::store::{Found, KeySet, Patience, ReadStats, Request, Store};

/// A store that is asked again, after a rest that grows, for what it could not answer. What it did
/// answer is never asked again, nor what it will always refuse.
///
/// All that together takes no longer than the worker waits for a store that does not answer. What
/// is waited for slots is not the store's fault, and does not count.
#[derive(Clone, Debug)]
pub(super) struct Retries {
    pub(super) store: Slots,
    /// How often it is asked, at most.
    pub(super) attempts: u32,
    pub(super) patience: Patience,
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl Store for Retries {
    async fn lookup(&self, request: Request) -> Result<Found> {
        let ask = || self.store.store.lookup(request.clone());
        let (mut found, retries) = self.until_answered(ask).await?;
        found.stats.requests_made += u64::from(retries);
        found.stats.retries += u64::from(retries);
        Ok(found)
    }

    async fn row_bytes(&self, columns: &[usize]) -> Result<u64> {
        let (bytes, _) = self.until_answered(|| self.store.store.row_bytes(columns)).await?;
        Ok(bytes)
    }

    async fn knowing(
        &self,
        keys: &dyn KeySet,
        columns: &[usize],
        access: Access,
    ) -> Result<Option<(Arc<dyn Store>, ReadStats)>> {
        let ask = || self.store.store.knowing(keys, columns, access.clone());
        let (known, _) = self.until_answered(ask).await?;
        let store = |store| Slots { store, ..self.store.clone() };
        Ok(rewrapped(known, |known| Self { store: store(known), ..self.clone() }))
    }
}

impl Retries {
    /// The answer, and how often it was asked for again.
    async fn until_answered<T, F>(&self, ask: impl Fn() -> F) -> Result<(T, u32)>
    where
        F: Future<Output = Result<T>>,
    {
        let (mut made, mut left) = (0, self.patience.answer);
        loop {
            let error = match self.in_time(&mut left, &ask).await {
                Ok(answer) => return Ok((answer, made)),
                Err(error) => error,
            };
            let rest = self.patience.rest_after(made);
            if made + 1 >= self.attempts || !error.kind().is_transient() || left <= rest {
                return Err(error);
            }
            tracing::debug!("a store is asked again: {error}");
            sleep(rest).await;
            left -= rest;
            made += 1;
        }
    }

    /// One attempt, within what is left of the time, of which it takes what it needs.
    async fn in_time<T, F>(&self, left: &mut Duration, ask: impl Fn() -> F) -> Result<T>
    where
        F: Future<Output = Result<T>>,
    {
        let _slot = self.store.slot().await?;
        let begun = Instant::now();
        let silent = |_| Err::<T, Error>(self.patience.no_answer());
        let answer = timeout(*left, ask()).await.unwrap_or_else(silent);
        *left = left.saturating_sub(begun.elapsed());
        answer
    }
}
