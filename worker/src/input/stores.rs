//! Object stores by location.

use std::{collections::HashMap, sync::Arc};

use datafusion::{error::Result as DfResult, execution::object_store::ObjectStoreRegistry};
use keyloom_common::{Result, input::Location};
use object_store::{ObjectStore, local::LocalFileSystem};
use url::Url;

#[derive(Debug)]
pub(super) struct ObjectStores;

impl ObjectStores {
    pub(super) fn new(_: HashMap<String, HashMap<String, String>>) -> Self {
        Self
    }

    pub(super) fn get(&self, _: &Location) -> Result<Arc<dyn ObjectStore>> {
        Ok(Arc::new(LocalFileSystem::new()))
    }
}

/// A registry of exactly one store, for a task.
#[derive(Debug)]
pub(super) struct TaskStore(Arc<dyn ObjectStore>);

impl TaskStore {
    pub(super) fn new(store: Arc<dyn ObjectStore>) -> Self {
        Self(store)
    }
}

impl ObjectStoreRegistry for TaskStore {
    fn register_store(&self, _: &Url, _: Arc<dyn ObjectStore>) -> Option<Arc<dyn ObjectStore>> {
        None
    }

    fn get_store(&self, _: &Url) -> DfResult<Arc<dyn ObjectStore>> {
        Ok(Arc::clone(&self.0))
    }
}
