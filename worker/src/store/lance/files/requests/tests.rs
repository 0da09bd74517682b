//! Requests that are counted, in turns, and made again.

use std::sync::atomic::{AtomicUsize, Ordering};

use futures::future::join_all;
use keyloom_common::Error;
use lance_object_store::{
    ObjectStoreExt,
    chunked::ChunkedStore,
    memory::InMemory,
    throttle::{ThrottleConfig, ThrottledStore},
};

use super::*;
use crate::store::{StoreSettings, lance::error::from_lance};

/// A store with one object, through requests of which each is made for 60 ms at most.
async fn requests(
    wrap: impl FnOnce(InMemory) -> Arc<dyn ObjectStore>,
) -> (Requests, Arc<dyn ObjectStore>, Path) {
    let settings =
        StoreSettings { request_timeout_ms: 20, request_attempts: 3, ..StoreSettings::default() };
    let (requests, memory) = (Requests::new(Patience::of(&settings)), InMemory::new());
    let path = Path::from("a/b");
    memory.put(&path, "0123456789".into()).await.unwrap();
    let store = requests.wrap("", wrap(memory));
    (requests, store, path)
}

#[tokio::test]
async fn a_request_without_an_answer_ends() {
    let never = ThrottleConfig {
        wait_get_per_call: Duration::from_secs(3600),
        ..ThrottleConfig::default()
    };
    let silent =
        |memory: InMemory| -> Arc<dyn ObjectStore> { Arc::new(ThrottledStore::new(memory, never)) };
    let (requests, store, path) = requests(silent).await;
    let error = store.get(&path).await.unwrap_err();
    let expected = "a/b: no answer in 60 ms, which are the worker's store.request_attempts \
                    times its store.request_timeout_ms";
    assert_eq!(from_lance(lance::Error::from(error)), Error::timeout(expected));
    assert_eq!(requests.ledger().answers(), 0);
}

#[tokio::test]
async fn answers_are_counted_and_each_part_of_them() {
    let in_parts = |memory: InMemory| -> Arc<dyn ObjectStore> {
        Arc::new(ChunkedStore::new(Arc::new(memory), 4))
    };
    let (requests, store, path) = requests(in_parts).await;
    let answers = || requests.ledger().answers();
    let got = store.get(&path).await.unwrap();
    assert_eq!(answers(), 1);
    assert_eq!(got.bytes().await.unwrap(), "0123456789");
    // Three parts, and their end.
    assert_eq!(answers(), 5);
    assert!(store.head(&Path::from("c")).await.is_err());
    assert_eq!(answers(), 6);
}

#[test]
fn clients_are_told_the_bounds() {
    let options = options(Patience::of(&StoreSettings::default()));
    let expected = [
        ("read_timeout", "10000ms"),
        ("connect_timeout", "3000ms"),
        ("timeout", "30000ms"),
        ("client_max_retries", "3"),
        ("lance_aimd_max_retries", "1"),
    ];
    assert_eq!(options, expected.map(|(name, value)| (name, value.to_owned())));
}

#[test]
fn what_a_store_s_options_set_goes_before_its_profile() {
    let usual = Pace::default();
    assert!(names(&usual).is_empty());
    assert!(names(&Pace { requests_in_flight: Some(3), ..usual }).is_empty());
    assert_eq!(names(&Pace { request_attempts: Some(2), ..usual }), ["client_max_retries"]);
    let timeouts = ["read_timeout", "connect_timeout", "timeout"];
    assert_eq!(names(&Pace { request_timeout_ms: Some(9), ..usual }), timeouts);
}

/// A store that counts requests, those in flight, too, and refuses the first.
#[derive(Debug, Default)]
struct Busy {
    inner: InMemory,
    refuses: usize,
    asked: AtomicUsize,
    now: AtomicUsize,
    most: AtomicUsize,
}

impl Busy {
    async fn new(refuses: usize) -> Arc<Self> {
        let busy = Self { refuses, ..Self::default() };
        busy.inner.put(&Path::from("a"), "0123456789".into()).await.unwrap();
        Arc::new(busy)
    }
}

impl fmt::Display for Busy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("busy")
    }
}

#[async_trait]
impl ObjectStore for Busy {
    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let now = self.now.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(now, Ordering::SeqCst);
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        self.now.fetch_sub(1, Ordering::SeqCst);
        if self.asked.fetch_add(1, Ordering::SeqCst) < self.refuses {
            let told = "Server returned non-2xx status code: 503 Service Unavailable: SlowDown";
            return Err(StoreError::Generic { store: "S3", source: told.into() });
        }
        self.inner.get_opts(location, options).await
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        self.inner.put_opts(location, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(location, options).await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(locations)
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

/// The bytes of the one object.
async fn get(store: Arc<dyn ObjectStore>) -> Bytes {
    store.get(&Path::from("a")).await.unwrap().bytes().await.unwrap()
}

/// Requests of which so many may be in flight, and such that a store's options allow fewer.
fn bounded(most: usize, of_store: u64) -> (Arc<Requests>, Arc<Requests>) {
    let settings = StoreSettings { remote_requests_in_flight: most, ..StoreSettings::default() };
    let patience = Patience::of(&settings);
    let requests = Arc::new(Requests::new(patience));
    let pace = Pace { requests_in_flight: Some(of_store), ..Pace::default() };
    (requests.clone(), requests.within(patience.of_store(&pace)))
}

#[tokio::test]
async fn as_many_requests_are_in_flight_as_there_may_be_and_no_more() {
    for (most, of_store, expected) in [(20, 100, 20), (20, 5, 5), (3, 5, 3)] {
        let (_, part) = bounded(most, of_store);
        let busy = Busy::new(0).await;
        let store = part.wrap("", busy.clone());
        let got = join_all((0..50).map(|_| get(store.clone()))).await;
        assert!(got.iter().all(|bytes| bytes == "0123456789"));
        assert_eq!(busy.most.load(Ordering::SeqCst), expected, "{of_store} of {most}");
    }
}

#[tokio::test]
async fn stores_with_bounds_of_their_own_take_turns_with_others() {
    let (all, part) = bounded(10, 8);
    let busy = Busy::new(0).await;
    let stores = [all.wrap("", busy.clone()), part.wrap("", busy.clone())];
    join_all((0..50).map(|nth| get(stores[nth % 2].clone()))).await;
    assert_eq!(busy.most.load(Ordering::SeqCst), 10);
    // The same bounds are the same requests, and so the same connections.
    assert!(Arc::ptr_eq(&part, &all.clone().within(part.patience)));
    assert!(Arc::ptr_eq(&all, &all.clone().within(all.patience)));
}

#[tokio::test]
async fn a_refused_request_is_made_again() {
    let requests = Requests::new(Patience::of(&StoreSettings::default()));
    let busy = Busy::new(3).await;
    assert_eq!(get(requests.wrap("", busy.clone())).await, "0123456789");
    assert_eq!(busy.asked.load(Ordering::SeqCst), 4);
}

#[tokio::test]
async fn a_request_that_is_always_refused_ends_and_was_not_answered() {
    let settings = StoreSettings { request_timeout_ms: 150, ..StoreSettings::default() };
    let requests = Requests::new(Patience::of(&settings));
    let busy = Busy::new(usize::MAX).await;
    let store = requests.wrap("", busy.clone());
    let error = store.get(&Path::from("a")).await.unwrap_err();
    assert!(error.to_string().contains("status code: 503"), "{error}");
    assert!(busy.asked.load(Ordering::SeqCst) <= 3, "{busy:?}");
    assert_eq!(requests.ledger().answers(), 0);
}

#[test]
fn rests_are_spread() {
    let rest = Duration::from_millis(100);
    let rests: Vec<_> = (0..100).map(|nth| spread(rest, nth)).collect();
    assert!(rests.iter().all(|spread| (rest / 2..=rest).contains(spread)));
    let long = rests.iter().filter(|spread| **spread > rest * 3 / 4).count();
    assert!((45..=55).contains(&long), "{long}");
}

#[test]
fn only_files_of_this_machine_are_local() {
    for (uri, local) in [
        ("/data/a.lance", true),
        ("a.lance", true),
        ("file:///data/a.lance", true),
        ("file-object-store:///data/a.lance", false),
        ("s3://bucket/a.lance", false),
        ("memory://a", false),
    ] {
        assert_eq!(is_local(uri), local, "{uri}");
    }
}
