//! Opens snapshots of datasets, and says in the user's words why one cannot be opened.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use keyloom_common::{
    Error, Result,
    error::redact,
    store::{LancePin, LanceSpec, Snapshot, StoreDescription, cost::Storage},
};
use lance::{Dataset, dataset::builder::DatasetBuilder, session::Session};
use tokio::sync::OnceCell;

use super::{
    answered,
    caches::Caches,
    error::{Scrub, from_lance},
    figures::figures,
    handle::LanceHandle,
    tasks,
};
use crate::store::StoreSettings;

/// What opening datasets needs of its worker.
pub(crate) struct LanceEnv<'a> {
    pub(crate) settings: &'a StoreSettings,
    pub(crate) session: &'a Arc<Session>,
    pub(crate) caches: &'a Arc<Caches>,
}

impl LanceEnv<'_> {
    /// The columns, and the version that the pin means now.
    ///
    /// # Errors
    /// `not_found` if the dataset, the version or the tag does not exist, `invalid` if the storage
    /// profile is unknown, `store` if the dataset cannot be read.
    pub(crate) async fn describe(&self, spec: &LanceSpec) -> Result<StoreDescription> {
        let dataset = self.load(spec, spec.pin.clone()).await?;
        if let (Some(LancePin::Tag(tag)), Some(branch)) = (&spec.pin, &dataset.manifest.branch) {
            // Versions are counted by branch, so the number alone would name another snapshot.
            return Err(Error::invalid(format!(
                "tag '{tag}' is on branch '{branch}'; only tags of the main branch can be read"
            )));
        }
        let snapshot = Snapshot::Version(dataset.version_id());
        let schema = answered::schema(dataset.schema());
        let figures = figures(dataset, &spec.key, &schema, self.settings, self.caches).await;
        let figures =
            figures.map_err(|error| self.scrub(spec).map_or_else(|e| e, |s| s.clean(error)))?;
        Ok(StoreDescription { schema, snapshot, figures: Some(figures) })
    }

    /// The dataset at exactly this version.
    ///
    /// # Errors
    /// As [`LanceEnv::describe`].
    pub(crate) async fn open(&self, spec: &LanceSpec, version: u64) -> Result<LanceHandle> {
        let dataset = self.load(spec, Some(LancePin::Version(version))).await?;
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Ok(LanceHandle {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            schema: answered::schema(dataset.schema()),
            scrub: self.scrub(spec)?,
            // The profiles hold credentials, and nothing reads them after this.
            settings: StoreSettings { storage_profiles: HashMap::new(), ..self.settings.clone() },
            storage: Storage::of(&spec.uri),
            uri: spec.uri.as_str().into(),
            spec: spec.clone(),
            dataset: Arc::new(dataset),
            coder: self.caches.coder.clone(),
            caches: Arc::clone(self.caches),
            layout: OnceCell::new(),
            columns: Mutex::default(),
        })
    }

    async fn load(&self, spec: &LanceSpec, pin: Option<LancePin>) -> Result<Dataset> {
        let mut builder = DatasetBuilder::from_uri(&spec.uri).with_session(self.session.clone());
        if let Some(options) = self.profile(spec)? {
            builder = builder.with_storage_options(options.clone());
        }
        let uri = redact(&spec.uri);
        let opened = tasks::run(async move {
            let pinned = match &pin {
                None => builder.clone(),
                Some(LancePin::Version(version)) => builder.clone().with_version(*version),
                Some(LancePin::Tag(tag)) => builder.clone().with_tag(tag),
            };
            match (pinned.load().await, &pin) {
                (Ok(dataset), _) => Ok(dataset),
                (Err(error), Some(LancePin::Version(version))) if is_absent(&error) => {
                    // The same error stands for a version and for a dataset that is not there.
                    let dataset = builder.load().await.map_err(|error| explain(error, &uri))?;
                    Err(Error::not_found(format!(
                        "no version {version} of the Lance dataset at {uri}, whose newest is {}",
                        dataset.version_id()
                    )))
                }
                (Err(lance::Error::RefNotFound { .. }), Some(LancePin::Tag(tag))) => {
                    Err(Error::not_found(format!("no tag '{tag}' on the Lance dataset at {uri}")))
                }
                (Err(error), _) => Err(explain(error, &uri)),
            }
        });
        let scrub = self.scrub(spec)?;
        opened.await.map_err(|error| scrub.clean(error))
    }

    fn profile(&self, spec: &LanceSpec) -> Result<Option<&HashMap<String, String>>> {
        let Some(name) = &spec.storage_profile else { return Ok(None) };
        let profile = self.settings.storage_profiles.get(name);
        profile.map(Some).ok_or_else(|| {
            let names = self.settings.profile_names();
            let known = match names.as_slice() {
                [] => "none".to_owned(),
                names => format!("'{}'", names.join("', '")),
            };
            Error::invalid(format!("storage profile '{name}' not found; the worker has {known}"))
        })
    }

    fn scrub(&self, spec: &LanceSpec) -> Result<Scrub> {
        Ok(Scrub::new(&spec.uri, self.profile(spec)?.into_iter().flatten()))
    }
}

fn is_absent(error: &lance::Error) -> bool {
    use lance::Error as Lance;
    matches!(
        error,
        Lance::DatasetNotFound { .. } | Lance::NotFound { .. } | Lance::VersionNotFound { .. }
    )
}

fn explain(error: lance::Error, uri: &str) -> Error {
    if is_absent(&error) {
        return Error::not_found(format!("no Lance dataset at {uri}"));
    }
    from_lance(error).context(format_args!("the Lance dataset at {uri}"))
}
