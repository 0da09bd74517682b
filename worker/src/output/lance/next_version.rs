//! Commits of the very next version of a dataset, or of none.
//!
//! Lance puts a transaction behind whatever others have committed meanwhile. Among that may be the
//! same job's own commit, for which another worker was asked before, or rows with the keys of those
//! that are merged. So whoever is late has to look at the dataset again first.

use std::sync::Arc;

use async_trait::async_trait;
use keyloom_common::Result;
use lance::{Dataset, dataset::CommitBuilder};
use lance_io::object_store::ObjectStore;
use lance_object_store::path::Path;
use lance_table::{
    format::{IndexMetadata, Manifest, Transaction},
    io::commit::{
        CommitError, CommitHandler, ManifestLocation, ManifestNamingScheme, ManifestWriter,
        commit_handler_from_url,
    },
};

use crate::store::lance::{Target, from_lance};

/// What commits the version behind this one, or nothing.
///
/// # Errors
/// `invalid` if the dataset's storage cannot be committed to.
pub(super) async fn next_of(
    target: &Target,
    dataset: &Arc<Dataset>,
) -> Result<CommitBuilder<'static>> {
    let (uri, params) = (target.uri().to_owned(), Some(target.params().clone()));
    let handler = target.run("committing to", async move {
        commit_handler_from_url(&uri, &params).await.map_err(from_lance)
    });
    let only = Only { inner: handler.await?, version: dataset.version_id() + 1 };
    let builder = CommitBuilder::new(Arc::clone(dataset));
    Ok(builder.with_commit_handler(Arc::new(only)).with_max_retries(1))
}

/// Commits one version, and refuses others.
#[derive(Debug)]
struct Only {
    inner: Arc<dyn CommitHandler>,
    version: u64,
}

#[async_trait]
impl CommitHandler for Only {
    fn is_version_not_found_definitive(&self) -> bool {
        self.inner.is_version_not_found_definitive()
    }

    fn propagate_commit_error_after_success(&self) -> bool {
        self.inner.propagate_commit_error_after_success()
    }

    async fn commit(
        &self,
        manifest: &mut Manifest,
        indices: Option<Vec<IndexMetadata>>,
        base_path: &Path,
        object_store: &ObjectStore,
        manifest_writer: ManifestWriter,
        naming_scheme: ManifestNamingScheme,
        transaction: Option<Transaction>,
    ) -> Result<ManifestLocation, CommitError> {
        if manifest.version != self.version {
            return Err(CommitError::CommitConflict);
        }
        let committed = self.inner.commit(
            manifest,
            indices,
            base_path,
            object_store,
            manifest_writer,
            naming_scheme,
            transaction,
        );
        committed.await
    }
}
