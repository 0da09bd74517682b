use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use datafusion::parquet::{
    arrow::ArrowWriter,
    file::properties::{EnabledStatistics, WriterProperties},
};
use keyloom_common::ErrorKind;
use object_store::{ObjectStoreExt, memory::InMemory};

use super::*;

fn location(url: &str) -> Location {
    Location { url: url.to_owned(), profile: None }
}

/// A file of so many row groups of one row.
async fn stored(groups: i64, properties: WriterProperties) -> (Arc<dyn ObjectStore>, ObjectMeta) {
    let row = |n: i64| {
        let numbers: ArrayRef = Arc::new(Int64Array::from(vec![n]));
        RecordBatch::try_from_iter([("n", numbers)]).unwrap()
    };
    let mut writer = ArrowWriter::try_new(Vec::new(), row(0).schema(), Some(properties)).unwrap();
    for group in 0..groups {
        writer.write(&row(group)).unwrap();
        writer.flush().unwrap();
    }
    let (store, path) = (InMemory::new(), Path::from("rows.parquet"));
    store.put(&path, writer.into_inner().unwrap().into()).await.unwrap();
    let meta = store.head(&path).await.unwrap();
    (Arc::new(store), meta)
}

#[tokio::test]
async fn an_end_is_read_once_and_then_where_pages_are() {
    let (ends, here) = (Ends::new(), location("file:///"));
    let (store, meta) = stored(3, WriterProperties::default()).await;
    let end = ends.get(&here, &store, &meta).await.unwrap();
    assert!(end.metadata().offset_index().is_none());
    assert!(Arc::ptr_eq(&end, &ends.get(&here, &store, &meta).await.unwrap()));
    let with_pages = ends.with_pages(&here, &store, &meta).await.unwrap();
    assert!(with_pages.metadata().offset_index().is_some());
    // Nothing more is read.
    store.delete(&meta.location).await.unwrap();
    assert!(Arc::ptr_eq(&with_pages, &ends.with_pages(&here, &store, &meta).await.unwrap()));
    assert!(Arc::ptr_eq(&with_pages, &ends.get(&here, &store, &meta).await.unwrap()));
}

#[tokio::test]
async fn an_end_without_pages_is_read_once_too() {
    let (ends, here) = (Ends::new(), location("file:///"));
    let properties = WriterProperties::builder()
        .set_statistics_enabled(EnabledStatistics::None)
        .set_offset_index_disabled(true);
    let (store, meta) = stored(3, properties.build()).await;
    let end = ends.with_pages(&here, &store, &meta).await.unwrap();
    store.delete(&meta.location).await.unwrap();
    assert!(Arc::ptr_eq(&end, &ends.with_pages(&here, &store, &meta).await.unwrap()));
    assert_eq!(end.only(&[1]).num_row_groups(), 1);
}

#[tokio::test]
async fn another_file_of_the_same_path_has_another_end() {
    let (ends, here) = (Ends::new(), location("file:///"));
    let (store, meta) = stored(3, WriterProperties::default()).await;
    ends.with_pages(&here, &store, &meta).await.unwrap();
    store.delete(&meta.location).await.unwrap();
    let rewritten = ObjectMeta { e_tag: Some("another".to_owned()), ..meta.clone() };
    let error = ends.get(&here, &store, &rewritten).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    let elsewhere = location("s3://bucket/");
    assert!(ends.with_pages(&elsewhere, &store, &meta).await.is_err());
}

#[tokio::test]
async fn an_end_is_not_kept_where_nothing_tells_another_file() {
    let (ends, web) = (Ends::new(), location("http://127.0.0.1/"));
    let (store, meta) = stored(3, WriterProperties::default()).await;
    let meta = ObjectMeta { e_tag: None, last_modified: DateTime::UNIX_EPOCH, ..meta };
    ends.get(&web, &store, &meta).await.unwrap();
    ends.with_pages(&web, &store, &meta).await.unwrap();
    store.delete(&meta.location).await.unwrap();
    assert!(ends.get(&web, &store, &meta).await.is_err());
    assert!(ends.with_pages(&web, &store, &meta).await.is_err());
}

#[tokio::test]
async fn a_task_is_told_of_its_row_groups_alone() {
    let (store, meta) = stored(10, WriterProperties::default()).await;
    let end = Ends::new().with_pages(&location("file:///"), &store, &meta).await.unwrap();
    let all = end.metadata();
    let starts: Vec<_> = all.row_groups().iter().map(|group| start_of(group).unwrap()).collect();
    assert_eq!(end.groups(&(0..meta.size)), (0..10).collect::<Vec<_>>());
    assert_eq!(end.groups(&(0..starts[3])), [0, 1, 2]);
    assert_eq!(end.groups(&(starts[3]..starts[5])), [3, 4]);
    let none: [usize; 0] = [];
    assert_eq!(end.groups(&(starts[3] + 1..starts[4])), none);
    assert_eq!(end.groups(&(starts[5]..starts[3])), none);

    let only = end.only(&[3, 4]);
    assert_eq!(only.row_groups(), &all.row_groups()[3..5]);
    assert_eq!(only.column_index().unwrap()[..], all.column_index().unwrap()[3..5]);
    assert_eq!(only.offset_index().unwrap()[..], all.offset_index().unwrap()[3..5]);
    assert_eq!(only.file_metadata(), all.file_metadata());
    assert!(Arc::ptr_eq(&end.only(&end.groups(&(0..meta.size))), &end.metadata));
}
