//! Tables that have their names in one statement alone, and stores, beside the tables that are
//! registered.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use async_trait::async_trait;
use datafusion::{
    catalog::{
        CatalogProvider, CatalogProviderList, MemoryCatalogProvider, MemoryCatalogProviderList,
        SchemaProvider, TableProvider,
    },
    common::tree_node::TreeNode,
    dataframe::DataFrame,
    error::Result,
    execution::{SessionStateBuilder, context::SessionState},
    logical_expr::LogicalPlan,
};
use keyloom_common::Error;

/// Tables by name.
pub(super) type Tables = BTreeMap<String, Arc<dyn TableProvider>>;

/// A session's state in which names mean tables, too, and aliases those of stores, unless a table
/// is called so.
///
/// # Errors
/// `invalid` if a name stands there twice.
pub(super) fn with_tables(
    state: SessionState,
    tables: Vec<(String, DataFrame)>,
    stores: Tables,
) -> Result<SessionState> {
    if tables.is_empty() && stores.is_empty() {
        return Ok(state);
    }
    let mut views = Tables::new();
    for (name, table) in tables {
        if views.insert(name.clone(), in_order(table)?.into_view()).is_some() {
            return Err(Error::invalid(format!("two tables are called '{name}'")).into());
        }
    }
    let catalogs = with_views(&state, views, stores)?;
    Ok(SessionStateBuilder::new_from_existing(state).with_catalog_list(catalogs).build())
}

/// The table with its rows in their order: of what a statement reads, DataFusion drops all sorts
/// that are not below a limit.
fn in_order(table: DataFrame) -> Result<DataFrame> {
    let sorts = table.logical_plan().exists(|node| Ok(matches!(node, LogicalPlan::Sort(_))))?;
    // One that takes nothing away, and goes when the statement is optimized.
    if sorts { table.limit(0, None) } else { Ok(table) }
}

/// All catalogs of a session, with views and stores in its default schema.
fn with_views(
    state: &SessionState,
    views: Tables,
    stores: Tables,
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
    schemas.register_schema(schema, Arc::new(Named { views, registered, stores }))?;
    all.register_catalog(catalog.clone(), Arc::new(schemas));
    Ok(Arc::new(all))
}

/// Tables of one statement before those of the session, and these before its stores.
#[derive(Debug)]
struct Named {
    views: Tables,
    registered: Option<Arc<dyn SchemaProvider>>,
    stores: Tables,
}

#[async_trait]
impl SchemaProvider for Named {
    fn table_names(&self) -> Vec<String> {
        let registered = self.registered.as_ref().map(|tables| tables.table_names());
        let named = self.views.keys().cloned().chain(registered.unwrap_or_default());
        // A name that stands twice is listed once.
        let names: BTreeSet<_> = named.chain(self.stores.keys().cloned()).collect();
        names.into_iter().collect()
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        if let Some(view) = self.views.get(name) {
            return Ok(Some(Arc::clone(view)));
        }
        if let Some(registered) = &self.registered
            && let Some(table) = registered.table(name).await?
        {
            return Ok(Some(table));
        }
        Ok(self.stores.get(name).cloned())
    }

    fn table_exist(&self, name: &str) -> bool {
        let registered = self.registered.as_ref();
        self.views.contains_key(name)
            || registered.is_some_and(|tables| tables.table_exist(name))
            || self.stores.contains_key(name)
    }
}
