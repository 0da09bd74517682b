//! The kind `memory`, as workers know kinds of stores.

use std::{any::Any, sync::Arc};

use async_trait::async_trait;
use keyloom_common::{
    Result,
    store::{MEMORY, ResolvedStore, Snapshot, StoreDescription, StoreKind},
};

use super::MemoryStore;
use crate::store::{
    Store, StoreEnv,
    factory::{OpenStore, StoreFactory, no_such},
};

/// Contents that travel with the session.
#[derive(Debug)]
pub(crate) struct MemoryFactory;

#[async_trait]
impl StoreFactory for MemoryFactory {
    fn kind(&self) -> &'static str {
        MEMORY
    }

    async fn describe(&self, env: &StoreEnv, spec: &StoreKind) -> Result<StoreDescription> {
        let StoreKind::Memory(memory) = spec else { return Err(no_such(spec, None)) };
        let (bytes, _room) = env.content(memory.content).await?;
        let schema = MemoryStore::read_schema(bytes).await?;
        let snapshot = Snapshot::Immutable;
        Ok(StoreDescription { schema, snapshot, figures: None, primary_key: None })
    }

    async fn open(
        &self,
        env: &StoreEnv,
        spec: &StoreKind,
        snapshot: Snapshot,
    ) -> Result<Arc<dyn OpenStore>> {
        let (StoreKind::Memory(memory), Snapshot::Immutable) = (spec, snapshot) else {
            return Err(no_such(spec, Some(snapshot)));
        };
        let (bytes, room) = env.content(memory.content).await?;
        Ok(Arc::new(MemoryStore::open(memory.content, bytes, &memory.key, room).await?))
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
