//! Object stores of input files: local files, and S3 buckets with the credentials of this worker's
//! environment.

use std::sync::Arc;

use datafusion::{
    error::{DataFusionError, Result},
    execution::object_store::{DefaultObjectStoreRegistry, ObjectStoreRegistry},
};
use keyloom_common::Error;
use object_store::{ObjectStore, aws::AmazonS3Builder};
use url::Url;

/// Opens an object store when it is first named.
#[derive(Debug, Default)]
pub(super) struct InputStores {
    known: DefaultObjectStoreRegistry,
}

impl ObjectStoreRegistry for InputStores {
    fn register_store(
        &self,
        url: &Url,
        store: Arc<dyn ObjectStore>,
    ) -> Option<Arc<dyn ObjectStore>> {
        self.known.register_store(url, store)
    }

    fn get_store(&self, url: &Url) -> Result<Arc<dyn ObjectStore>> {
        if let Ok(known) = self.known.get_store(url) {
            return Ok(known);
        }
        let bucket = match (url.scheme(), url.host_str()) {
            ("s3" | "s3a", Some(bucket)) => bucket,
            (scheme, _) => {
                return Err(Error::invalid(format!(
                    "inputs are read from local paths, file:// and s3://, not {scheme}://"
                ))
                .into());
            }
        };
        let store = AmazonS3Builder::from_env()
            .with_bucket_name(bucket)
            .build()
            .map_err(|error| DataFusionError::ObjectStore(Box::new(error)))?;
        let store: Arc<dyn ObjectStore> = Arc::new(store);
        self.known.register_store(url, Arc::clone(&store));
        Ok(store)
    }
}
