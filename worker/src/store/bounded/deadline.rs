//! A bound on how long an answer may take.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use keyloom_common::{Error, Result};
use tokio::time::timeout;

use crate::store::{Found, Request, Store, patience::shown};

/// A store whose requests fail, so that another attempt may be made, if they are not answered in time.
#[derive(Debug)]
pub(super) struct Deadline {
    pub(super) store: Arc<dyn Store>,
    pub(super) time: Duration,
}

#[async_trait]
impl Store for Deadline {
    async fn lookup(&self, request: Request) -> Result<Found> {
        let answer = timeout(self.time, self.store.lookup(request)).await;
        answer.unwrap_or_else(|_| Err(self.silent()))
    }

    async fn row_bytes(&self, columns: &[usize]) -> Result<u64> {
        let answer = timeout(self.time, self.store.row_bytes(columns)).await;
        answer.unwrap_or_else(|_| Err(self.silent()))
    }
}

impl Deadline {
    fn silent(&self) -> Error {
        Error::timeout(format!(
            "no answer in {}, the least of the store's request_timeout_ms, what its kind allows, and \
             the worker's store.answer_timeout_ms",
            shown(self.time)
        ))
    }
}
