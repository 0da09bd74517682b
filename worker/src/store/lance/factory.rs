//! The kind `lance`, as workers know kinds of stores.

use std::{any::Any, sync::Arc};

use async_trait::async_trait;
use keyloom_common::{
    Result,
    store::{LANCE, ResolvedStore, Snapshot, StoreDescription, StoreKind},
};

use super::LanceHandle;
use crate::store::{
    Store, StoreEnv,
    factory::{OpenStore, StoreFactory, no_such},
};

/// Lance datasets.
#[derive(Debug)]
pub(crate) struct LanceFactory;

#[async_trait]
impl StoreFactory for LanceFactory {
    fn kind(&self) -> &'static str {
        LANCE
    }

    async fn describe(&self, env: &StoreEnv, spec: &StoreKind) -> Result<StoreDescription> {
        match spec {
            StoreKind::Lance(lance) => env.lance().describe(lance).await,
            other => Err(no_such(other, None)),
        }
    }

    async fn open(
        &self,
        env: &StoreEnv,
        spec: &StoreKind,
        snapshot: Snapshot,
    ) -> Result<Arc<dyn OpenStore>> {
        match (spec, snapshot) {
            (StoreKind::Lance(lance), Snapshot::Version { number, manifest }) => {
                Ok(Arc::new(env.lance().open(lance, number, manifest).await?))
            }
            (other, snapshot) => Err(no_such(other, Some(snapshot))),
        }
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
