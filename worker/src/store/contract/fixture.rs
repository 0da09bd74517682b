//! Stores to test with, and how tests look at answers.

use std::{collections::HashMap, sync::Arc};

use arrow::{
    array::{Array, ArrayRef, RecordBatch, RecordBatchIterator, new_null_array},
    compute::interleave,
    datatypes::{DataType, Schema},
    ipc::writer::StreamWriter,
};
use async_trait::async_trait;
use bytes::Bytes;
use keyloom_common::{
    BlobId, Error, Result,
    store::{
        Access, ForcedAccess, KeyPath, LanceFigures, MEMORY, OnDuplicateKey, Pace, ResolvedStore,
        RowPath, StoreKey, StoreSpec,
    },
};
use lance::{Dataset, dataset::WriteParams, index::DatasetIndexExt};
use lance_index::{IndexType, scalar::ScalarIndexParams};

use crate::store::{
    BlobSource, Found, KeyRows, OpenStores, Place, Request, Store, StoreEnv, StoreSettings, Values,
    lance::LanceSpec,
};

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

/// A dataset by a key; columns that are one together have commas between.
pub(in crate::store) fn lance_spec(uri: &str, key: &str) -> LanceSpec {
    LanceSpec {
        uri: uri.to_owned(),
        key: Some(StoreKey::parse(key.split(',')).unwrap()),
        pin: None,
        storage_profile: None,
        on_duplicate_key: OnDuplicateKey::Error,
        access: ForcedAccess::default(),
        pace: Pace::default(),
    }
}

/// Contents by a key; columns that are one together have commas between.
pub(in crate::store) fn memory_spec(name: &str, content: BlobId, key: &str) -> StoreSpec {
    let key = Some(StoreKey::parse(key.split(',')).unwrap());
    StoreSpec { content: Some(content), key, ..StoreSpec::new(name, MEMORY, "") }
}

pub(in crate::store) async fn open(
    env: StoreEnv,
    spec: StoreSpec,
) -> Result<(Arc<ResolvedStore>, Arc<dyn Store>)> {
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
    let (resolved, store) = open(env, memory_spec("own_name", content, key)).await.unwrap();
    Fixture { store, schema: resolved.schema().clone(), _dir: None }
}

/// The same in a file, of which the kind says that it takes two keys at a time.
pub(super) async fn toy(rows: RecordBatch, key: &str) -> Fixture {
    toy_with(rows, key, &[("keys_at_once", "2")]).await
}

/// The same, of which the user says so.
pub(super) async fn toy_in_batches(rows: RecordBatch, key: &str) -> Fixture {
    toy_with(rows, key, &[("keys_at_once", "1000"), ("batch_keys", "2")]).await
}

/// The same, one request after the other.
pub(super) async fn toy_in_turn(rows: RecordBatch, key: &str) -> Fixture {
    toy_with(rows, key, &[("keys_at_once", "100"), ("requests_in_flight", "1")]).await
}

/// The same, of which every third request fails.
pub(super) async fn toy_with_faults(rows: RecordBatch, key: &str) -> Fixture {
    let faults = [("fails_every", "3"), ("request_attempts", "100")];
    toy_with(rows, key, &[&faults[..], &[("keys_at_once", "2")]].concat()).await
}

/// The same with the answers kept: asked again, it answers from memory as it did before.
pub(super) async fn toy_kept(rows: RecordBatch, key: &str) -> Fixture {
    let options = [("keys_at_once", "100"), ("keeps_answers", "")];
    let Fixture { store, schema, _dir } = toy_with(rows, key, &options).await;
    Fixture { store: Arc::new(Twice(store)), schema, _dir }
}

pub(super) async fn toy_with(rows: RecordBatch, key: &str, options: &[(&str, &str)]) -> Fixture {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("rows.arrow");
    std::fs::write(&file, ipc(&rows)).unwrap();
    let spec = toy_spec(&file.to_string_lossy(), key, options);
    let settings = StoreSettings {
        request_attempts: 100,
        retry_rest_ms: 1,
        retry_rest_max_ms: 1,
        ..Default::default()
    };
    let env = StoreEnv::new(settings, Arc::new(Blobs::default()));
    let (resolved, store) = open(env, spec).await.unwrap();
    Fixture { store, schema: resolved.schema().clone(), _dir: Some(dir) }
}

pub(super) fn toy_spec(file: &str, key: &str, options: &[(&str, &str)]) -> StoreSpec {
    let options = options.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let (key, options) = (Some(StoreKey::parse(key.split(',')).unwrap()), options.collect());
    StoreSpec { key, options, ..StoreSpec::new("own_name", "toy", file) }
}

pub(super) async fn lance(rows: RecordBatch, key: &str) -> Fixture {
    let dir = tempfile::tempdir().unwrap();
    let uri = dir.path().join("rows.lance").to_string_lossy().into_owned();
    let max_rows_per_file = rows.num_rows().div_ceil(3).max(1);
    let params = WriteParams { max_rows_per_file, ..Default::default() };
    let mut dataset = write_lance(&uri, rows, params).await;
    if !key.contains(',') {
        index(&mut dataset, key).await;
    }
    let (store, schema) = EveryPath::open(&env(), &lance_spec(&uri, key)).await.unwrap();
    Fixture { store: Arc::new(store), schema, _dir: Some(dir) }
}

/// Gives the key column a BTree, where Lance has one for its type.
pub(in crate::store) async fn index(dataset: &mut Dataset, key: &str) {
    let params = ScalarIndexParams::default();
    let of_dictionary = matches!(
        dataset.schema().field(key).unwrap().data_type(),
        DataType::Dictionary(_, _) | DataType::FixedSizeBinary(_)
    );
    if !of_dictionary {
        dataset.create_index(&[key], IndexType::BTree, None, &params, true).await.unwrap();
    }
}

/// The same dataset under a scheme that Lance takes for an object store's, so that its own reader
/// of fragments reads the files.
pub(in crate::store) fn as_remote(spec: &LanceSpec) -> LanceSpec {
    LanceSpec { uri: format!("file-object-store://{}", spec.uri), ..spec.clone() }
}

/// One dataset, opened once for each way to reach its rows. Every lookup goes every way, and all
/// answers must agree.
#[derive(Debug)]
pub(in crate::store) struct EveryPath(Vec<(LanceSpec, Arc<dyn Store>)>);

impl EveryPath {
    pub(in crate::store) async fn open(
        env: &StoreEnv,
        spec: &LanceSpec,
    ) -> Result<(Self, Arc<Schema>)> {
        let mut stores = Vec::new();
        let mut schema = Arc::new(Schema::empty());
        for spec in ways(env, spec).await? {
            let described = spec.clone().named("own_name");
            let description = env.describe(&described).await?;
            let resolved = ResolvedStore::try_new("emb", described, description)?;
            schema = resolved.schema().clone();
            stores.push((spec, env.open(&resolved).await?));
        }
        Ok((Self(stores), schema))
    }
}

/// The store with each way forced, the key path that it has by itself first.
async fn ways(env: &StoreEnv, spec: &LanceSpec) -> Result<Vec<LanceSpec>> {
    let described = env.describe(&spec.clone().named("own_name")).await?;
    let mut keys = vec![None];
    if let Some(key @ StoreKey::Columns(_)) = &spec.key {
        keys.extend([Some(KeyPath::Map), Some(KeyPath::Scan)]);
        let figures = LanceFigures::of(&described.figures.unwrap())?;
        keys.extend(figures.key_index(key).map(|_| Some(KeyPath::Btree)));
    }
    let every = [None, Some(RowPath::Take), Some(RowPath::Scan)];
    let local = keys.iter().flat_map(|keys| every.map(|rows| forced(spec, *keys, rows)));
    let remote = as_remote(spec);
    let remote = every[1..].iter().map(|rows| forced(&remote, None, *rows));
    Ok(local.chain(remote).collect())
}

fn forced(spec: &LanceSpec, keys: Option<KeyPath>, rows: Option<RowPath>) -> LanceSpec {
    LanceSpec { access: ForcedAccess { keys, rows }, ..spec.clone() }
}

#[async_trait]
impl Store for EveryPath {
    async fn lookup(&self, request: Request) -> Result<Found> {
        let mut answers = Vec::new();
        for (spec, store) in &self.0 {
            answers.push((spec, store.lookup(request.clone()).await));
        }
        let (first_spec, first) = &answers[0];
        for (spec, answer) in &answers[1..] {
            let way = format!("{:?} of {}", spec.access, spec.uri);
            match (first, answer) {
                (Ok(first), Ok(other)) => assert_same(first, other, &way),
                (Err(first), Err(other)) if spec.uri == first_spec.uri && !names_a_file(first) => {
                    assert_eq!(first, other, "{way}");
                }
                // Another reader may find other words for what it cannot read, and of several files
                // any may be found wanting first.
                (Err(first), Err(other)) => assert_eq!(first.kind(), other.kind(), "{way}"),
                (first, other) => panic!("{way}: {other:?}, but {first:?} of the first way"),
            }
        }
        answers.swap_remove(0).1
    }

    async fn row_bytes(&self, columns: &[usize]) -> Result<u64> {
        self.0[0].1.row_bytes(columns).await
    }
}

/// A store that is asked twice. Both answers must agree.
#[derive(Debug)]
struct Twice(Arc<dyn Store>);

#[async_trait]
impl Store for Twice {
    async fn lookup(&self, request: Request) -> Result<Found> {
        let first = self.0.lookup(request.clone()).await?;
        assert_same(&first, &self.0.lookup(request).await?, "asked again");
        Ok(first)
    }

    async fn row_bytes(&self, columns: &[usize]) -> Result<u64> {
        self.0.row_bytes(columns).await
    }
}

fn names_a_file(error: &Error) -> bool {
    error.message().contains("/data/")
}

fn assert_same(first: &Found, other: &Found, way: &str) {
    assert_eq!(held(first), held(other), "{way}");
    if held(first).contains(&true) {
        for column in 0..first.columns.len() {
            assert_eq!(&values(first, column), &values(other, column), "{way}");
        }
    }
}

impl Fixture {
    pub(super) async fn ask(&self, keys: ArrayRef, columns: &[&str]) -> Found {
        let columns = columns.iter().map(|name| self.schema.index_of(name).unwrap()).collect();
        let (access, rows) = (Access::default(), KeyRows::One);
        self.store.lookup(Request { keys, columns, access, rows }).await.unwrap()
    }
}

/// The values of a requested column, key by key.
pub(in crate::store) fn values(found: &Found, column: usize) -> ArrayRef {
    let Values { pieces, places } = &found.columns[column];
    let null = new_null_array(pieces[0].data_type(), 1);
    let all: Vec<&dyn Array> = pieces.iter().chain([&null]).map(AsRef::as_ref).collect();
    let place = |place: &Place| match place.get() {
        Some(place) => (place.piece as usize, place.row as usize),
        None => (pieces.len(), 0),
    };
    interleave(&all, &places.iter().map(place).collect::<Vec<_>>()).unwrap()
}

pub(in crate::store) fn held(found: &Found) -> Vec<bool> {
    for values in &found.columns {
        let places: Vec<_> = values.places.iter().map(|place| place.get().is_some()).collect();
        assert_eq!(places, found.held);
    }
    found.held.clone()
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
