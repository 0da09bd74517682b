//! Stores to test with, and how tests look at answers.

use std::{collections::HashMap, sync::Arc};

use arrow::{
    array::{Array, ArrayRef, RecordBatch, RecordBatchIterator},
    compute::take,
    datatypes::Schema,
    ipc::writer::StreamWriter,
};
use async_trait::async_trait;
use bytes::Bytes;
use keyloom_common::{
    BlobId, Error, Result,
    store::{
        ForcedAccess, LanceKey, LanceSpec, MemorySpec, OnDuplicateKey, ResolvedStore, StoreKind,
        StoreSpec,
    },
};
use lance::{Dataset, dataset::WriteParams};

use crate::store::{BlobSource, Found, OpenStores, Request, Store, StoreEnv, StoreSettings};

/// Blobs by name.
#[derive(Debug, Default)]
pub(in crate::store) struct Blobs(pub(in crate::store) HashMap<BlobId, Bytes>);

#[async_trait]
impl BlobSource for Blobs {
    async fn blob(&self, id: BlobId) -> Result<Bytes> {
        self.0.get(&id).cloned().ok_or_else(|| Error::not_found(format!("no blob {id}")))
    }
}

/// A store under test, and what must outlive it.
pub(in crate::store) struct Fixture {
    pub(in crate::store) store: Arc<dyn Store>,
    pub(super) schema: Arc<Schema>,
    _dir: Option<tempfile::TempDir>,
}

/// The rows in two batches, so that stores see more than one.
fn halves(rows: &RecordBatch) -> Vec<RecordBatch> {
    let half = rows.num_rows().div_ceil(2);
    vec![rows.slice(0, half), rows.slice(half, rows.num_rows() - half)]
}

pub(in crate::store) fn ipc(rows: &RecordBatch) -> Bytes {
    let mut writer = StreamWriter::try_new(vec![], rows.schema_ref()).unwrap();
    halves(rows).iter().for_each(|half| writer.write(half).unwrap());
    writer.into_inner().unwrap().into()
}

/// Writes a dataset of several fragments.
pub(in crate::store) async fn write_lance(
    uri: &str,
    rows: RecordBatch,
    params: WriteParams,
) -> Dataset {
    let schema = rows.schema();
    let reader = RecordBatchIterator::new([Ok(rows)], schema);
    Dataset::write(reader, uri, Some(params)).await.unwrap()
}

pub(in crate::store) fn lance_spec(uri: &str, key: &str) -> LanceSpec {
    LanceSpec {
        uri: uri.to_owned(),
        key: LanceKey::parse(key),
        pin: None,
        storage_profile: None,
        on_duplicate_key: OnDuplicateKey::Error,
        access: ForcedAccess::default(),
    }
}

pub(in crate::store) async fn open(
    env: StoreEnv,
    kind: StoreKind,
) -> Result<(Arc<ResolvedStore>, Arc<dyn Store>)> {
    let spec = StoreSpec { name: "own_name".to_owned(), kind };
    let stores = OpenStores::new(env);
    let description = stores.describe(&spec).await?;
    let resolved = ResolvedStore::try_new("alias", spec, description)?;
    let store = stores.get(&resolved).await?;
    Ok((resolved, store))
}

pub(in crate::store) fn env() -> StoreEnv {
    StoreEnv::new(
        StoreSettings { take_chunk_rows: 100, ..Default::default() },
        Arc::new(Blobs::default()),
    )
}

pub(super) async fn memory(rows: RecordBatch, key: &str) -> Fixture {
    let bytes = ipc(&rows);
    let content = BlobId::of(&bytes);
    let blobs = Blobs(HashMap::from([(content, bytes)]));
    let env = StoreEnv::new(StoreSettings::default(), Arc::new(blobs));
    let kind = StoreKind::Memory(MemorySpec { content, key: key.to_owned() });
    let (resolved, store) = open(env, kind).await.unwrap();
    Fixture { store, schema: resolved.schema().clone(), _dir: None }
}

pub(super) async fn lance(rows: RecordBatch, key: &str) -> Fixture {
    let dir = tempfile::tempdir().unwrap();
    let uri = dir.path().join("rows.lance").to_string_lossy().into_owned();
    let max_rows_per_file = rows.num_rows().div_ceil(3).max(1);
    write_lance(&uri, rows, WriteParams { max_rows_per_file, ..Default::default() }).await;
    let (resolved, store) = open(env(), StoreKind::Lance(lance_spec(&uri, key))).await.unwrap();
    Fixture { store, schema: resolved.schema().clone(), _dir: Some(dir) }
}

impl Fixture {
    pub(super) async fn ask(&self, keys: ArrayRef, columns: &[&str]) -> Found {
        let columns = columns.iter().map(|name| self.schema.index_of(name).unwrap()).collect();
        self.store.lookup(Request { keys, columns }).await.unwrap()
    }
}

/// The values of a column, key by key.
pub(in crate::store) fn values(found: &Found, column: &str) -> ArrayRef {
    take(found.rows.column_by_name(column).unwrap(), &found.positions, None).unwrap()
}

pub(in crate::store) fn held(found: &Found) -> Vec<bool> {
    found.positions.iter().map(|position| position.is_some()).collect()
}

pub(in crate::store) fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    RecordBatch::try_from_iter_with_nullable(
        columns.into_iter().map(|(name, column)| (name, column, true)),
    )
    .unwrap()
}

pub(super) fn array(array: impl Array + 'static) -> ArrayRef {
    Arc::new(array)
}
