//! Rows as a dataset: a new one, one in the place of another, or more rows of one.
//!
//! Each task writes whole data files of its own. In the transaction their fragments stand in the
//! order of the tasks, which is that of the rows.

use std::{path::Path, sync::Arc, time::Duration};

use arrow::datatypes::SchemaRef;
use datafusion::{execution::SendableRecordBatchStream, physical_plan::EmptyRecordBatchStream};
use keyloom_common::{
    Error, ErrorKind, Result,
    output::{Committed, IfExists, Piece, PreparedOutput},
};
use lance::{
    Dataset,
    dataset::{
        CommitBuilder, InsertBuilder, WriteDestination, WriteMode, WriteParams,
        transaction::{Operation, Transaction},
    },
};
use lance_table::format::Fragment;
use tokio::time::sleep;

use super::{
    commit::{self, NotMade},
    next_version::next_of,
    parts,
    rows::{Failure, begun, under},
    schema::{self, Missing},
    unaccepted::Unaccepted,
};
use crate::{
    output::Written,
    store::lance::{Target, from_lance},
};

/// What may be in a folder that a dataset is to be made in: what a job leaves that was given up.
const REMAINS: [&str; 4] = ["data", "_versions", "_transactions", ".keyloom"];

/// How often fragments are added again because others were faster. The coordinator asks for the
/// commit again then.
const APPENDS: u32 = 20;

/// The rest before that, and as much more each time.
const REST: Duration = Duration::from_millis(20);

/// How rows are written.
#[derive(Clone, Copy, Debug)]
pub(super) struct How {
    if_exists: IfExists,
    file_bytes: usize,
}

impl How {
    pub(super) fn new(if_exists: IfExists, target_file_bytes: u64) -> Self {
        let file_bytes = usize::try_from(target_file_bytes).unwrap_or(usize::MAX).max(1);
        Self { if_exists, file_bytes }
    }
}

/// Looks whether rows with these columns can be written.
///
/// # Errors
/// `invalid`, naming the dataset and the column.
pub(super) async fn check(
    target: &Target,
    if_exists: IfExists,
    there: Option<&Arc<Dataset>>,
    rows: &SchemaRef,
) -> Result<()> {
    match (if_exists, there) {
        (_, None) => {
            schema::new(rows)?;
            check_place(target).await
        }
        (IfExists::Error, Some(_)) => Err(Error::invalid(format!(
            "there is a Lance dataset at {}; if_exists = \"overwrite\" replaces it, and \"append\" \
             adds rows to it",
            target.shown()
        ))),
        (IfExists::Overwrite, Some(_)) => schema::new(rows).map(drop),
        (IfExists::Append, Some(dataset)) => {
            schema::filled(target, dataset, rows, Missing::Refused).map(drop)
        }
    }
}

/// Refuses a local folder of something else.
async fn check_place(target: &Target) -> Result<()> {
    let uri = target.uri();
    let folder = uri.strip_prefix("file://").unwrap_or(uri).to_owned();
    if folder.contains("://") {
        return Ok(());
    }
    let look = move || {
        let Ok(entries) = Path::new(&folder).read_dir() else { return false };
        let mut names = entries.filter_map(|entry| Some(entry.ok()?.file_name()));
        names.any(|name| !REMAINS.iter().any(|known| name == *known))
    };
    match tokio::task::spawn_blocking(look).await.map_err(Error::from_join)? {
        false => Ok(()),
        true => Err(Error::invalid(format!(
            "what is at {} is no Lance dataset; choose another place",
            target.shown()
        ))),
    }
}

/// Writes a task's rows.
pub(super) async fn write(
    target: &Target,
    output: &PreparedOutput,
    how: How,
    rows: SendableRecordBatchStream,
    unaccepted: &Arc<Unaccepted>,
) -> Result<Vec<Piece>> {
    let (dataset, schema) = match (output.version, how.if_exists) {
        (None, _) => (None, schema::new(&output.schema)?),
        (Some(_), IfExists::Error) => return Err(Error::internal("a dataset that is there")),
        (Some(version), IfExists::Overwrite) => {
            (Some(target.at(version).await?), schema::new(&output.schema)?)
        }
        (Some(version), IfExists::Append) => {
            let dataset = target.at(version).await?;
            let schema = schema::filled(target, &dataset, &output.schema, Missing::Refused)?;
            (Some(dataset), schema)
        }
    };
    let failure = Failure::default();
    let rows = begun(under(rows, schema, &failure)).await?;
    let written = insert(target, dataset, how, rows, Some(unaccepted)).await;
    let transaction = failure.or(written)?;
    let fragments = parts::fragments(transaction.operation.clone())?;
    let names = fragments.iter().flat_map(parts::names).map(str::to_owned).collect();
    unaccepted.data(names).await;
    let rows = fragments.iter().filter_map(|fragment| fragment.physical_rows).sum::<usize>();
    if rows == 0 {
        return Ok(Vec::new());
    }
    Ok(vec![parts::piece(&transaction, rows as u64, parts::bytes(&fragments))?])
}

/// Writes data files, and gives the transaction that would make them visible.
async fn insert(
    target: &Target,
    dataset: Option<Arc<Dataset>>,
    how: How,
    rows: SendableRecordBatchStream,
    unaccepted: Option<&Arc<Unaccepted>>,
) -> Result<Transaction> {
    let mode = match (&dataset, how.if_exists) {
        (None, _) => WriteMode::Create,
        (Some(_), IfExists::Append) => WriteMode::Append,
        (Some(_), _) => WriteMode::Overwrite,
    };
    let mut params = WriteParams {
        mode,
        max_bytes_per_file: how.file_bytes,
        store_params: Some(target.params().clone()),
        session: Some(Arc::clone(target.session())),
        skip_auto_cleanup: true,
        ..WriteParams::default()
    };
    if let Some(unaccepted) = unaccepted {
        params.progress = unaccepted.clone();
    }
    let (uri, shown) = (target.uri().to_owned(), target.shown());
    let written = target.run("writing", async move {
        let place = match dataset {
            Some(dataset) => WriteDestination::Dataset(dataset),
            None => WriteDestination::Uri(&uri),
        };
        let builder = InsertBuilder::new(place).with_params(&params);
        let written = Box::pin(builder.execute_uncommitted_stream(rows)).await;
        written.map_err(|error| match error {
            lance::Error::DatasetAlreadyExists { .. } => made_meanwhile(&shown),
            error => from_lance(error),
        })
    });
    written.await
}

/// Makes the rows of all tasks visible.
pub(super) async fn commit(
    target: &Target,
    written: &Written,
    if_exists: IfExists,
) -> Result<Committed> {
    let Written { job, output, pieces } = written;
    let since = output.version.unwrap_or(0);
    let operations = pieces.iter().map(parts::operation).collect::<Result<Vec<_>>>()?;
    let files = operations.iter().map(files_of).sum();
    let newest = target.newest().await?;
    if let Some(newest) = &newest
        && let Some(version) = commit::version_of(target, newest, since, *job).await?
    {
        return Ok(commit::committed(pieces, files, version));
    }
    let made = match (output.version, newest) {
        (None, None) => create(target, written, operations).await,
        (None, Some(_)) => return Err(made_meanwhile(&target.shown())),
        (Some(_), None) => return Err(commit::removed(target)),
        (Some(version), Some(newest)) if if_exists == IfExists::Append => {
            if operations.is_empty() {
                return Ok(commit::committed(pieces, files, newest.version_id()));
            }
            append(target, written, newest, version, appended(operations)?).await
        }
        (Some(version), Some(newest)) => {
            if newest.version_id() != version {
                return Err(changed(target, version, newest.version_id()));
            }
            overwrite(target, written, newest, operations).await
        }
    };
    let version = match made {
        Ok(version) => version,
        Err(not_made) => {
            let conflict = |error: &Error| match (output.version, if_exists) {
                (None, _) => made_meanwhile(&target.shown()),
                (Some(version), IfExists::Append) => refused(target, version, error),
                (Some(version), _) => changed(target, version, version + 1),
            };
            commit::made_or(target, not_made, since, *job, conflict).await?
        }
    };
    Ok(commit::committed(pieces, files, version))
}

/// Adds fragments, which were written for a version, to whatever the dataset is now.
async fn append(
    target: &Target,
    written: &Written,
    mut newest: Arc<Dataset>,
    version: u64,
    operation: Operation,
) -> Result<u64, NotMade> {
    let mut late = 0;
    loop {
        let builder = next_of(target, &newest).await.map_err(NotMade::Failed)?;
        let transaction = commit::transaction(written.job, version, operation.clone());
        match commit::make(target, builder, transaction).await {
            Err(NotMade::Late(_)) if late < APPENDS => late += 1,
            Err(NotMade::Late(error)) => return Err(NotMade::Failed(error)),
            made => return made,
        }
        sleep(REST * late).await;
        let now = target.newest().await.map_err(NotMade::Failed)?;
        newest = now.ok_or_else(|| NotMade::Failed(commit::removed(target)))?;
        let own = commit::version_of(target, &newest, version, written.job).await;
        if let Some(own) = own.map_err(NotMade::Failed)? {
            return Ok(own);
        }
    }
}

async fn create(
    target: &Target,
    written: &Written,
    operations: Vec<Operation>,
) -> Result<u64, NotMade> {
    let replaced = replaced(target, written, None, operations).await.map_err(NotMade::Failed)?;
    let made = commit::make_new(target, commit::transaction(written.job, 0, replaced)).await;
    made.map_err(|error| match error {
        // Lance looks for the version that the transaction is based on, which is none.
        NotMade::Failed(error) if error.kind() == ErrorKind::NotFound => NotMade::Conflict(error),
        error => error,
    })
}

async fn overwrite(
    target: &Target,
    written: &Written,
    newest: Arc<Dataset>,
    operations: Vec<Operation>,
) -> Result<u64, NotMade> {
    let version = newest.version_id();
    let dataset = Some(Arc::clone(&newest));
    let replaced = replaced(target, written, dataset, operations).await;
    let replaced = replaced.map_err(NotMade::Failed)?;
    // Lance would put it in the place of what others committed since. Without retries it does not.
    let builder = CommitBuilder::new(newest).with_max_retries(0);
    commit::make(target, builder, commit::transaction(written.job, version, replaced)).await
}

/// The operation that makes the fragments of all tasks the dataset.
async fn replaced(
    target: &Target,
    written: &Written,
    dataset: Option<Arc<Dataset>>,
    mut operations: Vec<Operation>,
) -> Result<Operation> {
    if operations.is_empty() {
        let schema = schema::new(&written.output.schema)?;
        let none = Box::pin(EmptyRecordBatchStream::new(schema));
        let how = How::new(IfExists::Overwrite, u64::MAX);
        operations.push(insert(target, dataset, how, none, None).await?.operation);
    }
    let mut replaced = None;
    let mut all = Vec::new();
    for operation in operations {
        let Operation::Overwrite { fragments, schema, .. } = operation else {
            return Err(Error::internal("bad pieces of a Lance dataset from a peer"));
        };
        all.extend(fragments);
        replaced.get_or_insert(schema);
    }
    let schema = replaced.ok_or_else(|| Error::internal("no pieces of a Lance dataset"))?;
    let (config_upsert_values, initial_bases) = (None, None);
    Ok(Operation::Overwrite { fragments: all, schema, config_upsert_values, initial_bases })
}

/// The operation that adds the fragments of all tasks.
fn appended(operations: Vec<Operation>) -> Result<Operation> {
    let fragments = operations.into_iter().map(parts::fragments).collect::<Result<Vec<_>>>()?;
    Ok(Operation::Append { fragments: fragments.concat() })
}

fn files_of(operation: &Operation) -> u64 {
    let files =
        |fragments: &[Fragment]| fragments.iter().map(|one| one.files.len() as u64).sum::<u64>();
    match operation {
        Operation::Append { fragments } | Operation::Overwrite { fragments, .. } => {
            files(fragments)
        }
        _ => 0,
    }
}

fn made_meanwhile(shown: &str) -> Error {
    Error::invalid(format!(
        "somebody else made a Lance dataset at {shown} since the job was planned; nothing was \
         written"
    ))
}

fn changed(target: &Target, planned: u64, now: u64) -> Error {
    Error::invalid(format!(
        "somebody else changed the Lance dataset at {} since the job was planned (version \
         {planned} then, {now} now), and if_exists = \"overwrite\" would undo that; nothing was written",
        target.shown()
    ))
}

fn refused(target: &Target, planned: u64, error: &Error) -> Error {
    Error::invalid(format!(
        "rows for version {planned} of the Lance dataset at {} cannot be added to what it is now; \
         nothing was written: {}",
        target.shown(),
        error.message()
    ))
}
