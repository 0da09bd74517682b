use std::sync::Arc;

use arrow::{
    array::{ArrayRef, Int64Array, RecordBatch, StringViewArray},
    datatypes::DataType,
};
use datafusion::{error::DataFusionError, physical_plan::stream::RecordBatchStreamAdapter};
use futures::stream;

use super::*;

fn rows(ids: &[i64]) -> RecordBatch {
    let names = ids.iter().map(|id| Some(format!("n{id}")));
    let columns: [(&str, ArrayRef, bool); 2] = [
        ("id", Arc::new(Int64Array::from(ids.to_vec())), true),
        ("name", Arc::new(StringViewArray::from_iter(names)), true),
    ];
    RecordBatch::try_from_iter_with_nullable(columns).unwrap()
}

fn stream_of(
    batches: Vec<std::result::Result<RecordBatch, DataFusionError>>,
) -> SendableRecordBatchStream {
    Box::pin(RecordBatchStreamAdapter::new(rows(&[]).schema(), stream::iter(batches)))
}

async fn write(dataset: &NewDataset, ids: &[i64]) -> Result<WrittenDataset> {
    dataset.write(stream_of(vec![Ok(rows(ids))]), &StoreSettings::default()).await
}

fn new(folder: &tempfile::TempDir, name: &str) -> NewDataset {
    NewDataset {
        uri: folder.path().join(name).display().to_string(),
        key: vec!["id".to_owned()],
        declares_key: true,
        ..NewDataset::default()
    }
}

fn names(folder: &tempfile::TempDir) -> Vec<String> {
    let entries = fs::read_dir(folder.path()).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.collect();
    names.sort();
    names
}

#[tokio::test]
async fn a_dataset_has_its_rows_its_key_and_its_index() {
    let folder = tempfile::tempdir().unwrap();
    let dataset = NewDataset { index: true, ..new(&folder, "a.lance") };
    assert_eq!(write(&dataset, &[3, 1, 2]).await.unwrap().rows, 3);
    assert_eq!(names(&folder), ["a.lance"]);
    let written = Dataset::open(&dataset.uri).await.unwrap();
    assert_eq!(written.load_indices().await.unwrap().len(), 1);
    let key = written.schema().unenforced_primary_key();
    assert_eq!(key.iter().map(|field| field.name.as_str()).collect::<Vec<_>>(), ["id"]);
    assert_eq!(written.schema().field("name").unwrap().data_type(), DataType::Utf8);
}

#[tokio::test]
async fn a_dataset_is_replaced_only_if_that_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let dataset = new(&folder, "a.lance");
    write(&dataset, &[1]).await.unwrap();
    let refused = write(&dataset, &[1, 2]).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Invalid);
    assert!(refused.message().contains("is not overwritten unless that is said"), "{refused}");
    let dataset = NewDataset { overwrite: true, ..dataset };
    let written = write(&dataset, &[1, 2]).await.unwrap();
    assert_eq!(written, WrittenDataset { version: 2, rows: 2 });
    assert_eq!(names(&folder), ["a.lance"]);
}

#[tokio::test]
async fn what_is_no_dataset_is_never_replaced() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("a"), "text").unwrap();
    let dataset = NewDataset { overwrite: true, ..new(&folder, "a") };
    let refused = write(&dataset, &[1]).await.unwrap_err();
    assert!(refused.message().contains("is no Lance dataset"), "{refused}");
    assert_eq!(fs::read_to_string(folder.path().join("a")).unwrap(), "text");
    fs::create_dir(folder.path().join("empty")).unwrap();
    std::os::unix::fs::symlink(folder.path().join("empty"), folder.path().join("link")).unwrap();
    let refused = write(&new(&folder, "link"), &[1]).await.unwrap_err();
    assert!(refused.message().contains("is no Lance dataset"), "{refused}");
    write(&new(&folder, "empty"), &[1]).await.unwrap();
    let refused = write(&new(&folder, "nowhere/a.lance"), &[1]).await.unwrap_err();
    assert!(refused.message().starts_with("there is no folder "), "{refused}");
}

#[tokio::test]
async fn rows_that_fail_leave_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let failing = vec![Ok(rows(&[1])), Err(DataFusionError::Execution("no more".to_owned()))];
    let dataset = new(&folder, "a.lance");
    let failed = dataset.write(stream_of(failing), &StoreSettings::default()).await.unwrap_err();
    assert!(failed.message().contains("no more"), "{failed}");
    assert_eq!(names(&folder), [""; 0]);
}

#[tokio::test]
async fn keys_and_indices_that_cannot_be_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let check = async |dataset: NewDataset, words: &str| {
        let refused = write(&dataset, &[1]).await.unwrap_err();
        assert!(refused.message().contains(words), "{refused}");
    };
    let dataset = new(&folder, "a.lance");
    let key = |key: &[&str]| key.iter().map(|name| (*name).to_owned()).collect();
    check(
        NewDataset { key: key(&["nix"]), ..dataset.clone() },
        "key column 'nix' not found; there are 'id', 'name'",
    )
    .await;
    check(NewDataset { key: key(&[]), ..dataset.clone() }, "a store needs a key").await;
    let several = NewDataset { key: key(&["id", "name"]), index: true, ..dataset };
    check(several, "an index is of one column").await;
}
