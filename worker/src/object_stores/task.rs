//! The object store of a task.

use std::sync::Arc;

use datafusion::{
    error::{DataFusionError, Result},
    execution::object_store::ObjectStoreRegistry,
};
use keyloom_common::Error;
use object_store::ObjectStore;
use url::Url;

/// A registry of exactly one object store, which stands for every URL: DataFusion's sources look
/// for it by a URL that does not tell profiles apart.
#[derive(Debug)]
pub(crate) struct TaskStore(Arc<dyn ObjectStore>);

impl TaskStore {
    /// The registry of a store that the task's plan was made for.
    pub(crate) fn new(store: Arc<dyn ObjectStore>) -> Self {
        Self(store)
    }
}

impl ObjectStoreRegistry for TaskStore {
    /// Leaves the registry as it is, and gives the store back.
    fn register_store(
        &self,
        _url: &Url,
        store: Arc<dyn ObjectStore>,
    ) -> Option<Arc<dyn ObjectStore>> {
        Some(store)
    }

    fn deregister_store(&self, url: &Url) -> Result<Arc<dyn ObjectStore>> {
        Err(DataFusionError::from(Error::internal(format!("the store of a task stays ({url})"))))
    }

    fn get_store(&self, _url: &Url) -> Result<Arc<dyn ObjectStore>> {
        Ok(Arc::clone(&self.0))
    }
}
