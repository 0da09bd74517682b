//! Tables that have their names in one statement alone, beside those that are registered.

use std::{collections::BTreeMap, sync::Arc};

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
use keyloom_common::Error;

/// A session's state in which names mean tables, too.
///
/// # Errors
/// `invalid` if a name stands there twice.
pub(super) fn with_tables(
    state: SessionState,
    tables: Vec<(String, DataFrame)>,
) -> Result<SessionState> {
    if tables.is_empty() {
        return Ok(state);
    }
    let mut views = BTreeMap::new();
    for (name, table) in tables {
        if views.insert(name.clone(), table.into_view()).is_some() {
            return Err(Error::invalid(format!("two tables are called '{name}'")).into());
        }
    }
    let catalogs = with_views(&state, views)?;
    Ok(SessionStateBuilder::new_from_existing(state).with_catalog_list(catalogs).build())
}

/// All catalogs of a session, with views in its default schema.
fn with_views(
    state: &SessionState,
    views: BTreeMap<String, Arc<dyn TableProvider>>,
) -> Result<Arc<dyn CatalogProviderList>> {
    let options = &state.config_options().catalog;
    let (catalog, schema) = (&options.default_catalog, &options.default_schema);
    let all = MemoryCatalogProviderList::new();
    for name in state.catalog_list().catalog_names() {
        if let Some(other) = state.catalog_list().catalog(&name) {
            all.register_catalog(name, other);
        }
    }
    let registered = all.catalog(catalog);
    let schemas = MemoryCatalogProvider::new();
    for name in registered.iter().flat_map(|catalog| catalog.schema_names()) {
        if let Some(other) = registered.as_ref().and_then(|catalog| catalog.schema(&name)) {
            schemas.register_schema(&name, other)?;
        }
    }
    let registered = schemas.schema(schema);
    schemas.register_schema(schema, Arc::new(Named { views, registered }))?;
    all.register_catalog(catalog.clone(), Arc::new(schemas));
    Ok(Arc::new(all))
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
