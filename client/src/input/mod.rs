//! Inputs: files that workers read, in-memory tables that travel beside the plan, and the attached
//! stores as tables.

mod file_table;
mod frame_table;
mod listed;
mod new_files;
mod partitions;
mod store_table;

use std::{collections::BTreeMap, sync::Arc};

use arrow::array::RecordBatch;
use datafusion::{
    common::tree_node::TreeNodeRecursion,
    dataframe::DataFrame,
    datasource::{TableProvider, provider_as_source, source_as_provider},
    logical_expr::{LogicalPlan, LogicalPlanBuilder},
};
use keyloom_common::{
    Error, Result,
    error::redact,
    input::{FilesOfInput, InputSpec},
    store::AttachedStore,
};

use crate::session::{Session, Unknown};
use file_table::FileTable;
use frame_table::FrameTable;
pub use keyloom_common::described::{Columns, Input};
pub use listed::listed_with;
pub use new_files::FileMark;
use store_table::StoreTable;
pub(crate) use store_table::TablesOfStores;

impl Session {
    /// Reads Parquet, CSV, JSON or Arrow IPC, a file, a folder or a glob, or a Lance dataset. A
    /// path says all if the names' endings tell the format; [`Input`] has the options. Rows come in
    /// the order of the files' names.
    ///
    /// Each query over the table reads the files that there are when it is submitted.
    ///
    /// # Errors
    /// `not_found` if there is no such file; `invalid` if the format cannot be told, or if the
    /// files cannot be read as the options say.
    pub async fn read(&self, input: impl Into<Input>) -> Result<DataFrame> {
        let table = self.file_table(&input.into()).await?;
        Ok(self.context().read_table(table)?)
    }

    /// Gives an input a name for SQL.
    ///
    /// # Errors
    /// As [`Self::read`]; `invalid` if the name is taken.
    pub async fn register(&self, name: &str, input: impl Into<Input>) -> Result<()> {
        let table = self.file_table(&input.into()).await?;
        self.register_table(name, table)
    }

    /// An in-memory table of batches with one schema.
    ///
    /// # Errors
    /// `invalid` if the batches differ in schema or there is none.
    pub fn from_batches(&self, batches: &[RecordBatch]) -> Result<DataFrame> {
        Ok(self.context().read_table(self.frame_table(batches)?)?)
    }

    /// Gives an in-memory table a name for SQL.
    ///
    /// # Errors
    /// As [`Self::from_batches`]; `invalid` if the name is taken.
    pub fn register_batches(&self, name: &str, batches: &[RecordBatch]) -> Result<()> {
        self.register_table(name, self.frame_table(batches)?)
    }

    /// The table under a name, or the store under an alias, if no table is called so, or else what
    /// the cluster's catalog calls so.
    ///
    /// # Errors
    /// `invalid` if nothing is registered under it; otherwise why it cannot be opened.
    pub async fn table(&self, name: &str) -> Result<DataFrame> {
        let reference = table_reference(name);
        if !self.context().table_exist(reference.clone())? {
            self.lend(&Unknown::table(name)).await?;
        }
        if !self.context().table_exist(reference.clone())?
            && let Some(table) = self.tables_by_name().remove(name)
        {
            let source = provider_as_source(table);
            let scan = LogicalPlanBuilder::scan(reference, source, None)?.build()?;
            return Ok(DataFrame::new(self.context().state(), scan));
        }
        Ok(self.context().table(reference).await?)
    }

    /// What can be named beside registered tables: the attached stores by their aliases, and what
    /// was opened of the cluster's inputs.
    pub(crate) fn tables_by_name(&self) -> BTreeMap<String, Arc<dyn TableProvider>> {
        let mut tables = self.store_tables();
        tables.extend(self.lent_inputs());
        tables
    }

    fn store_tables(&self) -> BTreeMap<String, Arc<dyn TableProvider>> {
        let table = |store: Arc<AttachedStore>| {
            let table = StoreTable::new(Arc::clone(&store), Arc::clone(self.link()));
            (store.alias.clone(), Arc::new(table) as Arc<dyn TableProvider>)
        };
        self.stores().into_iter().map(table).collect()
    }

    fn register_table(&self, name: &str, table: Arc<dyn TableProvider>) -> Result<()> {
        let reference = table_reference(name);
        if self.context().table_exist(reference.clone())? {
            return Err(Error::invalid(format!("a table '{name}' is already registered")));
        }
        self.context().register_table(reference, table)?;
        Ok(())
    }

    /// The files of an input as a table.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub(crate) async fn file_table(&self, input: &Input) -> Result<Arc<dyn TableProvider>> {
        let context = |error: Error| error.context(format!("input {}", redact(&input.path)));
        let spec = input.spec(self.link().settings.task_bytes).map_err(context)?;
        self.described_table(spec).await
    }

    /// The files of an input that is described as workers know it, as a table.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub(crate) async fn described_table(&self, spec: InputSpec) -> Result<Arc<dyn TableProvider>> {
        Ok(Arc::new(FileTable::open(spec, self.link()).await?))
    }

    fn frame_table(&self, batches: &[RecordBatch]) -> Result<Arc<dyn TableProvider>> {
        Ok(FrameTable::try_new(batches, self.link())?)
    }
}

/// The inputs whose files a query reads, each as it was named.
pub fn read_inputs(query: &LogicalPlan) -> Vec<FilesOfInput> {
    let mut inputs = Vec::new();
    let walked = query.apply_with_subqueries(|node| {
        if let LogicalPlan::TableScan(scan) = node
            && let Ok(table) = source_as_provider(&scan.source)
            && let Some(table) = table.downcast_ref::<FileTable>()
        {
            inputs.extend(table.asked());
        }
        Ok(TreeNodeRecursion::Continue)
    });
    // The closure cannot fail.
    walked.map_or_else(|_| Vec::new(), |_| inputs)
}

/// A name as it is written: SQL finds it quoted, or unquoted if it is in lower case.
fn table_reference(name: &str) -> datafusion::sql::TableReference {
    datafusion::sql::TableReference::bare(name)
}
