//! The kind `lance`, as workers know kinds of stores.

use std::{
    any::Any,
    sync::{Arc, Weak},
};

use async_trait::async_trait;
use keyloom_common::{
    Result,
    store::{LANCE, ResolvedStore, Snapshot, StoreDescription, StoreSpec},
};

use super::{LanceHandle, LanceKind, LanceSpec};
use crate::{
    memory::Keeper,
    store::{
        Store, WorkerParts,
        factory::{KindOnWorker, OpenStore, StoreFactory, no_such},
    },
};

/// Lance datasets.
#[derive(Debug)]
pub(crate) struct LanceFactory;

impl StoreFactory for LanceFactory {
    fn kind(&self) -> &'static str {
        LANCE
    }

    fn start(&self, worker: &WorkerParts) -> Box<dyn KindOnWorker> {
        Box::new(LanceKind::new(worker))
    }
}

#[async_trait]
impl KindOnWorker for LanceKind {
    fn bounds_itself(&self) -> bool {
        true
    }

    fn keeper(&self) -> Option<Weak<dyn Keeper>> {
        let caches = Arc::downgrade(&self.caches);
        Some(caches)
    }

    fn memory(&self) -> Vec<(&'static str, u64)> {
        let caches = &self.caches;
        vec![
            ("key_maps", caches.maps.bytes()),
            ("columns", caches.blocks.bytes()),
            ("job_keys", caches.learned.bytes() + caches.known.bytes()),
        ]
    }

    async fn describe(&self, spec: &StoreSpec) -> Result<StoreDescription> {
        self.describe_dataset(&LanceSpec::of(spec)?).await
    }

    async fn open(&self, spec: &StoreSpec, snapshot: Snapshot) -> Result<Arc<dyn OpenStore>> {
        let Snapshot::Version { number, manifest } = snapshot else {
            return Err(no_such(spec, snapshot));
        };
        Ok(Arc::new(self.open_dataset(&LanceSpec::of(spec)?, number, manifest).await?))
    }
}

impl OpenStore for LanceHandle {
    fn bind(self: Arc<Self>, store: &ResolvedStore) -> Result<Arc<dyn Store>> {
        Ok(Arc::new(self.bound(store)?))
    }

    fn into_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }
}

#[cfg(test)]
impl LanceKind {
    /// That of a worker.
    pub(super) fn of(env: &crate::store::StoreEnv) -> &Self {
        let kind: &dyn Any = env.kinds.of(LANCE).unwrap();
        kind.downcast_ref().unwrap()
    }
}
