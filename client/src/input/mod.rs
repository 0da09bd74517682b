//! Inputs: files that workers read, and in-memory tables that travel beside the plan.

mod file_table;
mod frame_table;

use std::sync::Arc;

use arrow::array::RecordBatch;
use datafusion::{dataframe::DataFrame, datasource::TableProvider};
use keyloom_common::{
    Error, Result,
    input::{Format, InputSpec},
};

use crate::{session::Session, store::absolute};
use file_table::FileTable;
use frame_table::FrameTable;

impl Session {
    /// Reads Parquet, CSV, newline-delimited JSON or Arrow IPC: a file, a folder or a glob. The
    /// format is told by the names' endings. Rows come in the order of the files' names.
    ///
    /// # Errors
    /// `not_found` if there is no such file; `invalid` if the format cannot be told.
    pub async fn read(&self, path: &str) -> Result<DataFrame> {
        let table = self.file_table(path, None).await?;
        Ok(self.context().read_table(table)?)
    }

    /// Reads files of the given format.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub async fn read_as(&self, path: &str, format: Format) -> Result<DataFrame> {
        let table = self.file_table(path, Some(format)).await?;
        Ok(self.context().read_table(table)?)
    }

    /// Gives files a name for SQL.
    ///
    /// # Errors
    /// As [`Self::read`]; `invalid` if the name is taken.
    pub async fn register(
        &self,
        name: &str,
        path: &str,
        format: impl Into<Option<Format>>,
    ) -> Result<()> {
        let table = self.file_table(path, format.into()).await?;
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

    /// The table under a name.
    ///
    /// # Errors
    /// `invalid` if nothing is registered under it.
    pub async fn table(&self, name: &str) -> Result<DataFrame> {
        Ok(self.context().table(table_reference(name)).await?)
    }

    fn register_table(&self, name: &str, table: Arc<dyn TableProvider>) -> Result<()> {
        let reference = table_reference(name);
        if self.context().table_exist(reference.clone())? {
            return Err(Error::invalid(format!("a table '{name}' is already registered")));
        }
        self.context().register_table(reference, table)?;
        Ok(())
    }

    async fn file_table(
        &self,
        path: &str,
        format: Option<Format>,
    ) -> Result<Arc<dyn TableProvider>> {
        let spec = InputSpec { path: absolute(path)?, format };
        let description = self.link().connection.describe_input(spec).await?;
        Ok(Arc::new(FileTable::new(description, self.link().settings.clone())))
    }

    fn frame_table(&self, batches: &[RecordBatch]) -> Result<Arc<dyn TableProvider>> {
        Ok(FrameTable::try_new(batches, self.link())?)
    }
}

/// A name as it is written: SQL finds it quoted, or unquoted if it is in lower case.
fn table_reference(name: &str) -> datafusion::sql::TableReference {
    datafusion::sql::TableReference::bare(name)
}
