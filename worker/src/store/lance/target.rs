//! Datasets that jobs write, be they there or not: opened past what is kept for reading, at the
//! versions that the writer names.

use std::{any::Any, fmt, sync::Arc};

use arrow::datatypes::{Field, Schema};
use keyloom_common::{
    Error, Result,
    error::redact,
    store::{LANCE, Snapshot, StoreSpec},
};
use lance::{
    Dataset,
    dataset::builder::DatasetBuilder,
    io::{ObjectStoreParams, StorageOptionsAccessor},
    session::Session,
};
use lance_io::object_store::ObjectStore;
use lance_object_store::path::Path;
use tokio::time::timeout;

use super::{
    cloud::identity,
    error::{Scrub, from_lance},
    files::requests::is_local,
    identity::manifest_id,
    open::{LanceKind, check_bases, is_absent, other_file},
    spec::LanceSpec,
    tasks,
    values::answered,
};
use crate::{
    access::Access,
    store::{Patience, ReadProfile, StoreEnv},
};

/// A place that is written. Clones share their caches, which nobody who reads shares.
#[derive(Clone)]
pub(crate) struct Target {
    uri: String,
    params: ObjectStoreParams,
    session: Arc<Session>,
    scrub: Scrub,
    access: Access,
    patience: Patience,
}

/// Where the files of a dataset are.
#[derive(Clone, Debug)]
pub(crate) struct Files {
    pub(crate) store: Arc<ObjectStore>,
    /// The dataset's folder.
    pub(crate) folder: Path,
}

impl Target {
    /// The place of a dataset. Nothing is opened yet; whether it may be touched is asked before.
    ///
    /// # Errors
    /// `invalid` if no dataset can be there, or the storage profile is unknown.
    pub(in crate::store) fn of(env: &StoreEnv, spec: &StoreSpec) -> Result<Self> {
        let spec = LanceSpec::of(spec)?;
        let kind: &dyn Any = env.kinds.of(LANCE)?;
        let kind = kind.downcast_ref::<LanceKind>();
        let kind = kind.ok_or_else(|| Error::internal("datasets are of another kind"))?;
        let profile = env.parts.settings.profile(spec.storage_profile.as_deref())?;
        let profile = profile.unwrap_or_default();
        let scrub = Scrub::new(&spec.uri, profile.secrets());
        Ok(Self {
            params: store_params(&spec.uri, profile)?,
            session: kind.session_alone(),
            scrub,
            access: env.parts.access.clone(),
            patience: env.parts.patience(),
            uri: spec.uri,
        })
    }

    /// Its URI.
    pub(crate) fn uri(&self) -> &str {
        &self.uri
    }

    /// Its URI as messages say it.
    pub(crate) fn shown(&self) -> String {
        redact(&self.uri)
    }

    /// How its storage is reached.
    pub(crate) fn params(&self) -> &ObjectStoreParams {
        &self.params
    }

    /// The session of all that is done to it.
    pub(crate) fn session(&self) -> &Arc<Session> {
        &self.session
    }

    /// The newest version; none if there is no dataset.
    ///
    /// # Errors
    /// `invalid` if a file is there, `store` or `timeout` if its storage does not answer,
    /// `permission_denied` if it has files elsewhere that may not be touched.
    pub(crate) async fn newest(&self) -> Result<Option<Arc<Dataset>>> {
        self.load(None).await
    }

    /// A version of it.
    ///
    /// # Errors
    /// As [`Self::newest`], and `not_found` if it is gone.
    pub(crate) async fn at(&self, version: u64) -> Result<Arc<Dataset>> {
        let dataset = self.load(Some(version)).await?;
        dataset.ok_or_else(|| {
            Error::not_found(format!(
                "version {version} of the Lance dataset at {} is gone since the job was planned; \
                 run the job again",
                self.shown()
            ))
        })
    }

    /// Where its files are, or would be.
    ///
    /// # Errors
    /// `invalid` if its storage cannot be reached like this.
    pub(crate) async fn files(&self) -> Result<Files> {
        let (registry, uri) = (self.session.store_registry(), self.uri.clone());
        let params = self.params.clone();
        let opened = self.run("opening", async move {
            let opened = ObjectStore::from_uri_and_params(registry, &uri, &params).await;
            opened.map_err(from_lance)
        });
        let (store, folder) = opened.await?;
        Ok(Files { store, folder })
    }

    /// Does something to it in a task of its own. Dropping the future ends that.
    ///
    /// # Errors
    /// Those of what is done, without secrets, and saying what was done.
    pub(crate) async fn run<T, F>(&self, doing: &str, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: Future<Output = Result<T>> + Send + 'static,
    {
        tasks::run(work).await.map_err(|error| self.error(doing, error))
    }

    fn error(&self, doing: &str, error: Error) -> Error {
        let doing = format!("{doing} the Lance dataset at {}", self.shown());
        self.scrub.clean(error).context(doing)
    }

    async fn load(&self, version: Option<u64>) -> Result<Option<Arc<Dataset>>> {
        if let Some(other) = other_file(&self.shown(), false) {
            return Err(other);
        }
        let builder = DatasetBuilder::from_uri(&self.uri);
        let builder = builder.with_session(self.session.clone());
        let builder = builder.with_store_params(self.params.clone());
        let builder = match version {
            Some(version) => builder.with_version(version),
            None => builder,
        };
        let loaded = self.run("opening", async move {
            match builder.load().await {
                Ok(dataset) => Ok(Some(Arc::new(dataset))),
                Err(error) if is_absent(&error) => Ok(None),
                Err(error) => Err(from_lance(error)),
            }
        });
        let loaded = timeout(self.patience.answer, loaded).await;
        let silent = |_| Err(self.error("opening", self.patience.no_answer()));
        let dataset = loaded.unwrap_or_else(silent)?;
        if let Some(dataset) = &dataset {
            check_bases(dataset, &self.uri, &self.access, self.patience).await?;
        }
        Ok(dataset)
    }
}

/// Whoever prints it shall see no credentials.
impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Target").field("uri", &self.shown()).finish_non_exhaustive()
    }
}

/// How the storage of a dataset is reached with a profile.
pub(super) fn store_params(uri: &str, profile: ReadProfile) -> Result<ObjectStoreParams> {
    let takes_identity = profile.cloud && !is_local(uri);
    let aws_credentials = takes_identity.then(|| identity(&profile)).transpose()?;
    let accessor = StorageOptionsAccessor::with_static_options(profile.options);
    Ok(ObjectStoreParams {
        aws_credentials,
        storage_options_accessor: Some(Arc::new(accessor)),
        ..ObjectStoreParams::default()
    })
}

/// The snapshot that a dataset is opened at.
pub(crate) fn snapshot(dataset: &Dataset) -> Snapshot {
    Snapshot::Version { number: dataset.version_id(), manifest: manifest_id(&dataset.manifest) }
}

/// The columns of a dataset as they are stored.
pub(crate) fn stored_columns(dataset: &Dataset) -> Schema {
    Schema::from(dataset.schema())
}

/// Whether a column is read as it is stored. Blobs and JSON are not.
pub(crate) fn is_plain(stored: &Field) -> bool {
    answered::field(stored).data_type().equals_datatype(stored.data_type())
}
