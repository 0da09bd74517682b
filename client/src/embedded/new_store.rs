//! Lance stores made of a query's rows. The rows are computed where the session's jobs run; the
//! dataset is written by this process, which is why this is a matter of the room that has Lance.

use std::sync::Arc;

use datafusion::{
    dataframe::DataFrame, error::DataFusionError, execution::SendableRecordBatchStream,
    physical_plan::stream::RecordBatchStreamAdapter,
};
use futures::TryStreamExt;
use keyloom_common::{Result, described::absolute};
use keyloom_worker::store::{NewDataset, WrittenDataset};

use super::EmbeddedSettings;
use crate::session::Session;

/// A Lance store to be made.
#[derive(Clone, Debug)]
pub struct NewStore(NewDataset);

impl NewStore {
    /// A store at a path or a URI, by a column or several.
    ///
    /// # Errors
    /// `invalid` if the path is empty or the URI holds credentials.
    pub fn new(uri: &str, key: Vec<String>) -> Result<Self> {
        Ok(Self(NewDataset { uri: absolute(uri)?, key, ..NewDataset::default() }))
    }

    /// Declares the key the dataset's primary key, so that nobody need name it: each row has one,
    /// and no two rows the same.
    #[must_use]
    pub fn declare_key(mut self, declare: bool) -> Self {
        self.0.declares_key = declare;
        self
    }

    /// Gives the key a BTree index.
    #[must_use]
    pub fn index(mut self, index: bool) -> Self {
        self.0.index = index;
        self
    }

    /// Replaces a dataset that is there, by a new version of it.
    #[must_use]
    pub fn overwrite(mut self, overwrite: bool) -> Self {
        self.0.overwrite = overwrite;
        self
    }

    /// Writes with this profile of the workers' settings.
    #[must_use]
    pub fn storage_options(mut self, profile: Option<String>) -> Self {
        self.0.storage_profile = profile;
        self
    }

    /// Where it is to be.
    pub fn uri(&self) -> &str {
        &self.0.uri
    }

    /// Whether there is a dataset in its place.
    ///
    /// # Errors
    /// `invalid` if the storage profile is unknown, `store` if its storage cannot be asked.
    pub async fn is_there(&self, settings: &EmbeddedSettings) -> Result<bool> {
        self.0.is_there(&settings.worker.store).await
    }

    /// Looks whether it can be made of a query's rows, before any is read.
    ///
    /// # Errors
    /// `invalid` if it has no such key, or if something is there that may not be replaced.
    pub async fn check(&self, query: &DataFrame, settings: &EmbeddedSettings) -> Result<()> {
        let schema = Arc::clone(query.schema().inner());
        self.0.check(&schema, &settings.worker.store).await
    }

    /// Writes a query's rows: how many there are, and the version that holds them. The store
    /// appears whole or not at all.
    ///
    /// # Errors
    /// As [`Self::check`]; why the query failed; `store` if it cannot be written.
    pub async fn write(
        &self,
        session: &Session,
        query: DataFrame,
        settings: &EmbeddedSettings,
    ) -> Result<(u64, u64)> {
        let job = session.submit(query).await?;
        let schema = Arc::clone(job.schema());
        let rows = job.into_stream().map_err(DataFusionError::from);
        let rows: SendableRecordBatchStream = Box::pin(RecordBatchStreamAdapter::new(schema, rows));
        let written = self.0.write(rows, &settings.worker.store).await?;
        let WrittenDataset { version, rows } = written;
        Ok((rows, version))
    }
}
