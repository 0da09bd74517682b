//! Bounds around a store that notes what it is asked.

use std::{
    num::NonZeroUsize,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use arrow::array::{Array, Int64Array};
use async_trait::async_trait;
use keyloom_common::{ErrorKind, Result, store::Access};

use super::*;
use crate::store::{Found, Request};

/// A store that holds even keys.
#[derive(Debug, Default)]
struct Even {
    asked: Mutex<Vec<usize>>,
    now: AtomicUsize,
    most: AtomicUsize,
    silent: bool,
}

#[async_trait]
impl Store for Even {
    async fn lookup(&self, request: Request) -> Result<Found> {
        if self.silent {
            std::future::pending::<()>().await;
        }
        self.most.fetch_max(self.now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        tokio::task::yield_now().await;
        self.now.fetch_sub(1, Ordering::SeqCst);
        self.asked.lock().unwrap().push(request.keys.len());
        let keys = request.keys.as_any().downcast_ref::<Int64Array>().unwrap();
        let held = keys.values().iter().map(|key| key % 2 == 0).collect();
        Ok(Found { held, ..Found::default() })
    }

    async fn row_bytes(&self, _: &[usize]) -> Result<u64> {
        Ok(8)
    }
}

fn request(keys: i64) -> Request {
    let keys = Arc::new(Int64Array::from_iter_values(0..keys));
    Request { keys, columns: Vec::new(), access: Access::default() }
}

#[tokio::test]
async fn large_requests_are_asked_in_parts_of_which_few_are_in_flight() {
    let even = Arc::new(Even::default());
    let bounds = Bounds::of(Capabilities {
        max_keys: NonZeroUsize::new(3),
        requests_in_flight: NonZeroUsize::new(2),
        deadline: None,
    });
    let found = bounds.around(even.clone()).lookup(request(10)).await.unwrap();
    assert_eq!(found.held, (0..10).map(|key| key % 2 == 0).collect::<Vec<_>>());
    let mut asked = even.asked.lock().unwrap().clone();
    asked.sort_unstable();
    assert_eq!(asked, [1, 3, 3, 3]);
    assert_eq!(even.most.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_store_that_does_not_answer_is_a_timeout() {
    let silent = Arc::new(Even { silent: true, ..Even::default() });
    let deadline = Some(Duration::from_millis(1));
    let bounds = Bounds::of(Capabilities { deadline, ..Capabilities::default() });
    let error = bounds.around(silent).lookup(request(1)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
}

#[test]
fn a_store_that_bears_all_is_left_as_it_is() {
    let store: Arc<dyn Store> = Arc::new(Even::default());
    let bounded = Bounds::of(Capabilities::default()).around(Arc::clone(&store));
    assert!(Arc::ptr_eq(&bounded, &store));
}
