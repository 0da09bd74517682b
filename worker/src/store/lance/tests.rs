//! What Lance alone brings: fragments, deletions, compaction, row ids, versions and tags.

mod all_rows;
mod budget;
mod columns;
mod duplicates;
mod errors;
mod evolving;
mod keeping;
mod knowing;
mod memory;
mod merging;
mod opening;
mod reading;
mod rewriting;
mod rows;
mod silent;
mod stored;
mod types;
mod widths;

use std::{collections::HashMap, ops::Range, sync::Arc};

use arrow::array::{
    Array, ArrayRef, AsArray, Int64Array, RecordBatch, RecordBatchIterator, StringArray,
    StructArray, UInt64Array,
};
use arrow::datatypes::{DataType, Field, Fields, Int64Type, Schema, UInt64Type};
use async_trait::async_trait;
use keyloom_common::{
    BlobId, Error, ErrorKind, Result,
    store::{
        Access, ForcedAccess, KeyPath, LanceFigures, LanceWay, OnDuplicateKey, Pin, ResolvedStore,
        RowPath, Snapshot, StoreDescription,
    },
};
use lance::{
    Dataset,
    dataset::{
        WriteDestination, WriteMode, WriteParams,
        optimize::{CompactionOptions, compact_files},
        transaction::Operation,
    },
};

use super::{LanceHandle, LanceKind, LanceSpec, kept::caches::Caches, keys::coder::Coder};
use crate::store::{
    Found, KeyRows, KeySet, Request, StorageProfile, Store, StoreEnv, StoreSettings,
    contract::fixture::{
        Blobs, EveryPath, as_remote, batch, env, held, index, lance_spec, values, write_lance,
    },
};

/// Rows in a dataset, in a directory of its own.
struct StoredRows {
    dataset: Dataset,
    uri: String,
    _dir: tempfile::TempDir,
}

/// Ids of a range, each with a word.
fn rows(ids: Range<i64>) -> RecordBatch {
    let words = StringArray::from_iter_values(ids.clone().map(word));
    batch(vec![
        ("id", Arc::new(Int64Array::from_iter_values(ids)) as ArrayRef),
        ("word", Arc::new(words) as ArrayRef),
    ])
}

fn word(id: i64) -> String {
    format!("word {id}")
}

/// Structs of numbers: for each field its name and its first number.
fn structs(rows: usize, fields: &[(&str, i64)]) -> ArrayRef {
    let column = |(name, first): &(&str, i64)| {
        let numbers = Int64Array::from_iter_values(*first..*first + rows as i64);
        (Arc::new(Field::new(*name, DataType::Int64, true)), Arc::new(numbers) as ArrayRef)
    };
    Arc::new(StructArray::from(fields.iter().map(column).collect::<Vec<_>>()))
}

/// Rows with the ids 0 to 29, in fragments of ten.
async fn three_fragments(enable_stable_row_ids: bool) -> StoredRows {
    let params = WriteParams { max_rows_per_file: 10, enable_stable_row_ids, ..Default::default() };
    write(rows(0..30), params).await
}

async fn write(rows: RecordBatch, params: WriteParams) -> StoredRows {
    let dir = tempfile::tempdir().unwrap();
    let uri = dir.path().join("rows.lance").to_string_lossy().into_owned();
    let dataset = write_lance(&uri, rows, params).await;
    StoredRows { dataset, uri, _dir: dir }
}

impl StoredRows {
    async fn append(&mut self, rows: RecordBatch) {
        let schema = rows.schema();
        let params = WriteParams { mode: WriteMode::Append, ..Default::default() };
        let rows = RecordBatchIterator::new([Ok(rows)], schema);
        self.dataset.append(rows, Some(params)).await.unwrap();
    }

    async fn delete(&mut self, predicate: &str) {
        self.dataset.delete(predicate).await.unwrap();
    }

    async fn compact(&mut self) {
        compact_files(&mut self.dataset, CompactionOptions::default(), None).await.unwrap();
    }

    async fn commit(&mut self, operation: Operation) {
        let version = self.dataset.version_id();
        let dataset = WriteDestination::Dataset(Arc::new(self.dataset.clone()));
        let committed =
            Dataset::commit(dataset, operation, Some(version), None, None, Arc::default(), false);
        self.dataset = committed.await.unwrap();
    }

    fn spec(&self, key: &str) -> LanceSpec {
        lance_spec(&self.uri, key)
    }

    /// The store, by every way to its rows.
    async fn open(&self, key: &str) -> Arc<dyn Store> {
        Arc::new(EveryPath::open(&env(), &self.spec(key)).await.unwrap().0)
    }

    /// The row ids of the ids, as Lance tells them.
    async fn row_ids(&self) -> HashMap<i64, u64> {
        let mut scan = self.dataset.scan();
        let scan = scan.project(&["id"]).unwrap().with_row_id();
        let all = scan.try_into_batch().await.unwrap();
        let ids = all["id"].as_primitive::<Int64Type>().values().to_vec();
        let row_ids = all["_rowid"].as_primitive::<UInt64Type>().values();
        ids.into_iter().zip(row_ids.iter().copied()).collect()
    }
}

async fn describe(env: &StoreEnv, spec: LanceSpec) -> Result<Arc<ResolvedStore>> {
    let spec = spec.named("own_name");
    let description = env.describe(&spec).await?;
    ResolvedStore::try_new("emb", spec, description)
}

async fn open(spec: LanceSpec) -> Result<Arc<dyn Store>> {
    let env = env();
    env.open(&*describe(&env, spec).await?).await
}

/// The open dataset below a store.
async fn open_handle(env: &StoreEnv, resolved: &ResolvedStore) -> Arc<LanceHandle> {
    let (spec, snapshot) = (&resolved.spec, resolved.description.snapshot);
    let opened = env.open_handle(&resolved.alias, spec, snapshot).await.unwrap();
    opened.handle.into_any().downcast().unwrap()
}

/// What a worker keeps of datasets.
fn caches(env: &StoreEnv) -> &Caches {
    &LanceKind::of(env).caches
}

async fn open_error(spec: LanceSpec) -> Error {
    open(spec).await.err().unwrap()
}

/// A set of keys that a job collected.
#[derive(Debug)]
struct Known(ArrayRef);

#[async_trait]
impl KeySet for Known {
    fn name(&self) -> BlobId {
        BlobId::of(b"known")
    }

    async fn keys(&self) -> Result<ArrayRef> {
        Ok(self.0.clone())
    }
}

async fn ask(
    store: &Arc<dyn Store>,
    keys: impl Array + 'static,
    columns: &[usize],
) -> Result<Found> {
    store
        .lookup(Request {
            keys: Arc::new(keys),
            columns: columns.to_vec(),
            access: Access::default(),
            rows: KeyRows::One,
        })
        .await
}

/// The ids found under integer keys.
async fn ids(store: &Arc<dyn Store>, keys: impl Array + 'static) -> Vec<Option<i64>> {
    let keys: ArrayRef = Arc::new(keys);
    let found = ask(store, keys.clone(), &[1, 0]).await.unwrap();
    if !held(&found).contains(&true) {
        return vec![None; keys.len()];
    }
    let (words, ids) = (values(&found, 0), values(&found, 1));
    let ids: Vec<_> = ids.as_primitive::<Int64Type>().iter().collect();
    let expected: StringArray = ids.iter().map(|id| id.map(word)).collect();
    assert_eq!(words.as_ref(), &expected);
    // Existence must say the same, and read no values.
    let exists = ask(store, keys, &[]).await.unwrap();
    assert_eq!(held(&exists), ids.iter().map(Option::is_some).collect::<Vec<_>>());
    assert_eq!((exists.stats.bytes, exists.stats.rows_taken), (0, 0));
    ids
}
