//! What a session has of catalogs, its project's and its cluster's: stores and inputs that are
//! opened when they are first named. The session's own go before them.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use datafusion::datasource::TableProvider;
use keyloom_common::{
    Error, Result,
    described::{ClusterCatalog, is_alias},
    input::InputSpec,
    store::{AttachedStore, StoreSpec},
};

use super::Session;
use crate::store::KvStore;

/// Whose catalogs there are, as messages say it.
const PROJECT: &str = "the project's";
const CLUSTER: &str = "the cluster's";

/// The most names that a message lists.
const MOST_NAMED: usize = 20;

/// Names that mean nothing of a session.
#[derive(Debug, Default)]
pub(crate) struct Unknown {
    /// Where tables stand.
    pub(super) tables: BTreeSet<String>,
    /// Where a call says which store it means.
    pub(super) sources: BTreeSet<String>,
}

impl Unknown {
    /// A table.
    pub(crate) fn table(name: &str) -> Self {
        Self { tables: [name.to_owned()].into(), ..Self::default() }
    }

    /// Those that a cluster's catalog can have.
    fn can_be_lent(&self) -> impl Iterator<Item = &String> {
        self.tables.iter().chain(&self.sources).filter(|name| is_alias(name))
    }
}

impl Session {
    /// The stores and inputs that the cluster offers by name. Statements use them as if they were
    /// attached and registered, unless the session has something of that name itself.
    ///
    /// # Errors
    /// `unavailable` if the coordinator is gone.
    pub async fn cluster_catalog(&self) -> Result<ClusterCatalog> {
        self.link.connection.catalog().await
    }

    /// The store under an alias. One that the session does not have is opened if a catalog has it,
    /// and has its alias from then on.
    ///
    /// # Errors
    /// `not_found` if nobody has such a store; otherwise why it cannot be opened.
    pub async fn find_kv(&self, alias: &str) -> Result<Arc<AttachedStore>> {
        if !self.has_kv(alias) {
            let sources = [alias.to_owned()].into();
            self.lend(&Unknown { sources, ..Unknown::default() }).await?;
        }
        self.get_kv(alias)
    }

    /// Opens what the project's catalog has of these names, or else the cluster's.
    ///
    /// # Errors
    /// Why something cannot be opened; `not_found` if a call means a store that nobody has, while a
    /// catalog has others.
    pub(crate) async fn lend(&self, unknown: &Unknown) -> Result<()> {
        let own = self.catalog().offered();
        self.lend_of(&own, PROJECT, unknown).await?;
        if !unknown.can_be_lent().any(|name| !self.has_table(name)) {
            return Ok(());
        }
        let cluster = self.cluster_catalog().await?;
        self.lend_of(&cluster, CLUSTER, unknown).await?;
        if own.stores.is_empty() && cluster.stores.is_empty() {
            return Ok(());
        }
        let with_names = |error| told(told(error, PROJECT, &own), CLUSTER, &cluster);
        for alias in unknown.sources.iter().filter(|alias| !self.has_kv(alias)) {
            self.get_kv(alias).map(drop).map_err(with_names)?;
        }
        Ok(())
    }

    /// Opens what a catalog has of names that are unknown still.
    async fn lend_of(
        &self,
        catalog: &ClusterCatalog,
        whose: &str,
        unknown: &Unknown,
    ) -> Result<()> {
        for name in unknown.tables.iter().filter(|name| !self.has_table(name)) {
            match (catalog.inputs.get(name), catalog.stores.get(name)) {
                (Some(input), _) => self.lend_input(name, input.clone(), whose).await?,
                (None, Some(store)) => self.lend_store(name, store.clone(), whose).await?,
                (None, None) => {}
            }
        }
        for alias in unknown.sources.iter().filter(|alias| !self.has_kv(alias)) {
            if let Some(store) = catalog.stores.get(alias) {
                self.lend_store(alias, store.clone(), whose).await?;
            }
        }
        Ok(())
    }

    async fn lend_store(&self, alias: &str, spec: StoreSpec, whose: &str) -> Result<()> {
        let opened = self.open(alias, KvStore { spec, contents: None }).await;
        let store = opened
            .map_err(|error| error.context(format_args!("store '{alias}' of {whose} catalog")))?;
        self.catalog().lend(store);
        Ok(())
    }

    async fn lend_input(&self, name: &str, spec: InputSpec, whose: &str) -> Result<()> {
        let piece_bytes = self.link.settings.task_bytes.max(1);
        let opened = self.described_table(InputSpec { piece_bytes, ..spec }).await;
        let table = opened
            .map_err(|error| error.context(format_args!("input '{name}' of {whose} catalog")))?;
        self.catalog().lend_input(name, table);
        Ok(())
    }

    /// Whether a table is called so that is registered nowhere.
    pub(super) fn has_table(&self, name: &str) -> bool {
        self.catalog().has_table(name)
    }

    /// The inputs of catalogs that were opened.
    pub(crate) fn lent_inputs(&self) -> BTreeMap<String, Arc<dyn TableProvider>> {
        self.catalog().inputs()
    }
}

/// Why there is no such store, with those that a catalog has.
fn told(error: Error, whose: &str, catalog: &ClusterCatalog) -> Error {
    let count = catalog.stores.len();
    if count == 0 {
        return error;
    }
    let names = catalog.stores.keys().take(MOST_NAMED).map(|alias| format!("'{alias}'"));
    let names = names.collect::<Vec<_>>().join(", ");
    let others = match count.saturating_sub(MOST_NAMED) {
        0 => String::new(),
        others => format!(" and {others} others"),
    };
    let message = format!("{}; {whose} catalog has {names}{others}", error.message());
    error.reworded(message)
}

#[cfg(test)]
mod tests {
    use keyloom_common::{ErrorKind, store::LANCE};

    use super::*;

    #[test]
    fn a_store_that_nobody_has_is_told_with_those_that_there_are() {
        let catalog = |names: usize| ClusterCatalog {
            stores: (0..names)
                .map(|n| (format!("s{n:02}"), StoreSpec::new("s", LANCE, "/s.lance")))
                .collect(),
            ..ClusterCatalog::default()
        };
        let message = |names: usize| {
            let error = told(Error::not_found("no such store"), CLUSTER, &catalog(names));
            assert_eq!(error.kind(), ErrorKind::NotFound);
            error.message().to_owned()
        };
        assert_eq!(message(0), "no such store");
        assert_eq!(message(2), "no such store; the cluster's catalog has 's00', 's01'");
        assert!(message(22).ends_with("'s18', 's19' and 2 others"), "{}", message(22));
    }
}
