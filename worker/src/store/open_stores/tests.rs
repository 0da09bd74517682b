//! Opening once, closing the least recently used that nobody uses, forgetting failures, sharing
//! silence.

use std::sync::atomic::{AtomicUsize, Ordering};

use arrow::array::{ArrayRef, Int64Array};
use async_trait::async_trait;
use bytes::Bytes;
use keyloom_common::{
    BlobId, Error, ErrorKind,
    memory::MemoryBudget,
    store::{ManifestId, Pin},
};

use super::*;
use crate::{
    memory::Commons,
    store::{
        BlobSource, StoreSettings,
        contract::fixture::{batch, ipc, lance_spec, memory_spec, write_lance},
    },
};

/// One content, whatever is asked for; the first fetches fail.
#[derive(Debug)]
struct Flaky {
    content: Bytes,
    failures: usize,
    error: Error,
    fetched: AtomicUsize,
}

#[async_trait]
impl BlobSource for Flaky {
    async fn blob(&self, _id: BlobId) -> Result<Bytes> {
        let before = self.fetched.fetch_add(1, Ordering::SeqCst);
        // Let others come before it is there.
        tokio::task::yield_now().await;
        if before < self.failures {
            return Err(self.error.clone());
        }
        Ok(self.content.clone())
    }
}

/// Stores that share one content, and what counts its fetches.
fn stores(failures: usize, max_open_stores: usize) -> (OpenStores, Arc<Flaky>) {
    stores_failing_with(Error::unavailable("nobody gives it"), failures, max_open_stores)
}

fn stores_failing_with(
    error: Error,
    failures: usize,
    max_open_stores: usize,
) -> (OpenStores, Arc<Flaky>) {
    let keys = || Arc::new(Int64Array::from(vec![1, 2])) as ArrayRef;
    let content = ipc(&batch(["a", "b", "c", "d"].map(|key| (key, keys())).to_vec()));
    let blobs = Arc::new(Flaky { content, failures, error, fetched: AtomicUsize::new(0) });
    let settings = StoreSettings { max_open_stores, ..Default::default() };
    (OpenStores::new(StoreEnv::new(settings, blobs.clone())), blobs)
}

/// The content by one of its columns, under a name and an alias that nobody else has.
async fn resolve(key: &str, alias: &str, blobs: &Flaky) -> Arc<ResolvedStore> {
    let content = BlobId::of(&blobs.content);
    let spec = memory_spec(&format!("store of {alias}"), content, key);
    let (stores, _) = stores(0, 1);
    let description = stores.describe(&spec).await.unwrap();
    ResolvedStore::try_new(alias, spec, description).unwrap()
}

#[tokio::test]
async fn a_store_that_many_want_at_once_is_opened_once() {
    let (stores, blobs) = stores(0, 4);
    let (one, other) = (resolve("a", "x", &blobs).await, resolve("a", "y", &blobs).await);
    let both = (0..8).map(|i| if i % 2 == 0 { &one } else { &other });
    let opened = futures::future::join_all(both.map(|store| stores.get(store))).await;
    assert!(opened.iter().all(Result::is_ok));
    assert_eq!(blobs.fetched.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_hundred_aliases_of_a_store_are_one() {
    let (stores, blobs) = stores(0, 4);
    let mut opened = Vec::new();
    for alias in 0..100 {
        let store = resolve("a", &format!("alias{alias}"), &blobs).await;
        opened.push(stores.get(&store).await.unwrap());
    }
    assert_eq!(stores.open_keys(), ["a"]);
    assert_eq!(blobs.fetched.load(Ordering::SeqCst), 1);
}

#[test]
fn a_snapshot_is_the_same_however_it_was_asked_for() {
    let spec = |name: &str, pin: Option<Pin>| {
        let mut lance = lance_spec("/rows.lance", "id");
        lance.pin = pin;
        lance.named(name)
    };
    let snapshot = |number| Snapshot::Version { number, manifest: ManifestId::of(7, None) };
    let newest = key(&spec("a", None), snapshot(3), None);
    let pins = [Pin::Version(3), Pin::Tag("release".to_owned())];
    assert!(pins.into_iter().all(|pin| key(&spec("b", Some(pin)), snapshot(3), None) == newest));
    assert_ne!(key(&spec("a", None), snapshot(2), None), newest);
    assert_ne!(key(&spec("a", None), snapshot(3), Some([0; 32])), newest);
}

#[tokio::test]
async fn a_dataset_that_is_open_is_missed_once_it_is_gone_or_written_anew() {
    let folder = tempfile::tempdir().unwrap();
    let uri = folder.path().join("rows.lance").to_string_lossy().into_owned();
    let rows = || batch([("id", Arc::new(Int64Array::from(vec![1, 2])) as ArrayRef)].to_vec());
    write_lance(&uri, rows(), Default::default()).await;
    let (stores, _) = stores(0, 4);
    let spec = lance_spec(&uri, "id").named("rows");
    let snapshot = stores.describe(&spec).await.unwrap().snapshot;
    assert_eq!(stores.check_dataset(&spec, snapshot).await, Ok(()));
    std::fs::remove_dir_all(&uri).unwrap();
    for anew in [false, true] {
        if anew {
            write_lance(&uri, rows(), Default::default()).await;
        }
        assert!(stores.table(&spec, snapshot).await.is_ok(), "it is open");
        let error = stores.check_dataset(&spec, snapshot).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
        assert!(error.message().contains("was removed or written anew"), "{error}");
    }
}

#[tokio::test]
async fn a_failed_opening_is_not_remembered() {
    let (stores, blobs) = stores(2, 4);
    let store = resolve("a", "x", &blobs).await;
    let attempts = (0..2).map(|_| stores.get(&store));
    for failed in futures::future::join_all(attempts).await {
        let error = failed.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert_eq!(error.message(), "store 'x' cannot be opened: nobody gives it");
    }
    assert!(stores.open_keys().is_empty());
    stores.get(&store).await.unwrap();
    assert_eq!(stores.open_keys(), ["a"]);
}

/// With each under its own name for the store.
#[tokio::test]
async fn those_that_waited_for_a_silent_storage_fail_with_it() {
    let (stores, blobs) = stores_failing_with(Error::timeout("no answer"), 1, 4);
    let (one, other) = (resolve("a", "x", &blobs).await, resolve("a", "y", &blobs).await);
    let failed = futures::future::join_all([&one, &other, &one].map(|store| stores.get(store)));
    let failed = failed.await.into_iter().map(|failed| failed.unwrap_err());
    let expected = ["x", "y", "x"]
        .map(|alias| Error::timeout(format!("store '{alias}' cannot be opened: no answer")));
    assert_eq!(failed.collect::<Vec<_>>(), expected);
    assert_eq!(blobs.fetched.load(Ordering::SeqCst), 1);
    assert!(stores.open_keys().is_empty());
    // Whoever comes later asks anew.
    stores.get(&other).await.unwrap();
    assert_eq!(blobs.fetched.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn the_least_recently_used_store_is_closed() {
    let (stores, blobs) = stores(0, 2);
    let (a, b, c) = tokio::join!(
        resolve("a", "x", &blobs),
        resolve("b", "x", &blobs),
        resolve("c", "x", &blobs)
    );
    for store in [&a, &b, &a, &c] {
        stores.get(store).await.unwrap();
    }
    assert_eq!(stores.open_keys(), ["a", "c"]);
    // What cannot be opened closes nothing.
    let mut gone = ResolvedStore::clone(&b);
    gone.description.snapshot = Snapshot::Version { number: 9, manifest: ManifestId::of(0, None) };
    assert!(stores.get(&Arc::new(gone)).await.is_err());
    assert_eq!(stores.open_keys(), ["a", "c"]);
    assert_eq!(blobs.fetched.load(Ordering::SeqCst), 3);
}

/// The stores of a job, of which there are more than may stay open.
#[tokio::test]
async fn what_is_in_use_is_not_closed_and_the_next_task_finds_it() {
    let (stores, blobs) = stores(0, 1);
    let mut job = Vec::new();
    for key in ["a", "b", "c"] {
        job.push(resolve(key, "x", &blobs).await);
    }
    let fetched = || blobs.fetched.load(Ordering::SeqCst);
    for _task in 0..3 {
        let mut used = Vec::new();
        for store in job.iter().chain(&job) {
            used.push(stores.get(store).await.unwrap());
        }
        assert_eq!((stores.open_keys().join(""), fetched()), ("abc".to_owned(), 3));
    }
    // Nobody uses them when another one is opened.
    let used = stores.get(&resolve("d", "x", &blobs).await).await.unwrap();
    assert_eq!(stores.open_keys(), ["d"]);
    let beside = stores.get(&job[0]).await.unwrap();
    assert_eq!(stores.open_keys(), ["a", "d"]);
    drop(used);
    stores.get(&job[1]).await.unwrap();
    assert_eq!(stores.open_keys(), ["a", "b"]);
    drop(beside);
    assert_eq!(fetched(), 6);
}

#[tokio::test]
async fn stores_that_nobody_uses_give_way_where_memory_is_short() {
    let (_, blobs) = stores(0, 4);
    // It is only just enough to open one, which takes less of it once it is open.
    let content = blobs.content.len() as u64;
    let commons = Commons::new(MemoryBudget::new("memory_bytes", content));
    let env = StoreEnv::within(&commons, StoreSettings::default(), blobs.clone());
    let stores = OpenStores::new(env);
    let (a, b) = (resolve("a", "x", &blobs).await, resolve("b", "x", &blobs).await);
    for (key, store) in [("a", &a), ("b", &b)] {
        stores.get(store).await.unwrap();
        assert_eq!(stores.open_keys(), [key]);
        assert!((1..content).contains(&commons.budget().used()));
    }
    let used = stores.get(&b).await.unwrap();
    let error = stores.get(&a).await.unwrap_err();
    let expected = format!("store 'x' cannot be opened: its {content} bytes are needed, and ");
    // Once nobody uses the other one any more, there is room.
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.message().starts_with(&expected), "{error}");
    assert!(error.message().ends_with("bytes of memory_bytes are free on the worker"), "{error}");
    assert_eq!(stores.open_keys(), ["b"]);
    drop(used);
    stores.get(&a).await.unwrap();
    assert_eq!(stores.open_keys(), ["a"]);
    let task = commons.reserve();
    commons.grow(&task, content).unwrap();
    assert!(stores.open_keys().is_empty());
}
