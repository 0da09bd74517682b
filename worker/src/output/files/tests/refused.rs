//! What is refused before anything is written.

use std::os::unix::fs::symlink;

use arrow::datatypes::{DataType, Field, IntervalUnit, Schema};
use keyloom_common::ErrorKind;

use super::*;
use crate::access::{Access, AccessSettings};

fn columns(columns: &[(&str, DataType)]) -> SchemaRef {
    let fields = columns.iter().map(|(name, data_type)| Field::new(*name, data_type.clone(), true));
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

async fn refused(spec: OutputSpec, schema: SchemaRef) -> String {
    let error = outputs().prepare(PlannedOutput { spec, schema }).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    error.message().to_owned()
}

#[tokio::test]
async fn places_that_are_no_folders_are_refused_with_the_choices() {
    let target = Target::new();
    target.put("file", "x");
    let file = target.path().join("file").to_str().unwrap().to_owned();
    let is_file = format!("{file} is a file; name a folder");
    let cases = [
        ("https://example.com/out/", "outputs are written to local paths, file://, s3://"),
        ("hdfs://name/out/", "outputs are written to local paths, file://, s3://"),
        ("/data/*/out", "output /data/*/out has a wildcard; name one folder"),
        ("relative/out", "relative/out is neither an absolute path nor a URL"),
        ("/", "an output is a folder below /"),
        (file.as_str(), is_file.as_str()),
        ("s3://me:secret@bucket/a", "s3://bucket/a is given with a user"),
    ];
    for (path, start) in cases {
        let message = refused(spec(path, files(FileFormat::Csv)), numbers([1]).schema()).await;
        assert!(message.starts_with(start), "{path}: {message}");
    }
    let target = Target::new();
    target.put("_delta_log/0.json", "{}");
    for if_exists in [IfExists::Error, IfExists::Append, IfExists::Overwrite] {
        let files = FilesOutput { if_exists, ..files(FileFormat::Parquet) };
        let message = refused(target.spec(files), numbers([1]).schema()).await;
        assert!(message.contains(" is a Delta table: files that are written there"), "{message}");
    }
}

#[tokio::test]
async fn a_folder_that_cannot_be_made_is_named_and_not_tried_again() {
    let target = Target::new();
    target.put("file", "x");
    let outputs = outputs();
    let path = target.path().join("file/out").to_str().unwrap().to_owned();
    let output = PreparedOutput {
        spec: spec(&*path, files(FileFormat::Csv)),
        schema: numbers([1]).schema(),
        version: None,
    };
    let refused = write(&outputs, &output, attempt(JOB, 0), &[numbers([1])]).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Invalid, "{refused}");
    let start = format!("no files can be written to {path}: ");
    assert!(refused.message().starts_with(&start), "{refused}");
}

#[tokio::test]
async fn columns_that_cannot_be_written_are_named() {
    let list = || DataType::new_list(DataType::Int32, true);
    let cases = [
        (FileFormat::Csv, list(), "column 'x' holds List(Int32), which CSV cannot hold"),
        (
            FileFormat::Parquet,
            DataType::Interval(IntervalUnit::MonthDayNano),
            "column 'x' holds Interval(MonthDayNano), which Parquet cannot hold",
        ),
        (
            FileFormat::Json,
            DataType::Map(
                Arc::new(Field::new(
                    "entries",
                    DataType::Struct(
                        vec![
                            Field::new("key", DataType::Int32, false),
                            Field::new("value", DataType::Int32, true),
                        ]
                        .into(),
                    ),
                    false,
                )),
                false,
            ),
            "column 'x' holds Map(",
        ),
    ];
    for (format, data_type, start) in cases {
        let target = Target::new();
        let schema = columns(&[("id", DataType::Int64), ("x", data_type)]);
        let message = refused(target.spec(files(format)), schema).await;
        assert!(message.starts_with(start), "{message}");
    }
}

#[tokio::test]
async fn columns_that_name_no_folders_are_refused() {
    let schema = || {
        columns(&[
            ("id", DataType::Int64),
            ("score", DataType::Float64),
            ("list", DataType::new_list(DataType::Int32, true)),
            ("day", DataType::Date32),
        ])
    };
    let cases = [
        (vec!["nix"], "partition_by: no column 'nix' among id, score, list, day"),
        (vec!["day", "score"], "partition_by: column 'score' holds Float64, whose values are no"),
        (vec!["list"], "partition_by: column 'list' holds List(Int32), whose values are no"),
    ];
    for (names, start) in cases {
        let target = Target::new();
        let partition_by = names.into_iter().map(str::to_owned).collect();
        let files = FilesOutput { partition_by, ..files(FileFormat::Parquet) };
        let message = refused(target.spec(files), schema()).await;
        assert!(message.starts_with(start), "{message}");
    }
    let target = Target::new();
    let files = FilesOutput { partition_by: vec!["n".to_owned()], ..files(FileFormat::Csv) };
    let message = refused(target.spec(files), numbers([1]).schema()).await;
    assert_eq!(message, "partition_by names all columns, and files need one");
}

/// Outputs of jobs that may touch this folder alone.
fn limited_to(root: &str) -> FileOutputs {
    let roots = Some(vec![root.to_owned()]);
    let settings = AccessSettings { roots, ..AccessSettings::default() };
    let patience = Patience::of(&StoreSettings::default());
    let stores = ObjectStores::new(Default::default(), patience);
    let stores = Arc::new(stores.limited(Access::new(&settings, Vec::new()).unwrap()));
    outputs_of(&stores, OutputSettings::default())
}

#[tokio::test]
async fn links_that_lead_out_are_looked_for_before_and_after_tasks_write() {
    let (allowed, other) = (Target::new(), Target::new());
    let outputs = limited_to(allowed.path().to_str().unwrap());
    let schema = || numbers([1]).schema();
    let planned = || PlannedOutput { spec: allowed.spec(files(FileFormat::Csv)), schema: schema() };
    let output = outputs.prepare(planned()).await.unwrap();
    symlink(other.path(), allowed.path().join("link")).unwrap();
    // A task looks at what it writes, however much is beside it.
    let pieces = write(&outputs, &output, attempt(JOB, 0), &[numbers([1])]).await.unwrap();
    let refused = outputs.commit(written(JOB, &output, pieces)).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::PermissionDenied);
    let refused = outputs.prepare(planned()).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::PermissionDenied);
    assert_eq!((allowed.data(), other.all()), (Vec::new(), Vec::new()));
}

#[tokio::test]
async fn what_jobs_may_not_touch_is_not_written_whether_it_is_there_or_not() {
    let (allowed, other) = (Target::new(), Target::new());
    let root = allowed.path().to_str().unwrap().to_owned();
    let outputs = limited_to(&root);
    symlink(other.path(), allowed.path().join("link")).unwrap();
    let outside = other.path().to_str().unwrap();
    let places = [
        outside.to_owned(),
        format!("{outside}/new/deep"),
        format!("{root}/link"),
        format!("{root}/link/new"),
        format!("{root}/../new"),
        format!("file://{outside}/new"),
    ];
    let schema = || numbers([1]).schema();
    for place in places {
        let spec = spec(&*place, files(FileFormat::Csv));
        let error = outputs.prepare(PlannedOutput { spec, schema: schema() }).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{place}: {error}");
        assert!(error.message().contains("access.roots"), "{error}");
    }
    let spec = spec(format!("{root}/new/deep"), files(FileFormat::Csv));
    let output = outputs.prepare(PlannedOutput { spec, schema: schema() }).await.unwrap();
    // What becomes a link later is looked at again.
    symlink(other.path(), allowed.path().join("new")).unwrap();
    let written = write(&outputs, &output, attempt(JOB, 0), &[numbers([1])]).await;
    assert_eq!(written.unwrap_err().kind(), ErrorKind::PermissionDenied);
    assert_eq!(other.all(), Vec::<String>::new());
}
