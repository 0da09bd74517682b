use arrow::datatypes::{Field, Schema};
use keyloom_common::{ErrorKind, input::Layout, store::KeyColumns};

use super::*;
use crate::samples::{self, files, prepared, scan, store, version, written};

type Plan = Arc<dyn ExecutionPlan>;

fn rows() -> Plan {
    samples::frame(1)
}

/// A scan of a file of an input that was named so.
fn scan_of(asked: &str, file: &str) -> Plan {
    let scan = scan(Layout::Parquet, "file:///", &[file]);
    let scan = scan.downcast_ref::<InputScanExec>().unwrap().clone();
    Arc::new(scan.with_asked(FilesOfInput::of(asked, None)))
}

fn lookup(input: Plan, place: &str) -> Plan {
    samples::lookup(input, vec![store(StoreSpec::new("store", LANCE, place), version(1))])
}

fn lance(if_exists: IfExists) -> OutputKind {
    OutputKind::Lance { if_exists, target_file_bytes: 1 }
}

fn upsert() -> OutputKind {
    OutputKind::Upsert { key: KeyColumns::one("id") }
}

fn refusal(plan: &Plan) -> String {
    let error = check_output(plan).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    error.message().to_owned()
}

#[test]
fn an_output_beside_what_is_read_is_allowed() {
    let csv = scan(Layout::Parquet, "file:///", &["data/in/a.parquet"]);
    for plan in [
        rows(),
        written(rows(), "/data/in/", files(IfExists::Overwrite)),
        written(Arc::clone(&csv), "/data/out/", files(IfExists::Overwrite)),
        written(Arc::clone(&csv), "/data/in/b/", files(IfExists::Append)),
        written(lookup(csv, "/data/s.lance"), "/data/s2.lance", lance(IfExists::Overwrite)),
    ] {
        assert_eq!(check_output(&plan), Ok(()), "{plan:?}");
    }
}

#[test]
fn an_output_over_what_is_read_is_refused_with_both_names() {
    let file = || scan(Layout::Parquet, "s3://bucket/", &["in/a.parquet"]);
    for path in ["s3://bucket/in/", "s3a://bucket/", "s3://bucket/in/a.parquet"] {
        for if_exists in [IfExists::Error, IfExists::Overwrite, IfExists::Append] {
            let refused = refusal(&written(file(), path, files(if_exists)));
            let expected = format!(
                "the output {path} and the input s3://bucket/in/a.parquet, which the same job \
                 reads, are one place, or one is within the other; write elsewhere"
            );
            assert_eq!(refused, expected);
        }
    }
    let plan = lookup(rows(), "/data/s.lance");
    let refused = refusal(&written(plan, "/data/", files(IfExists::Append)));
    assert!(refused.contains("the KV store 'store' at /data/s.lance"), "{refused}");
}

#[test]
fn an_output_that_would_be_read_with_the_input_next_time_is_refused() {
    let read = |asked| scan_of(asked, "data/in/a.parquet");
    for (asked, path) in [
        ("/data/in", "/data/in/b/"),
        ("/data", "/data/out"),
        ("/data/**/*.parquet", "/data/out/"),
        ("/data/*/*.parquet", "/data/out/"),
    ] {
        let refused = refusal(&written(read(asked), path, files(IfExists::Overwrite)));
        let expected = format!(
            "the output {path} would be among the files of the input {asked}, which the same job \
             reads, and its rows among those that are read next time; write elsewhere"
        );
        assert_eq!(refused, expected);
    }
    for (asked, path) in [
        ("/data/in/", "/data/inner/"),
        ("/data/in/", "/data/in/_b/"),
        ("/data/in/*.parquet", "/data/in/b/"),
        ("/data/*/*.csv", "/data/out/"),
        ("/data/in/a.parquet", "/data/in/b/"),
        ("s3://bucket/data/", "/data/out/"),
    ] {
        let plan = written(read(asked), path, files(IfExists::Overwrite));
        assert_eq!(check_output(&plan), Ok(()), "{asked} {path}");
    }
    let dataset = written(read("/data/in/"), "/data/in/b.lance", lance(IfExists::Error));
    assert!(refusal(&dataset).contains("the input /data/in,"), "{dataset:?}");
}

#[test]
fn a_dataset_that_is_read_at_a_version_may_get_rows_and_columns() {
    let looked_up = || lookup(rows(), "/data/s.lance");
    let scanned = || scan(Layout::Lance(version(1)), "/data/s.lance", &["0"]);
    for plan in [looked_up, scanned] {
        let at = |path: &str, kind| written(plan(), path, kind);
        for kind in [lance(IfExists::Append), upsert(), OutputKind::Columns] {
            assert_eq!(check_output(&at("/data/s.lance/", kind)), Ok(()));
        }
        refusal(&at("/data/s.lance", lance(IfExists::Overwrite)));
        refusal(&at("/data/s.lance", lance(IfExists::Error)));
        refusal(&at("/data/s.lance", files(IfExists::Append)));
        refusal(&at("/data/s.lance/x.lance", upsert()));
    }
}

#[test]
fn an_output_of_no_place_or_of_other_columns_is_refused() {
    let refused = refusal(&written(rows(), "s3://bucket//b", files(IfExists::Error)));
    let expected = "the output s3://bucket//b is no place: write an absolute path or a URL, without \
                    empty names and '..' in it";
    assert_eq!(refused, expected);
    let schema = Arc::new(Schema::new(vec![Field::new("id", DataType::Utf8, true)]));
    let output = prepared("/out/", files(IfExists::Error), schema);
    let plan: Plan = Arc::new(WriteExec::new(rows(), Arc::new(output)));
    assert_eq!(refusal(&plan), "an output was prepared for other columns than it is given");
}
