//! Plans for tests: what they read, look up and write.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::physical_plan::{ExecutionPlan, expressions::Column};
use keyloom_common::{
    BlobId,
    input::{Layout, Location},
    lookup::{Answer, Call, Fetch, KvLookupExec, Wave},
    output::{
        FileFormat, FilesOutput, IfExists, OutputKind, OutputSpec, PreparedOutput, WriteExec,
    },
    plan::{FileSlice, FramePartition, FrameScanExec, InputScanExec, ScanPartition, ScanTable},
    store::{Access, ManifestId, ResolvedStore, Snapshot, StoreDescription, StoreKey, StoreSpec},
};

/// The one column `id`.
pub(crate) fn ids() -> SchemaRef {
    Arc::new(Schema::new(vec![Field::new("id", DataType::Int64, true)]))
}

/// A frame of so many partitions, of one row each.
pub(crate) fn frame(partitions: usize) -> Arc<dyn ExecutionPlan> {
    let partition = FramePartition { blob: BlobId::of(b"rows"), rows: 1 };
    Arc::new(FrameScanExec::try_new(vec![partition; partitions], ids(), None).unwrap())
}

/// A scan of these files or fragments, each a partition of its own.
pub(crate) fn scan(layout: Layout, url: &str, paths: &[&str]) -> Arc<dyn ExecutionPlan> {
    let table = ScanTable {
        layout,
        location: Location { url: url.to_owned(), profile: None },
        file_schema: ids(),
        partition_schema: Arc::new(Schema::empty()),
    };
    let slice = |path: &&str| FileSlice {
        path: (*path).to_owned(),
        size: 1,
        e_tag: None,
        modified_ns: 0,
        partition_values: Vec::new(),
        bytes: 0..1,
        rows: None,
        lines_before: 0,
    };
    let partition = |path: &&str| ScanPartition { slices: vec![slice(path)], rows: None };
    let partitions = paths.iter().map(partition).collect();
    Arc::new(InputScanExec::try_new(Arc::new(table), vec![0], None, partitions).unwrap())
}

/// A version of a dataset.
pub(crate) fn version(number: u64) -> Snapshot {
    Snapshot::Version { number, manifest: ManifestId::of(number.into(), None) }
}

/// A store that is keyed by `id`.
pub(crate) fn store(spec: StoreSpec, snapshot: Snapshot) -> Arc<ResolvedStore> {
    let description = StoreDescription {
        schema: ids(),
        snapshot,
        figures: None,
        primary_key: None,
        repeats_keys: true,
    };
    let spec = StoreSpec { key: Some(StoreKey::column("id")), ..spec };
    ResolvedStore::try_new("alias", spec, description).unwrap()
}

/// Asks stores whether they hold the keys, one store after the other.
pub(crate) fn lookup(
    input: Arc<dyn ExecutionPlan>,
    stores: Vec<Arc<ResolvedStore>>,
) -> Arc<dyn ExecutionPlan> {
    let waves = stores.into_iter().enumerate().map(|(n, store)| {
        let call = Call { name: format!("known_{n}"), answer: Answer::Exists, guard: None };
        let fetch = Fetch {
            store,
            key: Arc::new(Column::new("id", 0)),
            calls: vec![call],
            batch_size: None,
            access: Access::default(),
            reason: None,
            joined: None,
            key_set: None,
        };
        Wave { fetches: vec![fetch] }
    });
    Arc::new(KvLookupExec::try_new(input, waves.collect()).unwrap())
}

/// An output of small Parquet files.
pub(crate) fn files(if_exists: IfExists) -> OutputKind {
    OutputKind::Files(FilesOutput {
        format: FileFormat::Parquet,
        if_exists,
        partition_by: Vec::new(),
        target_file_bytes: 1,
        compression: None,
    })
}

/// An output that workers have looked at.
pub(crate) fn prepared(path: &str, kind: OutputKind, schema: SchemaRef) -> PreparedOutput {
    let spec = OutputSpec { path: path.to_owned(), storage_profile: None, kind };
    PreparedOutput { spec, schema, version: None }
}

/// What writes rows.
pub(crate) fn written(
    input: Arc<dyn ExecutionPlan>,
    path: &str,
    kind: OutputKind,
) -> Arc<dyn ExecutionPlan> {
    let output = prepared(path, kind, input.schema());
    Arc::new(WriteExec::new(input, Arc::new(output)))
}
