//! New columns of a dataset, in place: each fragment gets a data file more, and none is rewritten.
//!
//! The rows of a task are those of whole fragments, in their order, deleted ones left out. Lance
//! fills the gaps of these. One transaction names all fragments of the version, so it goes with no
//! change of them that somebody else has made since.

mod input;

use std::{collections::HashMap, ops::Range, sync::Arc};

use arrow::datatypes::SchemaRef;
use datafusion::{execution::SendableRecordBatchStream, physical_plan::ExecutionPlan};
use keyloom_common::{
    Error, Result,
    input::Layout,
    output::{Committed, Piece, PreparedOutput, WriteExec},
    plan::InputScanExec,
    store::Snapshot,
};
use lance::{
    Dataset,
    dataset::{
        CommitBuilder, NewColumnTransform,
        fragment::FileFragment,
        transaction::{Operation, Transaction},
    },
    datatypes,
};
use lance_table::format::Fragment;

use self::input::Input;
use super::{
    commit, parts,
    rows::{Failure, under},
    schema,
    unaccepted::Unaccepted,
};
use crate::{
    output::Written,
    store::lance::{Target, from_lance, snapshot},
};

/// Looks whether these columns can be added.
///
/// # Errors
/// `invalid`, naming the dataset and the column.
pub(super) fn check(target: &Target, dataset: &Dataset, rows: &SchemaRef) -> Result<()> {
    schema::added(target, dataset, rows).map(drop)
}

/// The fragments of which a task has the rows.
#[derive(Clone, Debug)]
pub(super) struct Fragments {
    snapshot: Snapshot,
    /// Their places in the manifest, in the order of the rows.
    places: Vec<Range<u64>>,
}

impl Fragments {
    /// Those that the input of a node reads.
    ///
    /// # Errors
    /// `internal` if it reads something else: such plans are refused before.
    pub(super) fn of(node: &WriteExec) -> Result<Self> {
        let bad = || Error::internal("columns are added by tasks that read whole fragments alone");
        let mut plan: &Arc<dyn ExecutionPlan> = node.input();
        while let [input] = plan.children().as_slice() {
            plan = *input;
        }
        let scan = plan.downcast_ref::<InputScanExec>().ok_or_else(bad)?;
        let (Layout::Lance(snapshot), [partition], None) =
            (&scan.table().layout, scan.partitions(), scan.limit())
        else {
            return Err(bad());
        };
        if partition.rows.is_some() {
            return Err(bad());
        }
        let places = partition.slices.iter().map(|slice| slice.bytes.clone()).collect();
        Ok(Self { snapshot: *snapshot, places })
    }

    /// They, of the dataset that is meant.
    fn open(&self, target: &Target, dataset: &Dataset) -> Result<Vec<FileFragment>> {
        if snapshot(dataset) != self.snapshot {
            return Err(Error::not_found(format!(
                "the Lance dataset at {} was written anew since the job was planned; run the job \
                 again",
                target.shown()
            )));
        }
        let mut all = Vec::new();
        let fragments = dataset.get_fragments();
        for places in &self.places {
            let place = |place: u64| usize::try_from(place).unwrap_or(usize::MAX);
            let some = fragments.get(place(places.start)..place(places.end));
            all.extend_from_slice(some.ok_or_else(|| Error::internal("no such fragments"))?);
        }
        Ok(all)
    }
}

/// Writes the columns of a task's rows.
pub(super) async fn write(
    target: &Target,
    output: &PreparedOutput,
    fragments: Fragments,
    rows: SendableRecordBatchStream,
    unaccepted: &Arc<Unaccepted>,
) -> Result<Vec<Piece>> {
    let version = output.version.ok_or_else(|| Error::internal("no dataset to add columns to"))?;
    let dataset = target.at(version).await?;
    let schema = schema::added(target, &dataset, &output.schema)?;
    let fragments = fragments.open(target, &dataset)?;
    let failure = Failure::default();
    let rows = under(rows, Arc::clone(&schema), &failure);
    let input = Arc::new(Input::new(rows, failure.clone()));
    let mut pieces = Vec::new();
    for fragment in fragments {
        let (input, unaccepted) = (Arc::clone(&input), Arc::clone(unaccepted));
        let added = target.run("adding columns to", add(fragment, version, input, unaccepted));
        pieces.push(failure.or(added.await)?);
    }
    input.end().await?;
    Ok(pieces)
}

/// Writes the columns of a fragment.
async fn add(
    fragment: FileFragment,
    version: u64,
    input: Arc<Input>,
    unaccepted: Arc<Unaccepted>,
) -> Result<Piece> {
    let rows = fragment.count_rows(None).await.map_err(from_lance)?;
    let columns = NewColumnTransform::Stream(input.take(rows));
    let added = Box::pin(fragment.add_columns(columns, None, None)).await;
    let (added, schema) = added.map_err(from_lance)?;
    let new = new_files(fragment.metadata(), &added);
    unaccepted.data(parts::names(&new).map(str::to_owned).collect()).await;
    let operation =
        Operation::Merge { fragments: vec![added], schema, preserves_nullability: true };
    let transaction = Transaction::new(version, operation, None);
    parts::piece(&transaction, rows as u64, parts::bytes([&new]))
}

/// A fragment of the files alone that it did not have before.
fn new_files(before: &Fragment, now: &Fragment) -> Fragment {
    let mut new = now.clone();
    new.files.retain(|file| before.files.iter().all(|known| known.path != file.path));
    new
}

/// Makes the columns of all fragments visible.
pub(super) async fn commit(target: &Target, written: &Written) -> Result<Committed> {
    let Written { job, output, pieces } = written;
    let planned = output.version.ok_or_else(|| Error::internal("no dataset to add columns to"))?;
    let newest = target.newest().await?.ok_or_else(|| commit::removed(target))?;
    let files = pieces.len() as u64;
    if let Some(version) = commit::version_of(target, &newest, planned, *job).await? {
        return Ok(commit::committed(pieces, files, version));
    }
    let dataset = target.at(planned).await?;
    if !same_rows(&dataset, &newest) {
        return Err(changed(target, planned, None));
    }
    let columns = schema::added(target, &dataset, &output.schema)?;
    let operation = merged(&dataset, &columns, pieces)?;
    let transaction = commit::transaction(*job, planned, operation);
    let made = commit::make(target, CommitBuilder::new(dataset), transaction).await;
    let version = match made {
        Ok(version) => version,
        Err(not_made) => {
            let conflict = |error: &Error| changed(target, planned, Some(error));
            commit::made_or(target, not_made, planned, *job, conflict).await?
        }
    };
    Ok(commit::committed(pieces, files, version))
}

/// Whether two versions have the same rows and columns. Their indices are no matter.
fn same_rows(planned: &Dataset, newest: &Dataset) -> bool {
    planned.manifest.fragments == newest.manifest.fragments && planned.schema() == newest.schema()
}

/// The operation that gives all fragments of a version their columns.
fn merged(dataset: &Dataset, columns: &SchemaRef, pieces: &[Piece]) -> Result<Operation> {
    let mut schema = None;
    let mut added = HashMap::new();
    for piece in pieces {
        let Operation::Merge { fragments, schema: of_piece, .. } = parts::operation(piece)? else {
            return Err(Error::internal("bad pieces of columns from a peer"));
        };
        schema.get_or_insert(of_piece);
        for fragment in fragments {
            let id = fragment.id;
            if added.insert(id, fragment).is_some() {
                return Err(Error::internal(format!("fragment {id} got its columns twice")));
            }
        }
    }
    let mut fragments = Vec::new();
    for fragment in dataset.manifest.fragments.iter() {
        match added.remove(&fragment.id) {
            Some(fragment) => fragments.push(fragment),
            // No task need read what has no rows.
            None if fragment.num_rows() == Some(0) => fragments.push(fragment.clone()),
            None => {
                let id = fragment.id;
                return Err(Error::internal(format!("no task had the rows of fragment {id}")));
            }
        }
    }
    if let Some(id) = added.keys().next() {
        return Err(Error::internal(format!("there is no fragment {id} that got columns")));
    }
    let schema = match schema {
        Some(schema) => schema,
        None => extended(dataset, columns).map_err(from_lance)?,
    };
    Ok(Operation::Merge { fragments, schema, preserves_nullability: true })
}

/// The columns of a dataset without rows, and those that are added.
fn extended(dataset: &Dataset, columns: &SchemaRef) -> lance::Result<datatypes::Schema> {
    let mut schema = dataset.schema().merge(columns.as_ref())?;
    schema.try_set_field_id(Some(dataset.manifest.max_field_id()))?;
    Ok(schema)
}

fn changed(target: &Target, planned: u64, error: Option<&Error>) -> Error {
    let why = error.map(|error| format!(": {}", error.message())).unwrap_or_default();
    Error::invalid(format!(
        "somebody else changed the Lance dataset at {} since version {planned}, whose rows the \
         columns are for; nothing was written, run the job again{why}",
        target.shown()
    ))
}
