//! A bound on how long an answer may take.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use keyloom_common::{Error, Result, store::Access};
use tokio::time::timeout;

use super::rewrapped;
use crate::store::{Found, KeySet, ReadStats, Request, Store, patience::shown};

/// A store whose requests fail, so that another attempt may be made, if they are not answered in
/// time. Nothing stands between it and the store, so those that are answered are counted here.
#[derive(Clone, Debug)]
pub(super) struct Deadline {
    pub(super) store: Arc<dyn Store>,
    pub(super) time: Duration,
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl Store for Deadline {
    async fn lookup(&self, request: Request) -> Result<Found> {
        let mut found = within(Some(self.time), self.store.lookup(request)).await?;
        found.stats.requests_made += 1;
        Ok(found)
    }

    async fn row_bytes(&self, columns: &[usize]) -> Result<u64> {
        within(Some(self.time), self.store.row_bytes(columns)).await
    }

    async fn knowing(
        &self,
        keys: &dyn KeySet,
        columns: &[usize],
        access: Access,
    ) -> Result<Option<(Arc<dyn Store>, ReadStats)>> {
        let known = within(Some(self.time), self.store.knowing(keys, columns, access)).await?;
        Ok(rewrapped(known, |store| Self { store, ..self.clone() }))
    }
}

/// What is answered in time.
///
/// # Errors
/// Those of the answer, and `timeout` if there is none by then.
pub(in crate::store) async fn within<T>(
    time: Option<Duration>,
    answer: impl Future<Output = Result<T>>,
) -> Result<T> {
    let Some(time) = time else { return answer.await };
    timeout(time, answer).await.unwrap_or_else(|_| {
        Err(Error::timeout(format!(
            "no answer in {}, the least of the store's request_timeout_ms, what its kind allows, and \
             the worker's store.answer_timeout_ms",
            shown(time)
        )))
    })
}
