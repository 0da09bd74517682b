//! The manifest of a job's output: what it wrote, and what it replaces. Once it is there, the job
//! is committed, and whoever finds it may do the rest.

use bytes::Bytes;
use keyloom_common::{Error, JobId, Result, output::Committed};
use object_store::{Error as StoreError, ObjectStoreExt, PutMode, PutOptions};
use serde::{Deserialize, Serialize};

use super::{folder::Folder, present::MANIFESTS};
use crate::object_stores::from_store;

/// What a job wrote. Paths are from the output's folder on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Manifest {
    pub(super) job: String,
    pub(super) format: String,
    pub(super) rows: u64,
    pub(super) bytes: u64,
    /// In the order of their rows.
    pub(super) files: Vec<Entry>,
    /// Files that are removed when all of these are there.
    pub(super) replaces: Vec<String>,
}

/// A file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Entry {
    pub(super) path: String,
    pub(super) rows: u64,
    pub(super) bytes: u64,
}

impl Manifest {
    /// The manifest of a job, if it is there.
    ///
    /// # Errors
    /// `store` if it cannot be read, or is none.
    pub(super) async fn read(folder: &Folder, job: JobId) -> Result<Option<Self>> {
        let name = name(job);
        let bytes = match folder.store().get(&folder.path(&name)?).await {
            Ok(found) => found.bytes().await.map_err(from_store)?,
            Err(StoreError::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(from_store(error)),
        };
        let manifest = serde_json::from_slice(&bytes).map_err(|error| {
            Error::store(format!("{} is no manifest of an output: {error}", folder.shown(&name)))
        })?;
        Ok(Some(manifest))
    }

    /// Commits a job, unless it is committed already: what holds from now on.
    ///
    /// # Errors
    /// If the manifest cannot be written or read.
    pub(super) async fn create(self, folder: &Folder, job: JobId) -> Result<Self> {
        let bytes = serde_json::to_vec_pretty(&self);
        let bytes = Bytes::from(bytes.map_err(|error| Error::internal(error.to_string()))?);
        let path = folder.path(&name(job))?;
        let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        match folder.store().put_opts(&path, bytes.clone().into(), options).await {
            Ok(_) => Ok(self),
            // Another attempt was first, or the answer to this one was lost.
            Err(StoreError::AlreadyExists { .. } | StoreError::Precondition { .. }) => {
                let gone = || Error::store(format!("{path} was there and is gone"));
                Self::read(folder, job).await?.ok_or_else(gone)
            }
            // A store without conditions: nobody but this job's commits writes this name.
            Err(StoreError::NotImplemented { .. } | StoreError::NotSupported { .. }) => {
                folder.store().put(&path, bytes.into()).await.map_err(from_store)?;
                Ok(self)
            }
            Err(error) => Err(from_store(error)),
        }
    }

    /// What it made visible.
    pub(super) fn committed(&self) -> Committed {
        let (rows, bytes, files) = (self.rows, self.bytes, self.files.len() as u64);
        Committed { rows, bytes, files, version: None }
    }
}

/// The manifest's name, from the output's folder on.
pub(super) fn name(job: JobId) -> String {
    format!("{MANIFESTS}/{job}.json")
}
