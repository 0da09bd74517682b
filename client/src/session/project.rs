//! The catalog of a project: stores and inputs that a session knows by name, and opens when a
//! statement first names them.

use std::collections::BTreeMap;

use arrow::array::RecordBatch;
use keyloom_common::{
    Result,
    described::{ClusterCatalog, Input, KeyNames, Store, check_alias},
};

use super::Session;
use crate::store::{MemoryOptions, load_kv};

impl Session {
    /// Lets statements use inputs and stores by these names, as those of the cluster's catalog and
    /// before these. The session's own go before. They are opened when they are first named, but
    /// for memory stores, whose rows are read now. What was named so before is forgotten.
    ///
    /// # Errors
    /// `invalid` if something is described by what it cannot have; otherwise why the rows of a
    /// memory store cannot be read.
    pub async fn use_catalog(
        &self,
        inputs: BTreeMap<String, Input>,
        stores: BTreeMap<String, Store>,
    ) -> Result<()> {
        let mut catalog = ClusterCatalog::default();
        for (name, input) in inputs {
            let spec = input.spec(self.link.settings.task_bytes);
            let spec = spec.map_err(|error| error.context(format_args!("input '{name}'")))?;
            catalog.inputs.insert(name, spec);
        }
        for (alias, store) in stores {
            check_alias(&alias)?;
            let store = match store {
                Store::Lance(options) => load_kv(alias.as_str(), options)?,
                Store::Other(options) => load_kv(alias.as_str(), options)?,
                Store::Memory { input, key } => {
                    let attached = self.attach_rows(&alias, input, key).await;
                    attached.map_err(|error| error.context(format_args!("store '{alias}'")))?;
                    continue;
                }
            };
            catalog.stores.insert(alias, store.spec);
        }
        self.catalog().offer(catalog);
        Ok(())
    }

    /// Attaches the rows of files as a store.
    async fn attach_rows(&self, alias: &str, input: Input, key: KeyNames) -> Result<()> {
        let mut job = self.submit(self.read(input).await?).await?;
        // A store needs a batch, for its columns.
        let mut batches = vec![RecordBatch::new_empty(job.schema().clone())];
        batches.extend(job.collect().await?);
        self.attach(load_kv(alias, MemoryOptions::batches(batches, key))?, alias).await
    }
}
