//! Stores that fail as they are told, to test what is around them.

use std::{
    num::NonZeroUsize,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use async_trait::async_trait;
use keyloom_common::{Error, ErrorKind, Result, store::Access};
use tokio::sync::Semaphore;

use crate::store::{Found, KeySet, ReadStats, Request, Store};

/// What goes wrong.
#[derive(Clone, Debug, Default)]
pub(in crate::store) struct Faults {
    /// The first so many requests fail.
    pub(in crate::store) first: usize,
    /// Of so many requests, the last fails.
    pub(in crate::store) every: Option<NonZeroUsize>,
    /// As what they fail; `unavailable` if it is not said.
    pub(in crate::store) kind: Option<ErrorKind>,
    /// Each request waits for a permit, which it uses up.
    pub(in crate::store) told: Option<Arc<Semaphore>>,
    /// Answers lack their last column.
    pub(in crate::store) drops_column: bool,
}

/// A store with faults.
#[derive(Clone, Debug)]
pub(in crate::store) struct Faulty {
    store: Arc<dyn Store>,
    faults: Faults,
    requests: Arc<AtomicUsize>,
    /// The numbers of keys that were asked for, of the requests that were answered.
    answered: Arc<Mutex<Vec<usize>>>,
}

impl Faulty {
    pub(in crate::store) fn new(store: Arc<dyn Store>, faults: Faults) -> Self {
        Self { store, faults, requests: Arc::default(), answered: Arc::default() }
    }

    /// How many requests were made.
    pub(in crate::store) fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }

    /// The numbers of keys that were asked for, of the requests that were answered.
    pub(in crate::store) fn answered(&self) -> Vec<usize> {
        self.answered.lock().unwrap().clone()
    }

    fn fails(&self, request: usize) -> bool {
        let Faults { first, every, .. } = self.faults;
        request <= first || every.is_some_and(|every| request.is_multiple_of(every.get()))
    }
}

#[async_trait]
impl Store for Faulty {
    async fn lookup(&self, request: Request) -> Result<Found> {
        let number = self.requests.fetch_add(1, Ordering::SeqCst) + 1;
        if let Some(told) = &self.faults.told {
            told.acquire().await.unwrap().forget();
        }
        if self.fails(number) {
            let kind = self.faults.kind.unwrap_or(ErrorKind::Unavailable);
            return Err(Error::new(kind, format!("request {number} was lost")));
        }
        let keys = request.keys.len();
        let mut found = self.store.lookup(request).await?;
        if self.faults.drops_column {
            found.columns.pop();
        }
        self.answered.lock().unwrap().push(keys);
        Ok(found)
    }

    async fn row_bytes(&self, columns: &[usize]) -> Result<u64> {
        self.store.row_bytes(columns).await
    }

    /// Keys are learned without faults; what is asked then has them.
    async fn knowing(
        &self,
        keys: &dyn KeySet,
        columns: &[usize],
        access: Access,
    ) -> Result<Option<(Arc<dyn Store>, ReadStats)>> {
        let known = self.store.knowing(keys, columns, access).await?;
        Ok(super::rewrapped(known, |store| Self { store, ..self.clone() }))
    }
}
