//! Rows that replace others by their keys: staged beside the dataset, and merged at once.
//!
//! A task puts its rows as Arrow IPC into `.keyloom/{job}` in the dataset's folder, where Lance
//! does not look. The worker that commits reads all of them, refuses a key that stands there twice,
//! for nobody could tell which row is meant, and lets Lance merge them into the newest version. If
//! somebody else changed the same rows meanwhile, they are merged anew.

mod keys;

use std::{mem, sync::Arc};

use arrow::{array::RecordBatch, datatypes::SchemaRef};
use bytes::Bytes;
use datafusion::execution::SendableRecordBatchStream;
use futures::TryStreamExt;
use keyloom_common::{
    AttemptId, Error, JobId, Result,
    ipc::{Encoder, decode_all},
    memory::Reserved,
    output::{Committed, Piece, PreparedOutput},
    size::batch_bytes,
    store::KeyColumns,
};
use lance::{
    Dataset,
    dataset::{
        MergeInsertBuilder, UncommittedMergeInsert, WhenMatched, WhenNotMatched,
        transaction::Operation,
    },
};
use lance_object_store::{ObjectStoreExt, path::Path};
use lance_table::format::Fragment;
use tokio::task::spawn_blocking;

use super::{
    OutputSettings, cleaner,
    commit::{self, NotMade},
    next_version::next_of,
    parts,
    rows::{Failure, under},
    schema::{self, Missing},
    unaccepted::Unaccepted,
};
use crate::{
    memory::Commons,
    output::{Written, room::Room},
    store::lance::{Files, Target, from_lance},
};

/// The folder beside a dataset's own where jobs keep what is not part of it yet.
pub(super) const STAGED: &str = ".keyloom";

/// About the most bytes of a message of staged rows.
const MESSAGE_BYTES: usize = 4 << 20;

/// How often rows are in memory while they are merged: Lance's join has them beside those that were
/// read.
const COPIES: u64 = 2;

/// The bounds on rows that replace others.
#[derive(Clone, Copy, Debug)]
pub(super) struct UpsertBounds {
    /// The most bytes of a job: the worker that commits has all of them in its memory.
    pub(super) all_bytes: u64,
    /// About how many a task has in memory before it writes them.
    pub(super) part_bytes: usize,
    /// How often they are merged anew because somebody else changed the same rows meanwhile.
    retries: u32,
}

impl UpsertBounds {
    pub(super) fn of(settings: &OutputSettings) -> Self {
        Self {
            all_bytes: settings.upsert_bytes,
            part_bytes: usize::try_from(settings.upsert_part_bytes).unwrap_or(usize::MAX),
            retries: settings.upsert_retries,
        }
    }
}

/// Looks whether rows with these columns can replace others by a key.
///
/// # Errors
/// `invalid`, naming the dataset and the column.
pub(super) fn check(
    target: &Target,
    dataset: &Dataset,
    key: &KeyColumns,
    rows: &SchemaRef,
) -> Result<()> {
    let schema = schema::filled(target, dataset, rows, Missing::Left)?;
    keys::check(key, rows, &schema)
}

/// How a task stages its rows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Staging<'a> {
    pub(super) attempt: AttemptId,
    pub(super) key: &'a KeyColumns,
    /// About how many bytes are put at once.
    pub(super) part_bytes: usize,
    /// The memory for those that are not put yet; where it is full, they are put before.
    pub(super) room: &'a Room,
}

/// Puts a task's rows beside the dataset.
pub(super) async fn write(
    target: &Target,
    output: &PreparedOutput,
    staging: Staging<'_>,
    rows: SendableRecordBatchStream,
    unaccepted: &Arc<Unaccepted>,
) -> Result<Vec<Piece>> {
    let version = output.version.ok_or_else(|| Error::internal("no dataset to merge rows into"))?;
    let dataset = target.at(version).await?;
    let schema = schema::filled(target, &dataset, &output.schema, Missing::Left)?;
    let failure = Failure::default();
    let mut rows = under(rows, Arc::clone(&schema), &failure);
    let mut part = Part { target, staging, schema, unaccepted, batches: Vec::new(), bytes: 0 };
    let mut pieces = Vec::new();
    while let Some(batch) = rows.try_next().await.map_err(Error::from)? {
        keys::check_nulls(&batch, staging.key)?;
        part.bytes += batch_bytes(&batch);
        part.batches.push(batch);
        let fits = staging.room.fits(part.bytes as u64);
        if !fits || part.bytes >= staging.part_bytes {
            let piece = part.put(pieces.len()).await?;
            pieces.extend(piece);
        }
    }
    let piece = part.put(pieces.len()).await?;
    pieces.extend(piece);
    Ok(pieces)
}

/// The rows of a task that are not put yet.
struct Part<'a> {
    target: &'a Target,
    staging: Staging<'a>,
    schema: SchemaRef,
    unaccepted: &'a Arc<Unaccepted>,
    batches: Vec<RecordBatch>,
    bytes: usize,
}

impl Part<'_> {
    async fn put(&mut self, number: usize) -> Result<Option<Piece>> {
        let batches = mem::take(&mut self.batches);
        self.bytes = 0;
        let rows = batches.iter().map(|batch| batch.num_rows() as u64).sum();
        if rows == 0 {
            return Ok(None);
        }
        let chunks = encoded(&self.schema, &batches)?;
        let bytes = chunks.iter().map(|chunk| chunk.len() as u64).sum();
        let AttemptId { task, number: attempt } = self.staging.attempt;
        let name = format!("{}-{}-{attempt}-{number}.arrow", task.stage.index, task.index);
        let files = self.unaccepted.files().clone();
        let path = staged(&files, task.stage.job).join(name.as_str());
        self.unaccepted.other(path.clone());
        let put = self.target.run("putting rows beside", async move {
            let put = files.store.inner.put(&path, chunks.into_iter().collect()).await;
            put.map_err(|error| from_lance(error.into()))
        });
        put.await?;
        self.staging.room.clear();
        Ok(Some(Piece { rows, bytes, token: name.into_bytes() }))
    }
}

fn encoded(schema: &SchemaRef, batches: &[RecordBatch]) -> Result<Vec<Bytes>> {
    let mut encoder = Encoder::try_new(schema, MESSAGE_BYTES)?;
    let mut chunks = Vec::new();
    for batch in batches {
        chunks.extend(encoder.write(batch)?);
    }
    chunks.extend(encoder.finish()?);
    Ok(chunks)
}

/// The folder of what a job stages.
pub(super) fn staged(files: &Files, job: JobId) -> Path {
    files.folder.clone().join(STAGED).join(job.to_string())
}

/// Where the rows of a piece are.
///
/// # Errors
/// `internal` if the piece is none: it comes from a peer.
pub(super) fn path_of(files: &Files, job: JobId, piece: &Piece) -> Result<Path> {
    let bad = |_| Error::internal("bad pieces of staged rows from a peer");
    let name = std::str::from_utf8(&piece.token).map_err(bad)?;
    Ok(staged(files, job).join(name))
}

/// Merges the rows of all tasks into the dataset.
pub(super) async fn commit(
    target: &Target,
    written: &Written,
    key: &KeyColumns,
    bounds: UpsertBounds,
    commons: &Commons,
) -> Result<Committed> {
    let Written { job, output, pieces } = written;
    let since = output.version.unwrap_or(0);
    let files = target.files().await?;
    let mut dataset = newest(target).await?;
    let mut version = commit::version_of(target, &dataset, since, *job).await?;
    if version.is_none() && pieces.is_empty() {
        return Ok(commit::committed(pieces, 0, dataset.version_id()));
    }
    if version.is_none() {
        let _taken = take(pieces, bounds.all_bytes, commons)?;
        let rows = read(target, &files, written).await?;
        let (distinct, of_key) = (rows.clone(), key.clone());
        // It computes for as long as there are rows.
        let checked = spawn_blocking(move || keys::check_distinct(&distinct, &of_key)).await;
        checked.map_err(Error::from_join)??;
        let mut retries = 0;
        version = loop {
            let merged = merge(target, &dataset, key, rows.clone()).await?;
            let new = new_fragments(&merged.transaction.operation);
            let made = make(target, &dataset, *job, merged).await;
            let not_made = match made {
                Ok(version) => break Some(version),
                Err(not_made) => not_made,
            };
            dataset = newest(target).await?;
            if let Some(version) = commit::version_of(target, &dataset, since, *job).await? {
                break Some(version);
            }
            match not_made {
                NotMade::Late(_) | NotMade::Conflict(_) if retries < bounds.retries => {
                    // They are in no version, and are written anew.
                    let names = new.iter().flat_map(parts::names).map(str::to_owned).collect();
                    cleaner::delete_data(&files, names).await;
                    retries += 1;
                }
                NotMade::Late(_) => return Err(changed(target)),
                NotMade::Conflict(error) | NotMade::Failed(error) => return Err(error),
            }
        };
    }
    // It is committed, whatever becomes of what was staged.
    if let Err(error) = remove_staged(target, files, *job).await {
        tracing::warn!(%job, %error, "staged rows of a committed job stay");
    }
    let version = version.ok_or_else(|| Error::internal("a merge without a version"))?;
    Ok(commit::committed(pieces, pieces.len() as u64, version))
}

fn changed(target: &Target) -> Error {
    Error::store(format!(
        "others changed the Lance dataset at {} again and again while rows were merged into it; \
         the worker's output.upsert_retries allow no more",
        target.shown()
    ))
}

/// Removes what the tasks of a job have staged.
pub(super) async fn abort(target: &Target, files: Files, written: &Written) -> Result<()> {
    remove_staged(target, files, written.job).await
}

/// Removes the folder of what a job stages, which may be gone.
///
/// # Errors
/// `store` or `timeout` if the storage does not answer.
pub(super) async fn remove_staged(target: &Target, files: Files, job: JobId) -> Result<()> {
    let folder = staged(&files, job);
    let removed = target.run("removing staged rows of", async move {
        match Box::pin(files.store.remove_dir_all(folder)).await {
            Ok(()) | Err(lance::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(from_lance(error)),
        }
    });
    removed.await
}

/// Takes memory for the rows of all pieces, until they are merged.
///
/// # Errors
/// `resource_exhausted`, naming the setting, if this worker never has as much; `unavailable` if
/// others have it now.
fn take(pieces: &[Piece], most: u64, commons: &Commons) -> Result<Reserved> {
    let bytes = pieces.iter().fold(0, |all: u64, piece| all.saturating_add(piece.bytes));
    if bytes > most {
        return Err(Error::resource_exhausted(format!(
            "the rows that replace others take {bytes} bytes, and the worker's \
             output.upsert_bytes allow {most}, for they are merged in memory; write fewer rows a \
             job"
        )));
    }
    let (wanted, all) = (bytes.saturating_mul(COPIES), commons.budget().bytes());
    if wanted > all {
        return Err(Error::resource_exhausted(format!(
            "the rows that replace others take {bytes} bytes, and {wanted} while they are merged, \
             and the worker's {} has {all}; write fewer rows a job",
            commons.budget().name()
        )));
    }
    let taken = commons.reserve();
    commons.grow(&taken, wanted).map_err(|full| {
        Error::unavailable(format!("no memory to merge rows that replace others: {full}"))
    })?;
    Ok(taken)
}

/// All rows that were staged.
async fn read(target: &Target, files: &Files, written: &Written) -> Result<Vec<RecordBatch>> {
    let mut rows = Vec::new();
    for piece in &written.pieces {
        let (files, path) = (files.clone(), path_of(files, written.job, piece)?);
        let read = target.run("reading staged rows of", async move {
            let read = async { files.store.inner.get(&path).await?.bytes().await };
            read.await.map_err(|error| from_lance(error.into()))
        });
        rows.extend(decode_all(read.await?)?.1);
    }
    Ok(rows)
}

/// Writes what the rows make of a version, which nobody sees yet.
async fn merge(
    target: &Target,
    dataset: &Arc<Dataset>,
    key: &KeyColumns,
    rows: Vec<RecordBatch>,
) -> Result<UncommittedMergeInsert> {
    let (dataset, key) = (Arc::clone(dataset), key.names().to_vec());
    let merged = target.run("merging rows into", async move {
        let mut builder = MergeInsertBuilder::try_new(dataset, key).map_err(from_lance)?;
        builder
            .when_matched(WhenMatched::UpdateAll)
            .when_not_matched(WhenNotMatched::InsertAll)
            .skip_auto_cleanup(true);
        let merging = builder.try_build().map_err(from_lance)?;
        // Lance joins by the smaller side, if it knows how many rows there are.
        Box::pin(merging.execute_uncommitted_batches(rows)).await.map_err(from_lance)
    });
    merged.await
}

async fn make(
    target: &Target,
    dataset: &Arc<Dataset>,
    job: JobId,
    merged: UncommittedMergeInsert,
) -> Result<u64, NotMade> {
    let UncommittedMergeInsert { transaction, affected_rows, .. } = merged;
    let mut builder = next_of(target, dataset).await.map_err(NotMade::Failed)?;
    if let Some(rows) = affected_rows {
        builder = builder.with_affected_rows(rows);
    }
    let transaction = commit::transaction(job, transaction.read_version, transaction.operation);
    commit::make(target, builder, transaction).await
}

fn new_fragments(operation: &Operation) -> Vec<Fragment> {
    match operation {
        Operation::Update { new_fragments, .. } => new_fragments.clone(),
        _ => Vec::new(),
    }
}

async fn newest(target: &Target) -> Result<Arc<Dataset>> {
    target.newest().await?.ok_or_else(|| commit::removed(target))
}
