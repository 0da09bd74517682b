//! Bounds around a store that notes what it is asked, and around one that fails as it is told.

use std::{
    num::{NonZeroU32, NonZeroUsize},
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use arrow::{
    array::{Array, ArrayRef, Int64Array},
    datatypes::{DataType, Field, Schema},
};
use async_trait::async_trait;
use keyloom_common::{
    BlobId, Error, ErrorKind, Result,
    store::{Access, Snapshot, StoreDescription, StoreKey, StoreSpec},
};

use super::{
    faults::{Faults, Faulty},
    *,
};
use crate::store::{
    Found, KeyRows, KeySet, Place, Request, StoreSettings, Values,
    contract::fixture::{Blobs, held, values},
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

    async fn knowing(
        &self,
        keys: &dyn KeySet,
        _: &[usize],
        _: Access,
    ) -> Result<Option<(Arc<dyn Store>, ReadStats)>> {
        let keys_scanned = keys.keys().await?.len() as u64;
        let stats = ReadStats { keys_scanned, ..ReadStats::default() };
        Ok(Some((Arc::new(Self::default()), stats)))
    }
}

/// The keys of a job.
#[derive(Debug)]
struct Keys(ArrayRef);

#[async_trait]
impl KeySet for Keys {
    fn name(&self) -> BlobId {
        BlobId::of(b"keys")
    }

    async fn keys(&self) -> Result<ArrayRef> {
        Ok(self.0.clone())
    }
}

/// A store of two columns, as a plan names it.
fn planned() -> Arc<ResolvedStore> {
    let fields = ["a", "b"].map(|name| Field::new(name, DataType::Int64, true));
    let spec = StoreSpec { key: Some(StoreKey::column("a")), ..StoreSpec::new("even", "toy", "x") };
    let schema = Arc::new(Schema::new(fields.to_vec()));
    let description = StoreDescription {
        schema,
        snapshot: Snapshot::Immutable,
        figures: None,
        primary_key: None,
        repeats_keys: false,
    };
    ResolvedStore::try_new("even", spec, description).unwrap()
}

fn request(keys: i64) -> Request {
    of_columns(0..keys, &[])
}

fn of_columns(keys: impl IntoIterator<Item = i64>, columns: &[usize]) -> Request {
    let keys = Arc::new(Int64Array::from_iter_values(keys));
    let (access, rows) = (Access::default(), KeyRows::One);
    Request { keys, columns: columns.to_vec(), access, rows }
}

/// A worker with these settings, which does not rest for long.
fn env_with(settings: StoreSettings) -> StoreEnv {
    let settings = StoreSettings { retry_rest_ms: 1, retry_rest_max_ms: 1, ..settings };
    StoreEnv::new(settings, Arc::new(Blobs::default()))
}

/// One with so many bytes for answers.
fn env(answer_cache_bytes: u64) -> StoreEnv {
    env_with(StoreSettings { answer_cache_bytes, ..StoreSettings::default() })
}

fn bounds_on(env: &StoreEnv, capabilities: Capabilities) -> Bounds {
    Bounds::of(env, &planned().spec, Snapshot::Immutable, capabilities)
}

fn bounds(capabilities: Capabilities) -> Bounds {
    bounds_on(&env(1 << 20), capabilities)
}

/// A store with faults, and what it is within these bounds.
fn faulty(faults: Faults, capabilities: Capabilities) -> (Arc<Faulty>, Arc<dyn Store>) {
    let faulty = Arc::new(Faulty::new(Arc::new(Even::default()), faults));
    (faulty.clone(), bounds(capabilities).around(faulty, &planned()))
}

fn attempts(attempts: u32) -> Capabilities {
    let retrying = Retrying::AtMost(NonZeroU32::new(attempts).unwrap());
    Capabilities { retrying, ..Capabilities::default() }
}

#[tokio::test]
async fn large_requests_are_asked_in_parts_of_which_few_are_in_flight() {
    let even = Arc::new(Even::default());
    let bounds = bounds(Capabilities {
        max_keys: NonZeroUsize::new(3),
        requests_in_flight: NonZeroUsize::new(2),
        ..Capabilities::default()
    });
    let found = bounds.around(even.clone(), &planned()).lookup(request(10)).await.unwrap();
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
    let error = bounds.around(silent, &planned()).lookup(request(1)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert!(error.message().starts_with("no answer in 1 ms, "), "{error}");
}

#[tokio::test]
async fn a_store_that_bears_all_is_left_as_it_is() {
    let store: Arc<dyn Store> = Arc::new(Even::default());
    let bounded = bounds(Capabilities::default()).around(Arc::clone(&store), &planned());
    assert!(Arc::ptr_eq(&bounded, &store));
}

#[tokio::test]
async fn what_failed_is_asked_again_and_what_was_answered_is_not() {
    let capabilities = Capabilities { max_keys: NonZeroUsize::new(2), ..attempts(3) };
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
    for (most, requests) in [(1, 1), (3, 3), (4, 4), (u32::MAX, 4)] {
        let faults = Faults { first: 10, ..Faults::default() };
        let (store, bounded) = faulty(faults, attempts(most));
        let error = bounded.lookup(request(1)).await.unwrap_err();
        assert_eq!(error, Error::unavailable(format!("request {requests} was lost")));
        assert_eq!(store.requests(), requests);
    }
}

#[tokio::test]
async fn what_would_be_refused_again_is_not_asked_again() {
    for kind in [ErrorKind::Invalid, ErrorKind::NotFound, ErrorKind::ResourceExhausted] {
        let faults = Faults { first: 10, kind: Some(kind), ..Faults::default() };
        let (store, bounded) = faulty(faults, attempts(4));
        assert_eq!(bounded.lookup(request(1)).await.unwrap_err().kind(), kind);
        assert_eq!(store.requests(), 1);
    }
}

#[tokio::test]
async fn a_request_that_is_not_answered_in_time_is_made_again() {
    let told = Arc::new(Semaphore::new(0));
    let deadline = Some(Duration::from_millis(20));
    let faults = Faults { told: Some(Arc::clone(&told)), ..Faults::default() };
    let (store, bounded) = faulty(faults, Capabilities { deadline, ..attempts(4) });
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
    let env = env(1 << 20);
    let [one, other] = [(); 2].map(|()| bounds_on(&env, capabilities));
    let store = Arc::new(Faulty::new(Arc::new(Even::default()), Faults::default()));
    for bounds in [&one, &one, &other] {
        let bounded = bounds.around(store.clone(), &planned());
        let found = bounded.lookup(request(1)).await.unwrap();
        assert_eq!(found.held, [true]);
    }
    assert_eq!(store.requests(), 2);
}

#[tokio::test]
async fn answers_that_find_no_room_are_not_kept() {
    let capabilities = Capabilities { keeps_answers: true, ..Capabilities::default() };
    for (bytes, requests) in [(0, 2), (100, 2), (1 << 20, 1)] {
        let store = Arc::new(Faulty::new(Arc::new(Even::default()), Faults::default()));
        let bounds = bounds_on(&env(bytes), capabilities);
        let bounded = bounds.around(store.clone(), &planned());
        for _ in 0..2 {
            let found = bounded.lookup(of_columns([2], &[0])).await.unwrap();
            assert_eq!(&column(&found), &keys(&[Some(2)]));
        }
        assert_eq!(store.requests(), requests, "{bytes} bytes");
    }
}

#[tokio::test]
async fn a_store_that_knows_keys_has_the_bounds_that_it_had_before() {
    let capabilities = Capabilities {
        max_keys: NonZeroUsize::new(2),
        requests_in_flight: NonZeroUsize::new(3),
        deadline: Some(Duration::from_secs(60)),
        keeps_answers: true,
        ..attempts(3)
    };
    let (store, bounded) = faulty(Faults { first: 2, ..Faults::default() }, capabilities);
    let bounded = Arc::new(Named { store: bounded, alias: "even".to_owned() });
    let job = Keys(of_columns(0..9, &[]).keys);
    let (known, stats) = bounded.knowing(&job, &[0], Access::default()).await.unwrap().unwrap();
    assert_eq!(stats, ReadStats { keys_scanned: 9, ..ReadStats::default() });
    // It is asked in parts, again where one fails, and never for what it has answered.
    for _ in 0..2 {
        let found = known.lookup(of_columns([0, 2, 4, 6, 8], &[0])).await.unwrap();
        assert_eq!(&column(&found), &keys(&[Some(0), Some(2), Some(4), Some(6), Some(8)]));
    }
    let mut answered = store.answered();
    answered.sort_unstable();
    assert_eq!((answered, store.requests()), (vec![1, 2, 2], 5));
}

#[tokio::test]
async fn a_store_that_never_answers_is_not_asked_again_for_longer_than_the_worker_waits() {
    let settings = StoreSettings { answer_timeout_ms: 50, ..StoreSettings::default() };
    let env = env_with(settings);
    let told = Arc::new(Semaphore::new(0));
    for (deadline, most) in [(None, 1), (Some(Duration::from_millis(20)), 3)] {
        let faults = Faults { told: Some(Arc::clone(&told)), ..Faults::default() };
        let store = Arc::new(Faulty::new(Arc::new(Even::default()), faults));
        let bounds = bounds_on(&env, Capabilities { deadline, ..attempts(4) });
        let bounded = bounds.around(store.clone(), &planned());
        let error = bounded.lookup(request(1)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Timeout);
        assert!((1..=most).contains(&store.requests()), "{} of {most}", store.requests());
    }
}

#[tokio::test]
async fn one_place_has_so_many_slots_however_often_it_is_open() {
    let env = env(0);
    let slots = |slots| {
        let requests_in_flight = NonZeroUsize::new(slots);
        let capabilities = Capabilities { requests_in_flight, ..Capabilities::default() };
        bounds_on(&env, capabilities).slots.unwrap()
    };
    let (one, same, fewer) = (slots(3), slots(3), slots(2));
    assert!(Arc::ptr_eq(&one, &same) && !Arc::ptr_eq(&one, &fewer));
    assert_eq!((one.available_permits(), fewer.available_permits()), (3, 2));
}

#[tokio::test]
async fn many_rows_that_are_kept_are_one_piece_of_values() {
    let capabilities = Capabilities { keeps_answers: true, ..Capabilities::default() };
    let bounds = bounds_on(&env(16 << 20), capabilities);
    let bounded = bounds.around(Arc::new(Even::default()), &planned());
    let even = || (0..1_000).map(|key| key * 2);
    bounded.lookup(of_columns(even(), &[0])).await.unwrap();
    let found = bounded.lookup(of_columns(even().chain([1, 2_000]), &[0])).await.unwrap();
    let expected = even().map(Some).chain([None, Some(2_000)]).collect::<Vec<_>>();
    assert_eq!((&column(&found), found.columns[0].pieces.len()), (&keys(&expected), 2));
}

#[tokio::test]
async fn answers_of_a_store_without_snapshots_are_never_kept() {
    let capabilities = Capabilities { keeps_answers: true, ..Capabilities::default() };
    let store = Arc::new(Faulty::new(Arc::new(Even::default()), Faults::default()));
    let bounds = Bounds::of(&env(1 << 20), &planned().spec, Snapshot::Live, capabilities);
    let bounded = bounds.around(store.clone(), &planned());
    for _ in 0..2 {
        let found = bounded.lookup(of_columns([2], &[0])).await.unwrap();
        assert_eq!(&column(&found), &keys(&[Some(2)]));
    }
    assert_eq!(store.requests(), 2);
}

#[tokio::test]
async fn what_bounds_made_of_requests_is_counted() {
    let capabilities = Capabilities {
        max_keys: NonZeroUsize::new(2),
        deadline: Some(Duration::from_secs(60)),
        keeps_answers: true,
        ..attempts(3)
    };
    let (store, bounded) = faulty(Faults { first: 1, ..Faults::default() }, capabilities);
    let found = bounded.lookup(of_columns([0, 2, 4], &[0])).await.unwrap();
    let expected = ReadStats { requests_made: 3, retries: 1, ..ReadStats::default() };
    assert_eq!((found.stats, store.requests()), (expected, 3));
    let found = bounded.lookup(of_columns([4, 6, 0], &[0])).await.unwrap();
    let expected = ReadStats { requests_made: 1, answer_hits: 2, ..ReadStats::default() };
    assert_eq!((found.stats, store.requests()), (expected, 4));
}
