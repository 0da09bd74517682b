//! The aliases of a session and which of them is current.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use datafusion::datasource::TableProvider;
use keyloom_common::{
    Error, ErrorCode, Result,
    described::{ClusterCatalog, check_alias},
    store::AttachedStore,
};

#[derive(Debug, Default)]
pub(super) struct Catalog {
    stores: BTreeMap<String, Arc<AttachedStore>>,
    /// The aliases of those that a catalog lent. They give way to the session's own.
    lent: BTreeSet<String>,
    /// The inputs that a catalog lent, as tables.
    inputs: BTreeMap<String, Arc<dyn TableProvider>>,
    /// The project's catalog, which goes before the cluster's.
    offered: Arc<ClusterCatalog>,
    current: Option<String>,
}

impl Catalog {
    pub(super) fn check_free(&self, alias: &str) -> Result<()> {
        check_alias(alias)?;
        if self.has_own(alias) {
            return Err(Error::invalid(format!(
                "KV store '{alias}' is already attached; detach it first, or attach this one as its replacement"
            )));
        }
        Ok(())
    }

    pub(super) fn attach(&mut self, store: Arc<AttachedStore>) -> Result<()> {
        self.check_free(&store.alias)?;
        self.replace(store);
        Ok(())
    }

    pub(super) fn replace(&mut self, store: Arc<AttachedStore>) {
        self.lent.remove(&store.alias);
        self.inputs.remove(&store.alias);
        self.stores.insert(store.alias.clone(), store);
    }

    /// Takes a store of a catalog, unless the session has one of its own by then.
    pub(super) fn lend(&mut self, store: Arc<AttachedStore>) {
        if !self.has_own(&store.alias) {
            self.lent.insert(store.alias.clone());
            self.stores.insert(store.alias.clone(), store);
        }
    }

    /// Takes an input of a catalog, unless the session has a store of that name.
    pub(super) fn lend_input(&mut self, name: &str, table: Arc<dyn TableProvider>) {
        if !self.has_own(name) {
            self.inputs.insert(name.to_owned(), table);
        }
    }

    fn has_own(&self, alias: &str) -> bool {
        self.stores.contains_key(alias) && !self.lent.contains(alias)
    }

    /// Whether a table is called so, of those that are registered nowhere.
    pub(super) fn has_table(&self, name: &str) -> bool {
        self.stores.contains_key(name) || self.inputs.contains_key(name)
    }

    pub(super) fn offer(&mut self, catalog: ClusterCatalog) {
        self.offered = Arc::new(catalog);
    }

    pub(super) fn offered(&self) -> Arc<ClusterCatalog> {
        Arc::clone(&self.offered)
    }

    pub(super) fn inputs(&self) -> BTreeMap<String, Arc<dyn TableProvider>> {
        self.inputs.clone()
    }

    pub(super) fn detach(&mut self, alias: &str) -> Result<()> {
        self.get(alias)?;
        self.stores.remove(alias);
        self.lent.remove(alias);
        if self.current.as_deref() == Some(alias) {
            self.current = None;
        }
        Ok(())
    }

    pub(super) fn set_current(&mut self, alias: Option<&str>) -> Result<()> {
        if let Some(alias) = alias {
            self.get(alias)?;
        }
        self.current = alias.map(ToOwned::to_owned);
        Ok(())
    }

    pub(super) fn current(&self) -> Option<&Arc<AttachedStore>> {
        self.stores.get(self.current.as_deref()?)
    }

    pub(super) fn get(&self, alias: &str) -> Result<&Arc<AttachedStore>> {
        self.stores.get(alias).ok_or_else(|| {
            let attached: Vec<_> = self.stores.keys().map(|alias| format!("'{alias}'")).collect();
            let choices = match attached.as_slice() {
                [] => "no store is attached".to_owned(),
                attached => format!("attached: {}", attached.join(", ")),
            };
            Error::not_found(format!("KV store '{alias}' not found in session ({choices})"))
                .with_code(ErrorCode::StoreNotAttached)
        })
    }

    pub(super) fn stores(&self) -> Vec<Arc<AttachedStore>> {
        self.stores.values().cloned().collect()
    }

    pub(super) fn aliases(&self) -> Vec<String> {
        self.stores.keys().cloned().collect()
    }
}
