//! Tables that have their names in one statement alone, beside those that are registered.

use std::sync::Arc;

use async_trait::async_trait;
use datafusion::{
    catalog::{
        CatalogProvider, CatalogProviderList, MemoryCatalogProvider, MemoryCatalogProviderList,
        SchemaProvider, TableProvider,
    },
    dataframe::DataFrame,
    error::Result,
    execution::{SessionStateBuilder, context::SessionState},
};
use std::collections::BTreeMap;

/// A session's state in which names mean tables, too.
pub(super) fn with_tables(
    state: SessionState,
    tables: Vec<(String, DataFrame)>,
) -> Result<SessionState> {
    if tables.is_empty() {
        return Ok(state);
    }
    let options = &state.config_options().catalog;
    let (catalog, schema) = (options.default_catalog.clone(), options.default_schema.clone());
    let registered =
        state.catalog_list().catalog(&catalog).and_then(|catalog| catalog.schema(&schema));
    let views = tables.into_iter().map(|(name, table)| (name, table.into_view())).collect();
    let schemas = MemoryCatalogProvider::new();
    schemas.register_schema(&schema, Arc::new(Named { views, registered }))?;
    let catalogs = MemoryCatalogProviderList::new();
    catalogs.register_catalog(catalog, Arc::new(schemas));
    Ok(SessionStateBuilder::new_from_existing(state).with_catalog_list(Arc::new(catalogs)).build())
}

/// Tables of one statement before those of the session.
#[derive(Debug)]
struct Named {
    views: BTreeMap<String, Arc<dyn TableProvider>>,
    registered: Option<Arc<dyn SchemaProvider>>,
}

#[async_trait]
impl SchemaProvider for Named {
    fn table_names(&self) -> Vec<String> {
        let registered = self.registered.as_ref().map(|tables| tables.table_names());
        self.views.keys().cloned().chain(registered.unwrap_or_default()).collect()
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        match (self.views.get(name), &self.registered) {
            (Some(view), _) => Ok(Some(Arc::clone(view))),
            (None, Some(registered)) => registered.table(name).await,
            (None, None) => Ok(None),
        }
    }

    fn table_exist(&self, name: &str) -> bool {
        let registered = self.registered.as_ref();
        self.views.contains_key(name) || registered.is_some_and(|tables| tables.table_exist(name))
    }
}
