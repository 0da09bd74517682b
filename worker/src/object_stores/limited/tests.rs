use std::sync::atomic::{AtomicUsize, Ordering};

use futures::future::pending;
use keyloom_common::{Error, input::Location};
use object_store::{ObjectStoreExt, memory::InMemory};

use super::*;
use crate::{input::Pinned, object_stores::from_store, store::StoreSettings};

/// One file in memory. So many of the first requests for it stay without an answer.
#[derive(Debug)]
struct Silent {
    files: InMemory,
    silent: usize,
    asked: AtomicUsize,
}

const PATH: &str = "a/b.csv";

/// Such a store within bounds: a request is made again after 20 ms, and given up after so many.
async fn limited(silent: usize, answer_timeout_ms: u64) -> (Arc<Silent>, Limited) {
    let files = InMemory::new();
    files.put(&Path::from(PATH), "0123456789".into()).await.unwrap();
    let store = Arc::new(Silent { files, silent, asked: AtomicUsize::new(0) });
    let settings = StoreSettings {
        request_timeout_ms: 20,
        request_attempts: 3,
        answer_timeout_ms,
        ..StoreSettings::default()
    };
    let limited = Limited::new(Arc::clone(&store) as _, Patience::of(&settings));
    (store, limited)
}

impl Silent {
    async fn turn(&self) {
        if self.asked.fetch_add(1, Ordering::SeqCst) < self.silent {
            pending::<()>().await;
        }
    }
}

impl fmt::Display for Silent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("silent")
    }
}

#[async_trait]
impl ObjectStore for Silent {
    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.turn().await;
        self.files.get_opts(location, options).await
    }

    /// One object, and then nothing any more.
    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.files.list(prefix).chain(stream::pending()).boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.turn().await;
        self.files.list_with_delimiter(prefix).await
    }

    async fn put_opts(&self, _: &Path, _: PutPayload, _: PutOptions) -> Result<PutResult> {
        unreachable!("nothing is written")
    }

    async fn put_multipart_opts(
        &self,
        _: &Path,
        _: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        unreachable!("nothing is written")
    }

    fn delete_stream(
        &self,
        _: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        unreachable!("nothing is deleted")
    }

    async fn copy_opts(&self, _: &Path, _: &Path, _: CopyOptions) -> Result<()> {
        unreachable!("nothing is copied")
    }
}

fn no_answer(path: &str, ms: u64) -> Error {
    Error::timeout(format!(
        "{path}: no answer in {ms} ms; the worker's store.answer_timeout_ms allows no more"
    ))
}

#[tokio::test]
async fn a_request_without_an_answer_is_made_again() {
    let (store, limited) = limited(2, 60_000).await;
    let path = Path::from(PATH);
    assert_eq!(limited.get_range(&path, 2..4).await.unwrap(), "23");
    assert_eq!(store.asked.load(Ordering::SeqCst), 3);
    assert_eq!(limited.head(&path).await.unwrap().size, 10);
    assert_eq!(limited.list_with_delimiter(None).await.unwrap().common_prefixes.len(), 1);
    assert_eq!(store.asked.load(Ordering::SeqCst), 5);
}

#[tokio::test]
async fn silence_is_an_error_that_names_the_file() {
    let (store, limited) = limited(usize::MAX, 200).await;
    let path = Path::from(PATH);
    let expected = no_answer(PATH, 200);
    assert_eq!(from_store(limited.get(&path).await.unwrap_err()), expected);
    assert!(store.asked.load(Ordering::SeqCst) <= 3);
    assert_eq!(from_store(limited.head(&path).await.unwrap_err()), expected);
    let ranges = limited.get_ranges(&path, &[0..2, 4..6]).await;
    assert_eq!(from_store(ranges.unwrap_err()), expected);
    let listed = limited.list_with_delimiter(Some(&Path::from("a"))).await;
    assert_eq!(from_store(listed.unwrap_err()), no_answer("a", 200));
}

#[tokio::test]
async fn an_answer_that_stops_is_an_error_after_what_came() {
    let (_, limited) = limited(0, 50).await;
    let mut listed = limited.list(Some(&Path::from("a")));
    assert_eq!(listed.try_next().await.unwrap().unwrap().location, Path::from(PATH));
    assert_eq!(from_store(listed.try_next().await.unwrap_err()), no_answer("a", 50));
    assert!(listed.try_next().await.unwrap().is_none());
}

/// Not even to learn whether it changed.
#[tokio::test]
async fn a_silent_file_is_not_looked_at_once_more() {
    let (store, limited) = limited(usize::MAX, 200).await;
    let meta = store.files.head(&Path::from(PATH)).await.unwrap();
    let location = Location { url: "s3://bucket/".to_owned(), profile: None };
    let pinned = Pinned::of_files(Arc::new(limited), &location, &[&meta]);
    let error = from_store(pinned.get(&Path::from(PATH)).await.unwrap_err());
    assert_eq!(error, no_answer(PATH, 200));
    assert!(store.asked.load(Ordering::SeqCst) <= 3);
}
