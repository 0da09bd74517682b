//! Where stores are read from: the data's folder, or a server in front of it.

use std::collections::HashMap;

use anyhow::{Context, Result};
use keyloom_client::{EmbeddedSettings, KvStore, LanceOptions, load_kv};

use crate::data::{Data, stores::KEY};

/// The name of the storage profile.
const PROFILE: &str = "bench";
/// The bucket that the server shows the data's folder as.
pub(crate) const BUCKET: &str = "bench";

/// A place that holds the stores.
#[derive(Clone, Debug)]
pub(crate) struct Storage {
    data: Data,
    /// The address of a server that speaks S3.
    endpoint: Option<String>,
}

impl Storage {
    pub(crate) fn new(data: Data, endpoint: Option<String>) -> Self {
        Self { data, endpoint }
    }

    /// The address of a store.
    pub(crate) fn uri(&self, store: &str) -> Result<String> {
        match &self.endpoint {
            Some(_) => Ok(format!("s3://{BUCKET}/{store}.lance")),
            None => {
                let path = self.data.store(store);
                Ok(path.to_str().context("the path of the data is not UTF-8")?.to_owned())
            }
        }
    }

    /// What opening a store takes beside its address.
    pub(crate) fn options(&self) -> HashMap<String, String> {
        let Some(endpoint) = &self.endpoint else { return HashMap::new() };
        let options = [
            ("aws_endpoint", endpoint.as_str()),
            ("aws_region", "us-east-1"),
            ("aws_access_key_id", "bench"),
            ("aws_secret_access_key", "bench"),
            ("aws_virtual_hosted_style_request", "false"),
            ("allow_http", "true"),
        ];
        options.map(|(name, value)| (name.to_owned(), value.to_owned())).into()
    }

    /// A store as Keyloom attaches it.
    pub(crate) fn kv_store(&self, store: &str) -> Result<KvStore> {
        let mut options = LanceOptions::new(self.uri(store)?).key(KEY);
        if self.endpoint.is_some() {
            options = options.storage_options(PROFILE);
        }
        Ok(load_kv(store, options)?)
    }

    /// Settings under which an embedded session finds the stores.
    pub(crate) fn settings(&self) -> EmbeddedSettings {
        let mut settings = EmbeddedSettings::default();
        if self.endpoint.is_some() {
            let profiles = &mut settings.worker.store.storage_profiles;
            profiles.insert(PROFILE.to_owned(), self.options().into());
        }
        settings
    }

    /// How many reads of raw calls are under way at once: as many as keep the cores busy, or wait
    /// for the server.
    pub(crate) fn in_flight(&self) -> usize {
        let cores = std::thread::available_parallelism().map_or(1, Into::into);
        if self.endpoint.is_some() { 32 } else { 2 * cores }
    }
}
