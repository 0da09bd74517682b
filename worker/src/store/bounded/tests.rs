//! Bounds around a store that notes what it is asked, and around one that fails as it is told.

use std::{
    num::NonZeroUsize,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use arrow::array::{Array, ArrayRef, Int64Array};
use async_trait::async_trait;
use keyloom_common::{Error, ErrorKind, Result, memory::MemoryBudget, store::Access};

use super::{
    faults::{Faults, Faulty},
    *,
};
use crate::store::{
    Found, Place, Request, StoreSettings, Values,
    contract::fixture::{held, values},
};

/// A store that holds even keys. The value of each column is the key.
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
        let held: Vec<_> = keys.values().iter().map(|key| key % 2 == 0).collect();
        let rows = held.iter().zip(0..);
        let place = |(held, row): (&bool, u32)| match held {
            true => Place { piece: 0, row },
            false => Place::NONE,
        };
        let (pieces, places) = (vec![request.keys.clone()], rows.map(place).collect());
        let columns = vec![Values { pieces, places }; request.columns.len()];
        Ok(Found { held, columns, ..Found::default() })
    }

    async fn row_bytes(&self, _: &[usize]) -> Result<u64> {
        Ok(8)
    }
}

fn request(keys: i64) -> Request {
    of_columns(0..keys, &[])
}

fn of_columns(keys: impl IntoIterator<Item = i64>, columns: &[usize]) -> Request {
    let keys = Arc::new(Int64Array::from_iter_values(keys));
    Request { keys, columns: columns.to_vec(), access: Access::default() }
}

/// So many bytes for answers.
fn answers(answer_cache_bytes: u64) -> Arc<Answers> {
    let settings = StoreSettings { answer_cache_bytes, ..StoreSettings::default() };
    let memory = MemoryBudget::new("memory_bytes", 1 << 20);
    Arc::new(Answers::new(&settings, &memory))
}

/// On a worker that does not rest for long.
fn bounds_with(capabilities: Capabilities, answers: &Arc<Answers>) -> Bounds {
    let (retry_rest_ms, retry_rest_max_ms) = (1, 1);
    let settings = StoreSettings { retry_rest_ms, retry_rest_max_ms, ..StoreSettings::default() };
    Bounds::of(capabilities, Patience::of(&settings), answers)
}

fn bounds(capabilities: Capabilities) -> Bounds {
    bounds_with(capabilities, &answers(1 << 20))
}

/// A store with faults, and what it is within these bounds.
fn faulty(faults: Faults, capabilities: Capabilities) -> (Arc<Faulty>, Arc<dyn Store>) {
    let faulty = Arc::new(Faulty::new(Arc::new(Even::default()), faults));
    (faulty.clone(), bounds(capabilities).around(faulty))
}

fn retries(max_retries: u32) -> Capabilities {
    Capabilities { max_retries: Some(max_retries), ..Capabilities::default() }
}

#[tokio::test]
async fn large_requests_are_asked_in_parts_of_which_few_are_in_flight() {
    let even = Arc::new(Even::default());
    let bounds = bounds(Capabilities {
        max_keys: NonZeroUsize::new(3),
        requests_in_flight: NonZeroUsize::new(2),
        ..Capabilities::default()
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
    let bounds = bounds(Capabilities { deadline, ..Capabilities::default() });
    let error = bounds.around(silent).lookup(request(1)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert!(error.message().starts_with("no answer in 1 ms, "), "{error}");
}

#[test]
fn a_store_that_bears_all_is_left_as_it_is() {
    let store: Arc<dyn Store> = Arc::new(Even::default());
    let bounded = bounds(Capabilities::default()).around(Arc::clone(&store));
    assert!(Arc::ptr_eq(&bounded, &store));
}

#[tokio::test]
async fn what_failed_is_asked_again_and_what_was_answered_is_not() {
    let capabilities = Capabilities { max_keys: NonZeroUsize::new(2), ..retries(2) };
    let (store, bounded) = faulty(Faults { first: 2, ..Faults::default() }, capabilities);
    let found = bounded.lookup(request(7)).await.unwrap();
    assert_eq!(found.held, [true, false, true, false, true, false, true]);
    let mut answered = store.answered();
    answered.sort_unstable();
    assert_eq!((answered, store.requests()), (vec![1, 2, 2, 2], 6));
}

#[tokio::test]
async fn a_store_is_asked_again_as_often_as_is_allowed() {
    // The worker's request_attempts are 4.
    for (max_retries, requests) in [(0, 1), (2, 3), (3, 4), (u32::MAX, 4)] {
        let faults = Faults { first: 10, ..Faults::default() };
        let (store, bounded) = faulty(faults, retries(max_retries));
        let error = bounded.lookup(request(1)).await.unwrap_err();
        assert_eq!(error, Error::unavailable(format!("request {requests} was lost")));
        assert_eq!(store.requests(), requests);
    }
}

#[tokio::test]
async fn what_would_be_refused_again_is_not_asked_again() {
    for kind in [ErrorKind::Invalid, ErrorKind::NotFound, ErrorKind::ResourceExhausted] {
        let faults = Faults { first: 10, kind: Some(kind), ..Faults::default() };
        let (store, bounded) = faulty(faults, retries(3));
        assert_eq!(bounded.lookup(request(1)).await.unwrap_err().kind(), kind);
        assert_eq!(store.requests(), 1);
    }
}

#[tokio::test]
async fn a_request_that_is_not_answered_in_time_is_made_again() {
    let told = Arc::new(Semaphore::new(0));
    let deadline = Some(Duration::from_millis(20));
    let faults = Faults { told: Some(Arc::clone(&told)), ..Faults::default() };
    let (store, bounded) = faulty(faults, Capabilities { deadline, ..retries(3) });
    let speak_once_asked_again = async {
        while store.requests() < 2 {
            tokio::task::yield_now().await;
        }
        told.add_permits(1);
    };
    let (found, ()) = tokio::join!(bounded.lookup(request(3)), speak_once_asked_again);
    assert_eq!(found.unwrap().held, [true, false, true]);
    assert_eq!(store.answered(), [3]);
}

#[tokio::test]
async fn what_waits_for_a_slot_does_not_reach_the_store() {
    let told = Arc::new(Semaphore::new(0));
    let capabilities =
        Capabilities { requests_in_flight: NonZeroUsize::new(1), ..Capabilities::default() };
    let faults = Faults { told: Some(Arc::clone(&told)), ..Faults::default() };
    let (store, bounded) = faulty(faults, capabilities);
    let speak = async {
        for answered in 0..3 {
            while store.answered().len() < answered || store.requests() <= answered {
                tokio::task::yield_now().await;
            }
            assert_eq!(store.requests(), answered + 1);
            told.add_permits(1);
        }
    };
    let ask = || bounded.lookup(request(1));
    let (one, two, three, ()) = tokio::join!(ask(), ask(), ask(), speak);
    assert!(one.is_ok() && two.is_ok() && three.is_ok());
}

#[tokio::test]
async fn an_answer_that_lacks_a_column_is_an_error_and_not_half_an_answer() {
    let max_keys = NonZeroUsize::new(2);
    let bounded = [
        Capabilities { max_keys, ..Capabilities::default() },
        Capabilities { keeps_answers: true, ..Capabilities::default() },
    ];
    for capabilities in bounded {
        let faults = Faults { drops_column: true, ..Faults::default() };
        let (_, bounded) = faulty(faults, capabilities);
        let error = bounded.lookup(of_columns(0..5, &[0, 1])).await.unwrap_err();
        assert_eq!(error, Error::internal("a store answered 1 of 2 columns"));
    }
}

/// The keys that are held, from a column of an answer.
fn column(found: &Found) -> ArrayRef {
    assert_eq!(held(found), found.held);
    values(found, 0)
}

fn keys(keys: &[Option<i64>]) -> ArrayRef {
    Arc::new(Int64Array::from(keys.to_vec()))
}

#[tokio::test]
async fn rows_that_are_kept_are_not_asked_for_again_and_misses_are() {
    let capabilities = Capabilities { keeps_answers: true, ..Capabilities::default() };
    let (store, bounded) = faulty(Faults::default(), capabilities);
    let ask = async |keys: &[i64], columns: &[usize]| {
        bounded.lookup(of_columns(keys.iter().copied(), columns)).await.unwrap()
    };
    let found = ask(&[4, 1, 2], &[0]).await;
    assert_eq!(&column(&found), &keys(&[Some(4), None, Some(2)]));
    // Two rows are known; a miss and a new key are not.
    let found = ask(&[2, 1, 6, 4], &[0]).await;
    assert_eq!(&column(&found), &keys(&[Some(2), None, Some(6), Some(4)]));
    let found = ask(&[6, 4, 2], &[0]).await;
    assert_eq!(&column(&found), &keys(&[Some(6), Some(4), Some(2)]));
    assert_eq!(store.answered(), [3, 2]);
    // Other columns are other answers.
    assert_eq!(ask(&[6, 4], &[]).await.held, [true, true]);
    assert_eq!(ask(&[4, 6], &[]).await.held, [true, true]);
    assert_eq!(store.answered(), [3, 2, 2]);
}

#[tokio::test]
async fn stores_do_not_share_their_answers_and_names_of_a_store_do() {
    let capabilities = Capabilities { keeps_answers: true, ..Capabilities::default() };
    let answers = answers(1 << 20);
    let [one, other] = [(); 2].map(|()| bounds_with(capabilities, &answers));
    let store = Arc::new(Faulty::new(Arc::new(Even::default()), Faults::default()));
    for bounds in [&one, &one, &other] {
        let found = bounds.around(store.clone()).lookup(request(1)).await.unwrap();
        assert_eq!(found.held, [true]);
    }
    assert_eq!(store.requests(), 2);
}

#[tokio::test]
async fn answers_that_find_no_room_are_not_kept() {
    let capabilities = Capabilities { keeps_answers: true, ..Capabilities::default() };
    for (bytes, requests) in [(0, 2), (100, 2), (1 << 20, 1)] {
        let store = Arc::new(Faulty::new(Arc::new(Even::default()), Faults::default()));
        let bounded = bounds_with(capabilities, &answers(bytes)).around(store.clone());
        for _ in 0..2 {
            let found = bounded.lookup(of_columns([2], &[0])).await.unwrap();
            assert_eq!(&column(&found), &keys(&[Some(2)]));
        }
        assert_eq!(store.requests(), requests, "{bytes} bytes");
    }
}
