use arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion::physical_plan::expressions::Column;
use keyloom_common::{
    BlobId, ErrorKind,
    input::{Layout, Location},
    lookup::{Answer, Call, Fetch, Wave},
    output::{FileFormat, FilesOutput, PreparedOutput},
    plan::{FileSlice, FramePartition, FrameScanExec, ScanPartition, ScanTable},
    store::{Access, KeyColumns, ManifestId, ResolvedStore, Snapshot, StoreDescription, StoreKey},
};

use super::*;

type Plan = Arc<dyn ExecutionPlan>;

fn ids() -> SchemaRef {
    Arc::new(Schema::new(vec![Field::new("id", DataType::Int64, true)]))
}

fn version() -> Snapshot {
    Snapshot::Version { number: 1, manifest: ManifestId::of(1, None) }
}

fn rows() -> Plan {
    let partition = FramePartition { blob: BlobId::of(b"rows"), rows: 1 };
    Arc::new(FrameScanExec::try_new(vec![partition], ids(), None).unwrap())
}

fn scan(layout: Layout, url: &str, path: &str) -> Plan {
    let table = ScanTable {
        layout,
        location: Location { url: url.to_owned(), profile: None },
        file_schema: ids(),
        partition_schema: Arc::new(Schema::empty()),
    };
    let slice = FileSlice {
        path: path.to_owned(),
        size: 1,
        e_tag: None,
        modified_ns: 0,
        partition_values: Vec::new(),
        bytes: 0..1,
        rows: None,
        lines_before: 0,
    };
    let partitions = vec![ScanPartition { slices: vec![slice], rows: None }];
    Arc::new(InputScanExec::try_new(Arc::new(table), vec![0], None, partitions).unwrap())
}

fn lookup(input: Plan, place: &str) -> Plan {
    let description = StoreDescription {
        schema: ids(),
        snapshot: version(),
        figures: None,
        primary_key: None,
        repeats_keys: true,
    };
    let key = Some(StoreKey::column("id"));
    let spec = StoreSpec { key, ..StoreSpec::new("store", LANCE, place) };
    let fetch = Fetch {
        store: ResolvedStore::try_new("alias", spec, description).unwrap(),
        key: Arc::new(Column::new("id", 0)),
        calls: vec![Call { name: "known".to_owned(), answer: Answer::Exists, guard: None }],
        batch_size: None,
        access: Access::default(),
        reason: None,
        joined: None,
        key_set: None,
    };
    Arc::new(KvLookupExec::try_new(input, vec![Wave { fetches: vec![fetch] }]).unwrap())
}

fn files(if_exists: IfExists) -> OutputKind {
    OutputKind::Files(FilesOutput {
        format: FileFormat::Parquet,
        if_exists,
        partition_by: Vec::new(),
        target_file_bytes: 1,
        compression: None,
    })
}

fn lance(if_exists: IfExists) -> OutputKind {
    OutputKind::Lance { if_exists, target_file_bytes: 1 }
}

fn upsert() -> OutputKind {
    OutputKind::Upsert { key: KeyColumns::one("id") }
}

fn written(input: Plan, path: &str, kind: OutputKind) -> Plan {
    let spec = OutputSpec { path: path.to_owned(), storage_profile: None, kind };
    let output = PreparedOutput { spec, schema: input.schema(), version: None };
    Arc::new(WriteExec::new(input, Arc::new(output)))
}

fn refusal(plan: &Plan) -> String {
    let error = check_output(plan).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    error.message().to_owned()
}

#[test]
fn an_output_beside_what_is_read_is_allowed() {
    let csv = scan(Layout::Parquet, "file:///", "data/in/a.parquet");
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
    let file = || scan(Layout::Parquet, "s3://bucket/", "in/a.parquet");
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
fn a_dataset_that_is_read_at_a_version_may_get_rows_and_columns() {
    let looked_up = || lookup(rows(), "/data/s.lance");
    let scanned = || scan(Layout::Lance(version()), "/data/s.lance", "0");
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
    let spec = OutputSpec {
        path: "/out/".to_owned(),
        storage_profile: None,
        kind: files(IfExists::Error),
    };
    let schema = Arc::new(Schema::new(vec![Field::new("id", DataType::Utf8, true)]));
    let output = PreparedOutput { spec, schema, version: None };
    let plan: Plan = Arc::new(WriteExec::new(rows(), Arc::new(output)));
    assert_eq!(refusal(&plan), "an output was prepared for other columns than it is given");
}
