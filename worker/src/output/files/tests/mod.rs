//! Outputs of files, written, committed and read back.

mod again;
mod formats;
mod modes;
mod partitions;
mod refused;
mod remote;

use std::{fs, io, path::Path as FilePath, time::Duration};

use arrow::{
    array::{
        Array, ArrayRef, BooleanArray, Date32Array, Float64Array, Int64Array, ListArray,
        RecordBatch, StringArray,
    },
    datatypes::{Int32Type, SchemaRef},
};
use datafusion::physical_plan::{ExecutionPlan, empty::EmptyExec};
use futures::Stream;
use keyloom_common::{
    AttemptId, StageId, TaskId,
    output::{Compression, FileFormat, FilesOutput, OutputSpec, WriteExec},
};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::{
    samples::files,
    store::{Patience, StoreSettings},
};

/// The job that most tests write.
const JOB: JobId = JobId::from_u128(0x0123_4567 << 96);

/// Another one, whose files have other names.
const OTHER: JobId = JobId::from_u128(0x7654_3210 << 96);

fn stores() -> Arc<ObjectStores> {
    let patience = Patience::of(&StoreSettings::default());
    Arc::new(ObjectStores::new(Default::default(), patience))
}

fn outputs_of(stores: &Arc<ObjectStores>, settings: OutputSettings) -> FileOutputs {
    let commons = Commons::new(MemoryBudget::new("memory_bytes", 1 << 30));
    FileOutputs::new(Arc::clone(stores), &commons, settings)
}

fn outputs() -> FileOutputs {
    outputs_of(&stores(), OutputSettings::default())
}

fn spec(path: impl Into<String>, files: FilesOutput) -> OutputSpec {
    OutputSpec { path: path.into(), storage_profile: None, kind: OutputKind::Files(files) }
}

/// A folder of this machine for an output.
struct Target {
    folder: tempfile::TempDir,
}

impl Target {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    fn path(&self) -> &FilePath {
        self.folder.path()
    }

    fn spec(&self, files: FilesOutput) -> OutputSpec {
        spec(self.path().to_str().unwrap(), files)
    }

    fn put(&self, name: &str, text: &str) {
        let path = self.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path().join(name)).unwrap()
    }

    /// All files in there, hidden or not, sorted.
    fn all(&self) -> Vec<String> {
        let (mut files, mut folders) = (Vec::new(), vec![self.path().to_owned()]);
        while let Some(folder) = folders.pop() {
            let entries = match fs::read_dir(folder) {
                // Another thread has removed it since it was seen.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                entries => entries.unwrap(),
            };
            for entry in entries {
                let path = entry.unwrap().path();
                match path.is_dir() {
                    true => folders.push(path),
                    false => {
                        let path = path.strip_prefix(self.path()).unwrap();
                        files.push(path.to_str().unwrap().to_owned());
                    }
                }
            }
        }
        files.sort_unstable();
        files
    }

    /// The files that readers see.
    fn data(&self) -> Vec<String> {
        let visible = |path: &String| !path.starts_with(['_', '.']);
        self.all().into_iter().filter(visible).collect()
    }
}

/// The name of a file of the job that most tests write.
fn part(task: u32, file: u32, ending: &str) -> String {
    staged::file_name(JOB, task, file, ending)
}

fn attempt(job: JobId, task: u32) -> AttemptId {
    let stage = StageId { job, index: 0 };
    AttemptId { task: TaskId { stage, index: task }, number: 0 }
}

fn node(output: &PreparedOutput) -> WriteExec {
    let rows: Arc<dyn ExecutionPlan> = Arc::new(EmptyExec::new(Arc::clone(&output.schema)));
    WriteExec::new(rows, Arc::new(output.clone()))
}

fn rows_of(
    schema: &SchemaRef,
    rows: impl Stream<Item = datafusion::error::Result<RecordBatch>> + Send + 'static,
) -> SendableRecordBatchStream {
    Box::pin(RecordBatchStreamAdapter::new(Arc::clone(schema), rows))
}

/// A task of a job that writes these rows: its pieces.
async fn write(
    outputs: &FileOutputs,
    output: &PreparedOutput,
    id: AttemptId,
    batches: &[RecordBatch],
) -> Result<Vec<Piece>> {
    write_and_say(outputs, output, id, batches, &CancellationToken::new()).await
}

/// The same, by a task that says when it has computed what it writes.
async fn write_and_say(
    outputs: &FileOutputs,
    output: &PreparedOutput,
    id: AttemptId,
    batches: &[RecordBatch],
    computed: &CancellationToken,
) -> Result<Vec<Piece>> {
    let node = node(output);
    let batches: Vec<_> = batches.iter().cloned().map(Ok).collect();
    let rows = rows_of(&output.schema, stream::iter(batches));
    let mut told = outputs.write(Writing { attempt: id, node: &node, computed }, rows)?;
    let mut pieces = Vec::new();
    while let Some(batch) = told.next().await {
        pieces.extend(Piece::read(&batch?)?);
    }
    Ok(pieces)
}

/// So many tasks of a job, each of which writes its number.
async fn numbered(outputs: &FileOutputs, output: &PreparedOutput, tasks: u32) -> Vec<Piece> {
    let mut pieces = Vec::new();
    for task in 0..tasks {
        let rows = [numbers([i64::from(task)])];
        pieces.extend(write(outputs, output, attempt(JOB, task), &rows).await.unwrap());
    }
    pieces
}

/// What a commit of two numbers does first.
async fn write_manifest(outputs: &FileOutputs, output: &PreparedOutput) -> Folder {
    let folder = Folder::open(&outputs.stores, &output.spec).await.unwrap();
    let manifest = Manifest {
        job: JOB.to_string(),
        format: "csv".to_owned(),
        rows: 2,
        bytes: 8,
        files: Vec::new(),
        replaces: Vec::new(),
    };
    manifest.create(&folder, JOB).await.unwrap();
    folder
}

fn written(job: JobId, output: &PreparedOutput, pieces: Vec<Piece>) -> Written {
    Written { job, output: output.clone(), pieces }
}

/// A job with one task, committed.
async fn run(
    outputs: &FileOutputs,
    spec: OutputSpec,
    job: JobId,
    batches: &[RecordBatch],
) -> Result<Committed> {
    let schema = batches[0].schema();
    let output = outputs.prepare(PlannedOutput { spec, schema }).await?;
    let pieces = write(outputs, &output, attempt(job, 0), batches).await?;
    outputs.commit(written(job, &output, pieces)).await
}

/// Rows with a column of each of some types, each third of them null.
fn flat() -> RecordBatch {
    let valid = |row: i64| row % 3 != 1;
    let rows = 0..7_i64;
    let ids = Int64Array::from_iter_values(rows.clone());
    let names = rows.clone().map(|row| valid(row).then(|| format!("ü {row}, \"q\"")));
    let days = rows.clone().map(|row| valid(row).then_some(19_000 + row as i32));
    let scores = rows.clone().map(|row| valid(row).then_some(row as f64 / 4.0));
    let flags = rows.map(|row| valid(row).then_some(row % 2 == 0));
    batch([
        ("id", array(ids)),
        ("name", array(names.collect::<StringArray>())),
        ("day", array(days.collect::<Date32Array>())),
        ("score", array(scores.collect::<Float64Array>())),
        ("flag", array(flags.collect::<BooleanArray>())),
    ])
}

/// The same with lists.
fn nested() -> RecordBatch {
    let lists = [Some(vec![Some(1), None]), None, Some(vec![]), Some(vec![Some(-5)])];
    let lists = ListArray::from_iter_primitive::<Int32Type, _, _>(lists);
    let ids = Int64Array::from(vec![1, 2, 3, 4]);
    batch([("id", array(ids)), ("list", array(lists))])
}

fn array(values: impl Array + 'static) -> ArrayRef {
    Arc::new(values)
}

fn batch<'a>(columns: impl IntoIterator<Item = (&'a str, ArrayRef)>) -> RecordBatch {
    let columns = columns.into_iter().map(|(name, column)| (name, column, true));
    RecordBatch::try_from_iter_with_nullable(columns).unwrap()
}

/// Rows of one column of numbers.
fn numbers(values: impl IntoIterator<Item = i64>) -> RecordBatch {
    batch([("n", array(Int64Array::from_iter_values(values)))])
}

/// Waits until something holds, which must be soon.
async fn until(holds: impl AsyncFn() -> bool) {
    let waited = async {
        while !holds().await {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), waited).await.expect("it never held");
}
