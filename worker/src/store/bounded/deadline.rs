//! A bound on how long an answer may take.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use keyloom_common::{Error, Result};
use tokio::time::timeout;

use crate::store::{Found, Request, Store};

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
        Error::timeout(format!("the store did not answer within {:?}", self.time))
    }
}
