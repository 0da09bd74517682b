use std::fs;

use datafusion::error::DataFusionError;
use futures::future::maybe_done;
use keyloom_common::ErrorKind;
use object_store::{local::LocalFileSystem, memory::InMemory};

use super::*;

fn location(url: &str) -> Location {
    Location { url: url.to_owned(), profile: None }
}

fn pinned_slice(meta: &ObjectMeta) -> FileSlice {
    FileSlice {
        path: meta.location.to_string(),
        size: meta.size,
        e_tag: meta.e_tag.clone(),
        modified_ns: meta.last_modified.timestamp_nanos_opt().unwrap(),
        partition_values: Vec::new(),
        bytes: 0..meta.size,
        rows: None,
        lines_before: 0,
    }
}

/// That object, as users name it.
const SHOWN: &str = "s3://b/a b/c.csv";

/// A store with one object, pinned.
async fn remote(contents: &[u8]) -> (Arc<InMemory>, Path, Pinned) {
    let store = Arc::new(InMemory::new());
    let path = Path::from("a b/c.csv");
    store.put(&path, contents.to_vec().into()).await.unwrap();
    let meta = store.head(&path).await.unwrap();
    let pinned = Pinned::new(Arc::clone(&store) as _, &location("s3://b/"), &[pinned_slice(&meta)]);
    (store, path, pinned)
}

fn changed_error(path: &str) -> Error {
    Error::invalid(format!("input file {path} changed while the job ran; run the job again"))
}

fn vanished_error(path: &str) -> Error {
    Error::not_found(format!("input file {path} vanished while the job ran; run the job again"))
}

/// As DataFusion's readers hand errors on.
fn handed_on(error: StoreError) -> Error {
    DataFusionError::ObjectStore(Box::new(error)).into()
}

#[tokio::test]
async fn what_was_pinned_is_read() {
    let (_, path, pinned) = remote(b"0123456789").await;
    assert_eq!(pinned.get(&path).await.unwrap().bytes().await.unwrap(), "0123456789");
    assert_eq!(pinned.get_range(&path, 2..4).await.unwrap(), "23");
    assert_eq!(pinned.get_ranges(&path, &[8..9, 0..2]).await.unwrap(), ["8", "01"]);
    assert_eq!(pinned.head(&path).await.unwrap().size, 10);
    assert_eq!(pinned.verify().await, Ok(()));
}

#[tokio::test]
async fn a_changed_file_is_an_error_that_names_it() {
    let (store, path, pinned) = remote(b"0123456789").await;
    store.put(&path, "9876543210".into()).await.unwrap();
    let errors = [
        pinned.get(&path).await.map(drop),
        pinned.get_range(&path, 2..4).await.map(drop),
        pinned.get_ranges(&path, &[8..9, 0..2]).await.map(drop),
        pinned.head(&path).await.map(drop),
    ];
    for error in errors {
        assert_eq!(handed_on(error.unwrap_err()), changed_error(SHOWN));
    }
    // What is gone of a shorter file cannot be read.
    store.put(&path, "".into()).await.unwrap();
    let error = pinned.get_range(&path, 2..4).await.unwrap_err();
    assert_eq!(handed_on(error), changed_error(SHOWN));
}

#[tokio::test]
async fn files_that_nobody_read_are_looked_at_too() {
    let (store, path, pinned) = remote(b"0123456789").await;
    assert_eq!(pinned.look().await, Ok(()));
    store.put(&path, "9876543210".into()).await.unwrap();
    assert_eq!(pinned.look().await, Err(changed_error(SHOWN)));
    store.delete(&path).await.unwrap();
    assert_eq!(pinned.look().await, Err(vanished_error(SHOWN)));
}

#[tokio::test]
async fn a_file_that_vanishes_is_an_error_that_names_it() {
    let (store, path, pinned) = remote(b"0123456789").await;
    store.delete(&path).await.unwrap();
    assert_eq!(handed_on(pinned.get(&path).await.unwrap_err()), vanished_error(SHOWN));
    let ranges = pinned.get_ranges(&path, &[8..9, 0..2]).await;
    assert_eq!(handed_on(ranges.unwrap_err()), vanished_error(SHOWN));
}

#[tokio::test]
async fn a_long_read_is_made_in_spans_of_one_content() {
    let length = 3 * SPAN_BYTES as usize + 5;
    let contents: Vec<_> = (0..length).map(|place| (place / 1000) as u8).collect();
    let (store, path, pinned) = remote(&contents).await;
    let got = pinned.get(&path).await.unwrap();
    assert_eq!((got.range.clone(), got.meta.size), (0..length as u64, length as u64));
    assert_eq!(got.bytes().await.unwrap(), contents);
    let end = GetOptions::new().with_range(Some(GetRange::Offset(7)));
    let end = pinned.get_opts(&path, end).await.unwrap().bytes().await.unwrap();
    assert_eq!(end, contents[7..]);
    let last = GetOptions::new().with_range(Some(GetRange::Suffix(2 * SPAN_BYTES)));
    let last = pinned.get_opts(&path, last).await.unwrap().bytes().await.unwrap();
    assert_eq!(last, contents[length - 2 * SPAN_BYTES as usize..]);

    let mut stream = pinned.get(&path).await.unwrap().into_stream();
    assert_eq!(stream.next().await.unwrap().unwrap().len() as u64, SPAN_BYTES);
    store.put(&path, vec![0; length].into()).await.unwrap();
    let error = stream.try_collect::<Vec<_>>().await.unwrap_err();
    assert_eq!(handed_on(error), changed_error(SHOWN));
}

#[tokio::test]
async fn local_files_are_looked_at_before_and_after() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a b%20c.csv");
    let shown = file.to_str().unwrap();
    fs::write(&file, "0123456789").unwrap();
    let store: Arc<dyn ObjectStore> = Arc::new(LocalFileSystem::new());
    let path = Path::from_absolute_path(&file).unwrap();
    let meta = store.head(&path).await.unwrap();
    let pin = || Pinned::of_files(Arc::clone(&store), &location("file:///"), &[&meta]);
    let pinned = pin();
    assert_eq!(pinned.get_ranges(&path, &[8..9, 0..2]).await.unwrap(), ["8", "01"]);
    assert_eq!(pinned.get(&path).await.unwrap().bytes().await.unwrap(), "0123456789");
    assert_eq!(pinned.verify().await, Ok(()));

    fs::write(&file, "01234567890").unwrap();
    assert_eq!(pinned.verify().await, Err(changed_error(shown)));
    let error = pin().get_ranges(&path, &[0..2, 4..5]).await.unwrap_err();
    assert_eq!(handed_on(error), changed_error(shown));

    fs::remove_file(&file).unwrap();
    assert_eq!(pinned.verify().await, Err(vanished_error(shown)));
    let error = pin().get_ranges(&path, &[0..2, 4..5]).await.unwrap_err();
    assert_eq!(handed_on(error), vanished_error(shown));
}

#[tokio::test]
async fn nothing_else_is_read_and_nothing_written() {
    let (_, path, pinned) = remote(b"0123456789").await;
    let other = Path::from("other");
    let error = handed_on(pinned.get(&other).await.unwrap_err());
    assert_eq!(error, Error::internal("file other is read without being pinned"));
    let writes = [
        pinned.put(&path, "x".into()).await.map(drop),
        pinned.put_multipart(&path).await.map(drop),
        pinned.delete(&path).await,
        pinned.copy(&path, &other).await,
        pinned.rename(&path, &other).await,
    ];
    for write in writes {
        assert_eq!(handed_on(write.unwrap_err()).kind(), ErrorKind::Internal);
    }
}

#[test]
fn e_tags_are_compared_without_what_writers_add() {
    let found = |e_tag: Option<&str>, size, modified| ObjectMeta {
        location: Path::from("a"),
        last_modified: chrono::DateTime::from_timestamp(modified, 5).unwrap(),
        size,
        e_tag: e_tag.map(str::to_owned),
        version: None,
    };
    let pin = |e_tag: Option<&str>| Pin { size: 1, e_tag: e_tag.map(str::to_owned), modified: 7 };
    let cases = [
        (Some("\"a\""), found(Some("\"a\""), 1, 8), true),
        (Some("0x8D"), found(Some("\"0x8D\""), 1, 7), true),
        (Some("W/\"a\""), found(Some("\"a\""), 1, 7), true),
        (Some("\"a\""), found(Some("\"b\""), 1, 7), false),
        (Some("\"a\""), found(Some("\"a\""), 2, 7), false),
        (Some("\"a\""), found(None, 1, 7), true),
        (Some("\"a\""), found(None, 1, 8), false),
        (None, found(None, 1, 7), true),
        (None, found(Some("\"a\""), 1, 8), false),
    ];
    for (pinned, found, expected) in cases {
        assert_eq!(pin(pinned).is(&found), expected, "{pinned:?} {found:?}");
    }
}

#[tokio::test]
async fn small_local_files_are_read_as_they_were_pinned() {
    let folder = tempfile::tempdir().unwrap();
    let store: Arc<dyn ObjectStore> = Arc::new(LocalFileSystem::new());
    let mut slices = Vec::new();
    for name in ["kept", "a b%20c", "changed", "vanished"] {
        let file = folder.path().join(name);
        fs::write(&file, "0123456789").unwrap();
        let path = Path::from_absolute_path(&file).unwrap();
        slices.push(pinned_slice(&store.head(&path).await.unwrap()));
    }
    let [kept, spaced, changed, vanished] = [0, 1, 2, 3].map(|file| slices[file].path.clone());
    fs::write(folder.path().join("changed"), "01234567890").unwrap();
    fs::remove_file(folder.path().join("vanished")).unwrap();
    let pinned = Pinned::new(store, &location("file:///"), &slices);
    let one = Path::parse(&kept).unwrap();
    assert_eq!(pinned.get_range(&one, 2..4).await.unwrap(), "23");
    // All are in memory by now.
    for name in ["kept", "a b%20c"] {
        fs::remove_file(folder.path().join(name)).unwrap();
    }
    for path in [kept, spaced] {
        let path = Path::parse(path).unwrap();
        assert_eq!(pinned.get(&path).await.unwrap().bytes().await.unwrap(), "0123456789");
        assert_eq!(pinned.get_ranges(&path, &[8..9, 0..2]).await.unwrap(), ["8", "01"]);
    }
    let shown = |path: &str| format!("/{}", Path::parse(path).unwrap());
    let error = pinned.get(&Path::parse(&changed).unwrap()).await.unwrap_err();
    assert_eq!(handed_on(error), changed_error(&shown(&changed)));
    let error = pinned.get(&Path::parse(&vanished).unwrap()).await.unwrap_err();
    assert_eq!(handed_on(error), vanished_error(&shown(&vanished)));
    assert_eq!(pinned.verify().await, Ok(()));
}

#[tokio::test]
async fn a_file_that_is_named_twice_is_read_once() {
    let files = [("a", 1), ("b", 1), ("a", 1), ("large", 1 << 20), ("c", 0)];
    let small = SmallFiles::new(files.into_iter());
    let groups = ["a", "b", "large", "c"].map(|path| small.group(&Path::from(path)));
    assert_eq!(groups, [Some(0), Some(0), None, Some(0)]);
    let alone = SmallFiles::new([("a", 1)].into_iter());
    assert_eq!(alone.group(&Path::from("a")), None);
}

#[tokio::test]
async fn whoever_waits_for_small_files_makes_their_reading_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let store: Arc<dyn ObjectStore> = Arc::new(LocalFileSystem::new());
    let mut slices = Vec::new();
    for name in ["one", "other"] {
        let file = folder.path().join(name);
        fs::write(&file, name).unwrap();
        let path = Path::from_absolute_path(&file).unwrap();
        slices.push(pinned_slice(&store.head(&path).await.unwrap()));
    }
    let pinned = Pinned::new(store, &location("file:///"), &slices);
    let [one, other] = [0, 1].map(|file| Path::parse(&slices[file].path).unwrap());
    // Asked for first, and then left alone for as long as the other takes.
    let mut first = Box::pin(maybe_done(pinned.get_range(&one, 0..3)));
    let _pending = futures::poll!(&mut first);
    assert_eq!(pinned.get_range(&other, 0..5).await.unwrap(), "other");
    (&mut first).await;
    assert_eq!(first.as_mut().take_output().unwrap().unwrap(), "one");
}

#[tokio::test]
async fn a_bounded_number_of_bytes_of_small_files_is_in_memory() {
    let folder = tempfile::tempdir().unwrap();
    let store: Arc<dyn ObjectStore> = Arc::new(LocalFileSystem::new());
    let mut slices = Vec::new();
    for file in 0..200 {
        let file = folder.path().join(format!("{file:03}"));
        fs::write(&file, vec![b'x'; 256 << 10]).unwrap();
        let path = Path::from_absolute_path(&file).unwrap();
        slices.push(pinned_slice(&store.head(&path).await.unwrap()));
    }
    let pinned = Pinned::new(store, &location("file:///"), &slices);
    let paths: Vec<_> = slices.iter().map(|slice| Path::parse(&slice.path).unwrap()).collect();
    for path in &paths {
        assert_eq!(pinned.get_range(path, 2..4).await.unwrap(), "xx");
    }
    fs::remove_dir_all(folder.path()).unwrap();
    let first = pinned.get_range(&paths[0], 2..4).await.unwrap_err();
    assert_eq!(handed_on(first).kind(), ErrorKind::NotFound);
    assert_eq!(pinned.get_range(&paths[199], 2..4).await.unwrap(), "xx");
}
