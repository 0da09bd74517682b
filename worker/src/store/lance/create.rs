//! Makes datasets: the one room that writes, and only what is not there yet or is to be replaced.
//!
//! A new local dataset is written beside its place and renamed when it is whole, its index with it.
//! What replaces a dataset is a new version of it, which Lance commits as a whole: jobs that read
//! the old one go on.

pub(super) mod columns;
mod partial;

use std::{
    fs,
    path::{Path, PathBuf},
};

use arrow::datatypes::SchemaRef;
use datafusion::execution::SendableRecordBatchStream;
use keyloom_common::{Error, ErrorKind, Result, error::redact};
use lance::{
    Dataset,
    dataset::{InsertBuilder, WriteMode, WriteParams, builder::DatasetBuilder},
    index::DatasetIndexExt,
};
use lance_index::{IndexType, scalar::ScalarIndexParams};

use self::{columns::Columns, partial::Partial};
use super::{
    error::{Scrub, from_lance},
    files::requests::is_local,
    target::store_params,
};
use crate::store::{ReadProfile, StoreSettings};

/// A dataset to be made.
#[derive(Clone, Debug, Default)]
pub struct NewDataset {
    /// Where it is to be: an absolute path, or a URI.
    pub uri: String,
    /// The columns of its key.
    pub key: Vec<String>,
    /// Whether the key is declared the dataset's primary key: no row may have none.
    pub declares_key: bool,
    /// Whether the key gets a BTree index.
    pub index: bool,
    /// Whether a dataset that is there is replaced.
    pub overwrite: bool,
    /// The profile of the storage options, for object stores.
    pub storage_profile: Option<String>,
}

/// A dataset that was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrittenDataset {
    /// Its version.
    pub version: u64,
    /// The number of its rows.
    pub rows: u64,
}

impl NewDataset {
    /// Whether there is a dataset in its place.
    ///
    /// # Errors
    /// `invalid` if the storage profile is unknown, `store` if its storage cannot be asked.
    pub async fn is_there(&self, settings: &StoreSettings) -> Result<bool> {
        Ok(matches!(self.there(settings).await?, There::Dataset))
    }

    /// Looks whether it can be made of rows with these columns, before any row is read.
    ///
    /// # Errors
    /// `invalid` if something is there that may not be replaced, if there is no folder for it, if
    /// it has no such key, or if there is no index on such a key.
    pub async fn check(&self, schema: &SchemaRef, settings: &StoreSettings) -> Result<()> {
        Columns::new(self, schema)?;
        let shown = redact(&self.uri);
        match self.there(settings).await? {
            There::Nothing => Ok(()),
            There::Dataset if self.overwrite => Ok(()),
            There::Dataset => Err(Error::invalid(format!(
                "there is a Lance dataset at {shown}, which is not overwritten unless that is said"
            ))),
            There::Other => Err(Error::invalid(format!(
                "what is at {shown} is no Lance dataset and is not overwritten; choose another \
                 place"
            ))),
            There::NoFolder(folder) => Err(Error::invalid(format!(
                "there is no folder {} for {shown}; make it first",
                folder.display()
            ))),
        }
    }

    /// Writes rows, in their order.
    ///
    /// # Errors
    /// As [`Self::check`]; the error of the rows; `store` if the dataset cannot be written.
    pub async fn write(
        &self,
        rows: SendableRecordBatchStream,
        settings: &StoreSettings,
    ) -> Result<WrittenDataset> {
        self.check(&rows.schema(), settings).await?;
        let options = settings.profile(self.storage_profile.as_deref())?;
        let rows = Columns::new(self, &rows.schema())?.under(rows);
        let scrub = Scrub::new(&self.uri, options.iter().flat_map(ReadProfile::secrets));
        // Lance's futures are nested deeper than the compiler follows.
        let written = Box::pin(self.write_to_place(rows, options)).await;
        written.map_err(|error| {
            let doing = format!("writing the Lance dataset at {}", redact(&self.uri));
            scrub.clean(error).context(doing)
        })
    }

    async fn write_to_place(
        &self,
        rows: SendableRecordBatchStream,
        options: Option<ReadProfile>,
    ) -> Result<WrittenDataset> {
        let Some(place) = self.local().filter(|place| !is_dataset(place)) else {
            return self.write_at(&self.uri, rows, options).await;
        };
        let partial = Partial::beside(&place)?;
        let written = self.write_at(partial.uri()?, rows, options).await?;
        partial.rename(&place)?;
        Ok(written)
    }

    /// Writes the rows and then the index.
    async fn write_at(
        &self,
        uri: &str,
        rows: SendableRecordBatchStream,
        options: Option<ReadProfile>,
    ) -> Result<WrittenDataset> {
        let mode = if self.overwrite { WriteMode::Overwrite } else { WriteMode::Create };
        let store_params = options.map(|profile| store_params(uri, profile)).transpose()?;
        let params = WriteParams { mode, store_params, ..WriteParams::default() };
        let builder = InsertBuilder::new(uri).with_params(&params);
        let mut dataset = Box::pin(builder.execute_stream(rows)).await.map_err(from_lance)?;
        let rows = dataset.count_rows(None).await.map_err(from_lance)? as u64;
        if self.index && rows > 0 {
            let params = ScalarIndexParams::default();
            let key: Vec<_> = self.key.iter().map(String::as_str).collect();
            let making = dataset.create_index(&key, IndexType::BTree, None, &params, true);
            making.await.map_err(from_lance)?;
        }
        Ok(WrittenDataset { version: dataset.version_id(), rows })
    }

    /// Its path, if it is of this machine.
    fn local(&self) -> Option<PathBuf> {
        let path = || self.uri.strip_prefix("file://").unwrap_or(&self.uri).trim_end_matches('/');
        is_local(&self.uri).then(|| PathBuf::from(path()))
    }

    async fn there(&self, settings: &StoreSettings) -> Result<There> {
        let Some(place) = self.local() else {
            return self.there_remotely(settings).await;
        };
        if is_dataset(&place) {
            return Ok(There::Dataset);
        }
        // A link to one would not be replaced.
        let is_empty_folder = !place.is_symlink()
            && fs::read_dir(&place).is_ok_and(|mut files| files.next().is_none());
        if place.symlink_metadata().is_ok() && !is_empty_folder {
            return Ok(There::Other);
        }
        Ok(match place.parent() {
            Some(folder) if !folder.is_dir() => There::NoFolder(folder.to_owned()),
            _ => There::Nothing,
        })
    }

    async fn there_remotely(&self, settings: &StoreSettings) -> Result<There> {
        let profile = settings.profile(self.storage_profile.as_deref())?.unwrap_or_default();
        let scrub = Scrub::new(&self.uri, profile.secrets());
        let builder = DatasetBuilder::from_uri(&self.uri);
        let builder = builder.with_store_params(store_params(&self.uri, profile)?);
        let opened: Result<Dataset> = Box::pin(builder.load()).await.map_err(from_lance);
        match opened {
            Ok(_) => Ok(There::Dataset),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(There::Nothing),
            Err(error) => Err(scrub.clean(error)),
        }
    }
}

/// What is where a dataset is to be.
enum There {
    Nothing,
    Dataset,
    Other,
    /// Nothing, and no folder to hold it.
    NoFolder(PathBuf),
}

/// Whether a folder has the manifests of a dataset.
fn is_dataset(folder: &Path) -> bool {
    fs::read_dir(folder.join("_versions")).is_ok_and(|mut versions| versions.next().is_some())
}

#[cfg(test)]
mod tests;
