//! The keys that a job collected before its lookups, as the stores take them.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use arrow::array::ArrayRef;
use async_trait::async_trait;
use keyloom_common::{BlobId, Error, Result, lookup::Fetch};

use super::{counters::Counters, keys::Distinct};
use crate::store::{BlobSource, KeySet, OpenStores, Store};

/// Keys in a blob: rows of one column.
#[derive(Debug)]
struct Collected<'a> {
    fetch: &'a Fetch,
    name: BlobId,
    blobs: &'a Arc<dyn BlobSource>,
    /// Whether somebody wanted them and has not got them.
    wanting: AtomicBool,
}

/// The store of a fetch, which knows the keys of the job if these were collected and that is of
/// use. Where they cannot be read, the store has done nothing wrong, and is asked as if there were
/// none.
pub(super) async fn knowing(
    store: Arc<dyn Store>,
    fetch: &Fetch,
    counters: &Counters,
    stores: &OpenStores,
) -> Result<Arc<dyn Store>> {
    let Some(name) = fetch.key_set else { return Ok(store) };
    let (blobs, wanting) = (stores.blobs(), AtomicBool::new(false));
    let keys = Collected { fetch, name, blobs, wanting };
    let timer = counters.fetch_time.timer();
    let knowing = store.knowing(&keys, &fetch.columns(), fetch.access.clone()).await;
    timer.done();
    let knowing = match knowing {
        Err(error) if keys.wanting.load(Ordering::Relaxed) => {
            let alias = &fetch.store.alias;
            tracing::warn!("KV store '{alias}' does without the job's collected keys: {error}");
            None
        }
        knowing => knowing?,
    };
    let Some((store, stats)) = knowing else { return Ok(store) };
    counters.count(&stats);
    Ok(store)
}

#[async_trait]
impl KeySet for Collected<'_> {
    fn name(&self) -> BlobId {
        self.name
    }

    async fn keys(&self) -> Result<ArrayRef> {
        // Nor has whoever stops waiting for them.
        self.wanting.store(true, Ordering::Relaxed);
        let keys = self.read().await?;
        self.wanting.store(false, Ordering::Relaxed);
        Ok(keys)
    }
}

impl Collected<'_> {
    async fn read(&self) -> Result<ArrayRef> {
        let rows = self.blobs.rows(self.name).await?;
        let columns: Vec<&ArrayRef> = rows.iter().flat_map(|batch| batch.columns()).collect();
        if columns.len() != rows.len() {
            return Err(Error::internal("collected keys are not one column"));
        }
        let columns: Vec<_> = columns.into_iter().map(|keys| (keys, None)).collect();
        Ok(Distinct::try_new(&columns, &self.fetch.store.key_type())?.keys)
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{Int64Array, RecordBatch};
    use bytes::Bytes;
    use datafusion::{
        physical_expr::expressions::Column, physical_plan::metrics::ExecutionPlanMetricsSet,
    };
    use keyloom_common::store::{
        Access, MEMORY, ResolvedStore, Snapshot, StoreDescription, StoreKey, StoreSpec,
    };

    use super::*;
    use crate::{
        samples::ids,
        store::{Found, ReadStats, Request, StoreEnv, StoreSettings},
    };

    /// Keys that may be there.
    #[derive(Debug)]
    struct Given(Option<RecordBatch>);

    #[async_trait]
    impl BlobSource for Given {
        async fn blob(&self, _: BlobId) -> Result<Bytes> {
            Err(Error::unavailable("nobody gives it"))
        }

        async fn rows(&self, _: BlobId) -> Result<Vec<RecordBatch>> {
            let rows = self.0.clone().ok_or_else(|| Error::unavailable("nobody gives it"))?;
            Ok(vec![rows])
        }
    }

    /// A store that fails once it has the keys.
    #[derive(Debug)]
    struct Curious;

    #[async_trait]
    impl Store for Curious {
        async fn lookup(&self, _: Request) -> Result<Found> {
            Ok(Found::default())
        }

        async fn row_bytes(&self, _: &[usize]) -> Result<u64> {
            Ok(8)
        }

        async fn knowing(
            &self,
            keys: &dyn KeySet,
            _: &[usize],
            _: Access,
        ) -> Result<Option<(Arc<dyn Store>, ReadStats)>> {
            let keys = keys.keys().await.map_err(|error| error.context("the store"))?;
            Err(Error::store(format!("no room for {} keys", keys.len())))
        }
    }

    fn fetch() -> Fetch {
        let described = StoreDescription {
            schema: ids(),
            snapshot: Snapshot::Immutable,
            figures: None,
            primary_key: None,
            repeats_keys: false,
        };
        let (content, key) = (Some(BlobId::of(b"rows")), Some(StoreKey::column("id")));
        let spec = StoreSpec { content, key, ..StoreSpec::new("own_name", MEMORY, "") };
        Fetch {
            store: ResolvedStore::try_new("alias", spec, described).unwrap(),
            key: Arc::new(Column::new("k", 0)),
            calls: Vec::new(),
            batch_size: None,
            access: Access::default(),
            reason: None,
            joined: None,
            key_set: Some(BlobId::of(b"keys")),
        }
    }

    async fn known(keys: Option<RecordBatch>) -> (Arc<dyn Store>, Result<Arc<dyn Store>>) {
        let stores = StoreEnv::new(StoreSettings::default(), Arc::new(Given(keys)));
        let stores = OpenStores::new(stores);
        let counters = Counters::new(&ExecutionPlanMetricsSet::new(), "alias", 0);
        let store: Arc<dyn Store> = Arc::new(Curious);
        let known = knowing(Arc::clone(&store), &fetch(), &counters, &stores).await;
        (store, known)
    }

    #[tokio::test]
    async fn keys_that_cannot_be_read_are_done_without() {
        let (store, known) = known(None).await;
        assert!(Arc::ptr_eq(&known.unwrap(), &store));
    }

    #[tokio::test]
    async fn a_store_that_cannot_use_the_keys_fails() {
        let keys: ArrayRef = Arc::new(Int64Array::from(vec![3, 1, 3]));
        let rows = RecordBatch::try_from_iter([("key", keys)]).unwrap();
        let (_, known) = known(Some(rows)).await;
        assert_eq!(known.unwrap_err(), Error::store("no room for 2 keys"));
    }
}
