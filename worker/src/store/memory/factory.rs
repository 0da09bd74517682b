//! The kind `memory`, as workers know kinds of stores.

use std::{any::Any, sync::Arc};

use async_trait::async_trait;
use keyloom_common::{
    BlobId, Error, Result,
    store::{KeyColumns, MEMORY, ResolvedStore, Snapshot, StoreDescription, StoreKey, StoreSpec},
};
use serde::Deserialize;

use super::MemoryStore;
use crate::store::{
    Store, WorkerParts,
    factory::{KindOnWorker, OpenStore, StoreFactory, no_such},
};

/// Contents that travel with the session.
#[derive(Debug)]
pub(crate) struct MemoryFactory;

/// The kind has no options.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Says {}

/// The kind on a worker.
#[derive(Debug)]
struct MemoryKind {
    worker: WorkerParts,
}

impl StoreFactory for MemoryFactory {
    fn kind(&self) -> &'static str {
        MEMORY
    }

    fn start(&self, worker: &WorkerParts) -> Box<dyn KindOnWorker> {
        Box::new(MemoryKind { worker: worker.clone() })
    }
}

#[async_trait]
impl KindOnWorker for MemoryKind {
    fn bounds_itself(&self) -> bool {
        true
    }

    async fn describe(&self, spec: &StoreSpec) -> Result<StoreDescription> {
        let (content, _) = self.content(spec)?;
        let (bytes, _room) = self.worker.content(content).await?;
        let schema = MemoryStore::read_schema(bytes).await?;
        let snapshot = Snapshot::Immutable;
        let (figures, primary_key, repeats_keys) = (None, None, false);
        Ok(StoreDescription { schema, snapshot, figures, primary_key, repeats_keys })
    }

    async fn open(&self, spec: &StoreSpec, snapshot: Snapshot) -> Result<Arc<dyn OpenStore>> {
        if snapshot != Snapshot::Immutable {
            return Err(no_such(spec, snapshot));
        }
        let (content, key) = self.content(spec)?;
        let (bytes, room) = self.worker.content(content).await?;
        Ok(Arc::new(MemoryStore::open(content, bytes, key, room).await?))
    }
}

impl MemoryKind {
    /// What a store is made of. Keys are unique and not null: the session sees to that when the
    /// store is loaded.
    fn content<'a>(&self, spec: &'a StoreSpec) -> Result<(BlobId, &'a KeyColumns)> {
        let Says {} = self.own_options(spec)?;
        match (spec.content, &spec.key, &spec.pin) {
            (Some(content), Some(StoreKey::Columns(key)), None) => Ok((content, key)),
            _ => Err(Error::invalid(
                "a memory store has contents of its session, a key of columns, and no versions",
            )),
        }
    }
}

impl OpenStore for MemoryStore {
    fn bind(self: Arc<Self>, _: &ResolvedStore) -> Result<Arc<dyn Store>> {
        Ok(self)
    }

    fn content_bytes(&self) -> u64 {
        self.bytes()
    }

    fn into_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }
}
