//! Which plans columns can be added by.

use arrow::datatypes::Schema;
use datafusion::physical_expr::expressions::{col, lit};
use datafusion::physical_plan::{filter::FilterExec, limit::LocalLimitExec, union::UnionExec};
use keyloom_common::{
    input::Location,
    output::{FileFormat, FilesOutput, IfExists, OutputSpec},
    plan::{FileSlice, RowRange, ScanPartition, ScanTable},
    store::ManifestId,
};

use super::*;
use crate::samples::{frame, keys, lookup, scan};

const PATH: &str = "/data/items.lance";

/// A scan of the fragments of a dataset, two a partition, of 100 rows each.
fn dataset(path: &str, version: u64, fragments: u64) -> InputScanExec {
    let manifest = ManifestId::of(1, None);
    let table = ScanTable {
        layout: Layout::Lance(Snapshot::Version { number: version, manifest }),
        location: Location { url: path.to_owned(), profile: None },
        file_schema: keys(),
        partition_schema: Arc::new(Schema::empty()),
    };
    let partition = |first: u64| {
        let end = (first + 2).min(fragments);
        let slice = FileSlice {
            path: path.to_owned(),
            size: fragments,
            e_tag: None,
            modified_ns: 0,
            partition_values: Vec::new(),
            bytes: first..end,
            rows: Some((end - first) * 100),
            lines_before: 0,
        };
        ScanPartition { slices: vec![slice], rows: None }
    };
    let partitions = (0..fragments).step_by(2).map(partition).collect();
    InputScanExec::try_new(Arc::new(table), vec![0], None, partitions).unwrap()
}

fn write(input: Arc<dyn ExecutionPlan>, kind: OutputKind) -> Arc<dyn ExecutionPlan> {
    let spec = OutputSpec { path: PATH.to_owned(), storage_profile: None, kind };
    let output = PreparedOutput { spec, schema: input.schema(), version: Some(3) };
    Arc::new(WriteExec::new(input, Arc::new(output)))
}

fn refusal(input: Arc<dyn ExecutionPlan>) -> String {
    check_write(&write(input, OutputKind::Columns)).unwrap_err().message().to_owned()
}

#[test]
fn lookups_and_expressions_over_the_dataset_add_columns() {
    let scan = || Arc::new(dataset(PATH, 3, 5));
    let plain: Arc<dyn ExecutionPlan> = scan();
    for input in [plain, lookup(scan(), 10)] {
        let projected = ProjectionExec::try_new([(lit(1), "one".to_owned())], input).unwrap();
        check_write(&write(Arc::new(projected), OutputKind::Columns)).unwrap();
    }
    let as_url = Arc::new(dataset("file:///data/items.lance/", 3, 5));
    check_write(&write(as_url, OutputKind::Columns)).unwrap();
}

#[test]
fn what_does_not_keep_the_rows_is_named() {
    let scan = || -> Arc<dyn ExecutionPlan> { Arc::new(dataset(PATH, 3, 5)) };
    let limited: Arc<dyn ExecutionPlan> = Arc::new(LocalLimitExec::new(scan(), 5));
    assert!(refusal(limited).contains("LocalLimitExec does not keep these"));
    let condition = datafusion::physical_expr::expressions::is_null(col("id", &keys()).unwrap());
    let filtered = FilterExec::try_new(condition.unwrap(), scan()).unwrap();
    assert!(refusal(Arc::new(filtered)).contains("FilterExec does not keep these"));
    let union = UnionExec::try_new(vec![scan(), scan()]).unwrap();
    assert!(refusal(union).contains("UnionExec does not keep these"));
    assert!(refusal(frame(5)).contains("FrameScanExec does not keep these"));
    let fetching = dataset(PATH, 3, 5).with_fetch(Some(7)).unwrap();
    assert!(refusal(fetching).contains("a limit does not keep these"));
}

#[test]
fn other_datasets_versions_and_parts_of_one_are_refused() {
    let other = Arc::new(dataset("/data/other.lance", 3, 5));
    assert_eq!(
        refusal(other),
        "columns are added to /data/items.lance by a query of its own rows, and this one reads \
         /data/other.lance"
    );
    assert!(refusal(scan(2)).ends_with("this one reads file:///"));
    assert_eq!(
        refusal(Arc::new(dataset(PATH, 2, 5))),
        "columns are added to the newest version of /data/items.lance, which is 3, and the query \
         reads version 2"
    );
    let whole = dataset(PATH, 3, 5);
    let some = whole.with_partitions(whole.partitions()[1..].to_vec());
    assert!(refusal(Arc::new(some)).contains("a condition does not keep these"));
    let rows = Some(RowRange { start: 0, length: Some(7) });
    let cut = ScanPartition { rows, ..whole.partitions()[0].clone() };
    assert!(refusal(Arc::new(whole.with_partitions(vec![cut]))).contains("a condition"));
}

#[test]
fn other_outputs_take_any_rows() {
    let files = FilesOutput {
        format: FileFormat::Parquet,
        if_exists: IfExists::Error,
        partition_by: Vec::new(),
        target_file_bytes: 1,
        compression: None,
    };
    check_write(&write(frame(5), OutputKind::Files(files))).unwrap();
}
