//! Plans for tests.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::{
    physical_expr::{PhysicalExpr, expressions::Column},
    physical_plan::ExecutionPlan,
};
use keyloom_common::{
    BlobId,
    functions::OnError,
    input::{Layout, Location},
    lookup::{Answer, Call, Fetch, KvLookupExec, Wave},
    output::{
        FileFormat, FilesOutput, IfExists, OutputKind, OutputSpec, PreparedOutput, WriteExec,
    },
    plan::{FileSlice, FramePartition, FrameScanExec, InputScanExec, ScanPartition, ScanTable},
    store::{
        Access, Figures, KeyPath, LANCE, LanceWay, ResolvedStore, RowPath, Snapshot,
        StoreDescription, StoreKey, StoreSpec,
    },
};

/// The one column `id`.
pub(crate) fn keys() -> SchemaRef {
    Arc::new(Schema::new(vec![Field::new("id", DataType::Int64, true)]))
}

/// A frame of one partition.
pub(crate) fn frame(rows: u64) -> Arc<dyn ExecutionPlan> {
    let partition = FramePartition { blob: BlobId::of(b"rows"), rows };
    Arc::new(FrameScanExec::try_new(vec![partition], keys(), None).unwrap())
}

/// A lookup that is expected to add so many bytes to each row.
pub(crate) fn lookup(input: Arc<dyn ExecutionPlan>, bytes: u64) -> Arc<dyn ExecutionPlan> {
    let figures = Figures { value_bytes: vec![bytes], ..Figures::default() };
    let description = StoreDescription {
        schema: keys(),
        snapshot: Snapshot::Immutable,
        figures: Some(figures),
        primary_key: None,
        repeats_keys: true,
    };
    let key = Some(StoreKey::column("id"));
    let spec = StoreSpec { key, ..StoreSpec::new("images", LANCE, "/images.lance") };
    let answer = Answer::Row { columns: vec![0], on_error: OnError::Null };
    let fetch = Fetch {
        store: ResolvedStore::try_new("images", spec, description).unwrap(),
        key: Arc::new(Column::new("id", 0)),
        calls: vec![Call { name: "image".to_owned(), answer, guard: None }],
        batch_size: None,
        access: Access::default(),
        reason: None,
        joined: None,
        key_set: None,
    };
    Arc::new(KvLookupExec::try_new(input, vec![Wave { fetches: vec![fetch] }]).unwrap())
}

/// A lookup whose keys are scanned, by an expression over its input.
pub(crate) fn scanning(
    input: Arc<dyn ExecutionPlan>,
    key: Arc<dyn PhysicalExpr>,
) -> Arc<dyn ExecutionPlan> {
    let plan = lookup(Arc::clone(&input), 10);
    let mut waves = plan.downcast_ref::<KvLookupExec>().unwrap().waves().to_vec();
    let fetch = &mut waves[0].fetches[0];
    fetch.access = LanceWay { keys: KeyPath::Scan, rows: RowPath::Take }.access(None, true);
    fetch.key = key;
    Arc::new(KvLookupExec::try_new(input, waves).unwrap())
}

/// A scan of so many row groups of one row, each a partition of its own.
pub(crate) fn scan(groups: u64) -> Arc<dyn ExecutionPlan> {
    scan_of(keys(), groups)
}

/// The same of files with other columns.
pub(crate) fn scan_of(file_schema: SchemaRef, groups: u64) -> Arc<dyn ExecutionPlan> {
    let columns = (0..file_schema.fields().len()).collect();
    let table = ScanTable {
        layout: Layout::Parquet,
        location: Location { url: "file:///".to_owned(), profile: None },
        file_schema,
        partition_schema: Arc::new(Schema::empty()),
    };
    let part = |group| FileSlice {
        path: "rows.parquet".to_owned(),
        size: groups,
        e_tag: None,
        modified_ns: 0,
        partition_values: Vec::new(),
        bytes: group..group + 1,
        rows: Some(1),
        lines_before: 0,
    };
    let partition = |group| ScanPartition { slices: vec![part(group)], rows: None };
    let partitions = (0..groups).map(partition).collect();
    Arc::new(InputScanExec::try_new(Arc::new(table), columns, None, partitions).unwrap())
}

/// What writes rows as files.
pub(crate) fn written(input: Arc<dyn ExecutionPlan>) -> Arc<dyn ExecutionPlan> {
    let files = FilesOutput {
        format: FileFormat::Parquet,
        if_exists: IfExists::Error,
        partition_by: Vec::new(),
        target_file_bytes: 1,
        compression: None,
    };
    let kind = OutputKind::Files(files);
    let spec = OutputSpec { path: "/out/".to_owned(), storage_profile: None, kind };
    let output = PreparedOutput { spec, schema: input.schema(), version: None };
    Arc::new(WriteExec::new(input, Arc::new(output)))
}
