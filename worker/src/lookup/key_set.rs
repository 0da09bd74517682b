//! The keys that a job collected before its lookups, as the stores take them.

use std::sync::Arc;

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
}

/// The store of a fetch, which knows the keys of the job if these were collected and that is of use.
pub(super) async fn knowing(
    store: Arc<dyn Store>,
    fetch: &Fetch,
    counters: &Counters,
    stores: &OpenStores,
) -> Result<Arc<dyn Store>> {
    let Some(name) = fetch.key_set else { return Ok(store) };
    let keys = Collected { fetch, name, blobs: stores.blobs() };
    let timer = counters.fetch_time.timer();
    let knowing = store.knowing(&keys, &fetch.columns(), fetch.access).await?;
    timer.done();
    let Some((store, fetched)) = knowing else { return Ok(store) };
    counters.count(&fetched);
    Ok(store)
}

#[async_trait]
impl KeySet for Collected<'_> {
    fn name(&self) -> BlobId {
        self.name
    }

    async fn keys(&self) -> Result<ArrayRef> {
        let rows = self.blobs.rows(self.name).await?;
        let columns: Vec<&ArrayRef> = rows.iter().flat_map(|batch| batch.columns()).collect();
        if columns.len() != rows.len() {
            return Err(Error::internal("collected keys are not one column"));
        }
        let columns: Vec<_> = columns.into_iter().map(|keys| (keys, None)).collect();
        Ok(Distinct::try_new(&columns, &self.fetch.store.key_type())?.keys)
    }
}
