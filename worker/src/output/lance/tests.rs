//! Datasets in folders that come and go: what can be read of them after jobs have written.

mod columns;
mod plain;
mod upsert;

use std::{fs, ops::Range, path::PathBuf};

use arrow::{
    array::{ArrayRef, AsArray, Int64Array, RecordBatch, StringArray, StringViewArray},
    compute::cast,
    datatypes::{DataType, Int64Type, SchemaRef},
};
use async_trait::async_trait;
use bytes::Bytes;
use datafusion::{
    error::DataFusionError,
    physical_plan::{ExecutionPlan, empty::EmptyExec, stream::RecordBatchStreamAdapter},
};
use futures::{TryStreamExt, stream};
use keyloom_common::{
    AttemptId, BlobId, ErrorKind, JobId, StageId, TaskId,
    memory::MemoryBudget,
    output::{IfExists, Piece, WriteExec},
};
use lance::Dataset;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::store::{BlobSource, StoreEnv, StoreSettings};

/// Nothing here has contents of its own.
#[derive(Debug)]
struct NoBlobs;

#[async_trait]
impl BlobSource for NoBlobs {
    async fn blob(&self, id: BlobId) -> Result<Bytes> {
        Err(Error::not_found(format!("no blob {id}")))
    }
}

/// A worker, and a place for a dataset.
struct Place {
    outputs: LanceOutputs,
    folder: tempfile::TempDir,
}

/// A job that writes there.
struct Job<'a> {
    place: &'a Place,
    id: JobId,
    output: PreparedOutput,
    pieces: Vec<Piece>,
}

/// Rows as tests compare them.
type Row = (i64, Option<String>);

impl Place {
    fn new() -> Self {
        let env = StoreEnv::new(StoreSettings::default(), Arc::new(NoBlobs));
        let stores = Arc::new(OpenStores::new(env));
        let commons = Commons::new(MemoryBudget::new("memory_bytes", 1 << 30));
        // A few rows are a part.
        let settings = OutputSettings { upsert_part_bytes: 64, ..OutputSettings::default() };
        let outputs = LanceOutputs::new(stores, Access::default(), &commons, &settings);
        Self { outputs, folder: tempfile::tempdir().unwrap() }
    }

    fn dataset(&self) -> PathBuf {
        self.folder.path().join("items.lance")
    }

    fn uri(&self) -> String {
        self.dataset().display().to_string()
    }

    async fn open(&self) -> Dataset {
        Dataset::open(&self.uri()).await.unwrap()
    }

    /// The names in a folder of the dataset's.
    fn names(&self, folder: &str) -> Vec<String> {
        let Ok(entries) = fs::read_dir(self.dataset().join(folder)) else { return Vec::new() };
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    async fn prepare(&self, kind: OutputKind, schema: &SchemaRef) -> Result<PreparedOutput> {
        let spec = OutputSpec { path: self.uri(), storage_profile: None, kind };
        self.outputs.prepare(PlannedOutput { spec, schema: Arc::clone(schema) }).await
    }

    /// A job whose output can be written.
    async fn job(&self, kind: OutputKind, schema: &SchemaRef) -> Job<'_> {
        let output = self.prepare(kind, schema).await.unwrap();
        Job { place: self, id: JobId::new(), output, pieces: Vec::new() }
    }

    /// A job that writes these rows with one task, and commits.
    async fn run(&self, kind: OutputKind, rows: RecordBatch) -> Result<Committed> {
        let mut job = self.job(kind, &rows.schema()).await;
        job.write(vec![rows]).await?;
        job.commit().await
    }

    async fn refusal(&self, kind: OutputKind, schema: &SchemaRef) -> String {
        self.prepare(kind, schema).await.unwrap_err().message().to_owned()
    }

    /// All rows, in their order.
    async fn rows(&self) -> Vec<Row> {
        let all = self.open().await.scan().try_into_batch().await.unwrap();
        let ids = all.column_by_name("id").unwrap().as_primitive::<Int64Type>().clone();
        let names = texts(all.column_by_name("name").unwrap());
        ids.values().iter().copied().zip(names).collect()
    }
}

impl Job<'_> {
    /// Writes the rows of the next task.
    async fn write(&mut self, batches: Vec<RecordBatch>) -> Result<()> {
        let input = Arc::new(EmptyExec::new(Arc::clone(&self.output.schema)));
        self.write_over(input, batches.into_iter().map(Ok).collect()).await
    }

    async fn write_over(
        &mut self,
        input: Arc<dyn ExecutionPlan>,
        batches: Vec<Result<RecordBatch, DataFusionError>>,
    ) -> Result<()> {
        let mut told = self.start(input, batches)?;
        while let Some(batch) = told.try_next().await.map_err(Error::from)? {
            self.pieces.extend(Piece::read(&batch)?);
        }
        Ok(())
    }

    fn start(
        &self,
        input: Arc<dyn ExecutionPlan>,
        batches: Vec<Result<RecordBatch, DataFusionError>>,
    ) -> Result<SendableRecordBatchStream> {
        let node = WriteExec::new(input, Arc::new(self.output.clone()));
        let stage = StageId { job: self.id, index: 0 };
        let task = TaskId { stage, index: self.pieces.len() as u32 };
        let writing = Writing {
            attempt: AttemptId { task, number: 0 },
            node: &node,
            computed: &CancellationToken::new(),
        };
        let schema = Arc::clone(&self.output.schema);
        let rows = RecordBatchStreamAdapter::new(schema, stream::iter(batches));
        self.place.outputs.write(writing, Box::pin(rows))
    }

    fn written(&self) -> Written {
        Written { job: self.id, output: self.output.clone(), pieces: self.pieces.clone() }
    }

    async fn commit(&self) -> Result<Committed> {
        self.place.outputs.commit(self.written()).await
    }

    async fn abort(&self) {
        self.place.outputs.abort(self.written()).await.unwrap();
    }
}

fn lance(if_exists: IfExists) -> OutputKind {
    OutputKind::Lance { if_exists, target_file_bytes: 1 << 20 }
}

/// Rows whose names are those of their ids, as a query gives them.
fn items(ids: impl IntoIterator<Item = i64>) -> RecordBatch {
    named(ids, "n")
}

/// Rows whose names begin like this.
fn named(ids: impl IntoIterator<Item = i64>, prefix: &str) -> RecordBatch {
    let ids: Vec<_> = ids.into_iter().collect();
    let names = ids.iter().map(|id| Some(format!("{prefix}{id}")));
    let columns: [(&str, ArrayRef, bool); 2] = [
        ("id", Arc::new(Int64Array::from(ids.clone())), true),
        ("name", Arc::new(StringViewArray::from_iter(names)), true),
    ];
    RecordBatch::try_from_iter_with_nullable(columns).unwrap()
}

fn expected(ids: Range<i64>, prefix: &str) -> Vec<Row> {
    ids.map(|id| (id, Some(format!("{prefix}{id}")))).collect()
}

fn texts(values: &ArrayRef) -> Vec<Option<String>> {
    let values = cast(values, &DataType::Utf8).unwrap();
    let values: &StringArray = values.as_string();
    values.iter().map(|value| value.map(str::to_owned)).collect()
}
