//! Opens snapshots of datasets, and says in the user's words why one cannot be opened.

use std::{
    collections::HashMap,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use keyloom_common::{
    Error, ErrorKind, Result,
    error::redact,
    input::Format,
    store::{KeyColumns, ManifestId, Pin, Snapshot, StoreDescription, StoreKey, cost::Storage},
};
use lance::{
    Dataset, dataset::builder::DatasetBuilder, index::DatasetIndexExt, session::Session,
    table::format::IndexMetadata,
};
use tokio::sync::OnceCell;

use super::{
    cloud::Identities,
    error::{Scrub, from_lance},
    figures::figures,
    files::{
        requests::{self, Requests, is_local},
        watch::Watch,
    },
    handle::LanceHandle,
    identity::manifest_id,
    kept::{
        caches::Caches,
        sessions::{Sessions, Verdict},
    },
    spec::LanceSpec,
    tasks,
    values::answered,
};
use crate::{
    access::Access,
    store::{Patience, ReadProfile, WorkerParts},
};

/// Lance datasets on one worker, and what they share there.
#[derive(Debug)]
pub(crate) struct LanceKind {
    worker: WorkerParts,
    /// Lance's own caches.
    sessions: Sessions,
    /// The machine's own, for profiles that take no others.
    identities: Identities,
    /// What was read and may be of use again.
    pub(super) caches: Arc<Caches>,
}

impl LanceKind {
    /// Nothing is kept yet.
    pub(super) fn new(worker: &WorkerParts) -> Self {
        let WorkerParts { settings, commons, .. } = worker;
        Self {
            worker: worker.clone(),
            sessions: Sessions::new(settings),
            identities: Identities::default(),
            caches: Arc::new(Caches::new(settings, commons.budget())),
        }
    }

    /// The columns, and the version that the pin means now.
    ///
    /// # Errors
    /// `not_found` if the dataset, the version or the tag does not exist, `invalid` if the storage
    /// profile is unknown, `store` if the dataset cannot be read.
    pub(super) async fn describe_dataset(&self, spec: &LanceSpec) -> Result<StoreDescription> {
        let dataset = self.load(spec, spec.pin.clone()).await?;
        if let (Some(Pin::Tag(tag)), Some(branch)) = (&spec.pin, &dataset.manifest.branch) {
            // Versions are counted by branch, so the number alone would name another snapshot.
            return Err(Error::invalid(format!(
                "tag '{tag}' is on branch '{branch}'; only tags of the main branch can be read"
            )));
        }
        let snapshot = Snapshot::Version {
            number: dataset.version_id(),
            manifest: manifest_id(&dataset.manifest),
        };
        let schema = answered::schema(dataset.schema());
        let primary_key = primary_key(&dataset);
        let watch = self.watch(spec);
        let doing = || format!("the Lance dataset at {}: reading its figures", redact(&spec.uri));
        let figures = watch.read(figures(dataset, &spec.uri, &schema, &self.caches));
        let figures = watch.bounded(doing, figures).await;
        let figures =
            figures.map_err(|error| self.scrub(spec).map_or_else(|e| e, |s| s.clean(error)))?;
        let figures = Some(figures);
        Ok(StoreDescription { schema, snapshot, figures, primary_key, repeats_keys: true })
    }

    /// The dataset at exactly this version.
    ///
    /// # Errors
    /// As [`Self::describe_dataset`], and `not_found` if another dataset's version has the number.
    pub(super) async fn open_dataset(
        &self,
        spec: &LanceSpec,
        number: u64,
        manifest: ManifestId,
    ) -> Result<LanceHandle> {
        let dataset = self.load(spec, Some(Pin::Version(number))).await;
        let dataset = dataset.map_err(|error| match error.kind() {
            ErrorKind::NotFound => Error::not_found(format!(
                "version {number} is gone since the job was planned: {}; run the job again",
                error.message()
            )),
            _ => error,
        })?;
        if manifest_id(&dataset.manifest) != manifest {
            return Err(Error::not_found(format!(
                "the Lance dataset at {} was written anew since the job was planned, and its \
                 version {number} is another one now; run the job again",
                redact(&spec.uri)
            )));
        }
        let (dataset, indices) = self.indices(spec, dataset).await?;
        let store = dataset.object_store(None).await.map_err(from_lance)?;
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Ok(LanceHandle {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            schema: answered::schema(dataset.schema()),
            scrub: self.scrub(spec)?,
            settings: self.worker.settings.of_store(Storage::of(&spec.uri), &spec.pace),
            storage: Storage::of(&spec.uri).with_in_flight(spec.pace.requests_in_flight),
            watch: self.watch(spec).counting(store.io_tracker()),
            indices,
            uri: spec.uri.as_str().into(),
            spec: spec.clone(),
            dataset: Arc::new(dataset),
            coder: self.caches.coder.clone(),
            caches: Arc::clone(&self.caches),
            reads: Arc::clone(&self.worker.reads),
            layout: OnceCell::new(),
            columns: Mutex::default(),
            covers: Mutex::default(),
        })
    }

    /// The dataset and its indices, if it is keyed by a column: they are read while it is certain
    /// whose they are.
    async fn indices(
        &self,
        spec: &LanceSpec,
        dataset: Dataset,
    ) -> Result<(Dataset, Arc<Vec<IndexMetadata>>)> {
        if matches!(spec.key, Some(StoreKey::RowId | StoreKey::Offset)) {
            return Ok((dataset, Arc::default()));
        }
        let read = tasks::run(async move {
            let indices = dataset.load_indices().await.map_err(from_lance)?;
            Ok((dataset, indices))
        });
        let watch = self.watch(spec);
        let doing = || format!("the Lance dataset at {}: reading its indices", redact(&spec.uri));
        let (read, scrub) = (watch.bounded(doing, watch.read(read)).await, self.scrub(spec)?);
        read.map_err(|error| scrub.clean(error))
    }

    async fn load(&self, spec: &LanceSpec, pin: Option<Pin>) -> Result<Dataset> {
        let dataset = loop {
            let session = self.sessions.of(spec);
            let dataset = self.load_through(session.clone(), spec, &pin).await?;
            match self.sessions.judge(spec, &session, &dataset) {
                Verdict::Same => break dataset,
                Verdict::Unknowable => {
                    break self.load_through(self.sessions.alone(), spec, &pin).await?;
                }
                Verdict::Rewritten => {}
            }
        };
        check_bases(&dataset, &spec.uri, &self.worker.access, self.patience(spec)).await?;
        Ok(dataset)
    }

    /// A session for who writes, which shares nothing with those of others.
    pub(super) fn session_alone(&self) -> Arc<Session> {
        self.sessions.alone()
    }

    async fn load_through(
        &self,
        session: Arc<Session>,
        spec: &LanceSpec,
        pin: &Option<Pin>,
    ) -> Result<Dataset> {
        // Lance lists the folder that it takes a file for again and again, for seconds.
        if let Some(other) = other_file(&redact(&spec.uri), false) {
            return Err(other);
        }
        let profile = self.profile(spec)?;
        let mut builder = DatasetBuilder::from_uri(&spec.uri).with_session(session);
        if let Some(requests) = self.requests(spec) {
            let mut params = Requests::params(requests);
            if let (Some(name), Some(profile)) = (&spec.storage_profile, &profile)
                && profile.cloud
            {
                params.aws_credentials = Some(self.identities.of(name, profile)?);
            }
            builder = builder.with_store_params(params);
        }
        let scrub = scrub_of(spec, profile.as_ref());
        if let Some(options) = self.options(spec, profile) {
            builder = builder.with_storage_options(options);
        }
        let (uri, pin) = (redact(&spec.uri), pin.clone());
        let opened = tasks::run(async move {
            let pinned = match &pin {
                None => builder.clone(),
                Some(Pin::Version(version)) => builder.clone().with_version(*version),
                Some(Pin::Tag(tag)) => builder.clone().with_tag(tag),
            };
            match (pinned.load().await, &pin) {
                (Ok(dataset), _) => Ok(dataset),
                (Err(error), Some(Pin::Version(version))) if is_absent(&error) => {
                    // The same error stands for a version and for a dataset that is not there.
                    let dataset = builder.load().await.map_err(|error| explain(error, &uri))?;
                    Err(Error::not_found(format!(
                        "no version {version} of the Lance dataset at {uri}, whose newest is {}",
                        dataset.version_id()
                    )))
                }
                (Err(lance::Error::RefNotFound { .. }), Some(Pin::Tag(tag))) => {
                    Err(Error::not_found(format!("no tag '{tag}' on the Lance dataset at {uri}")))
                }
                (Err(error), _) => Err(explain(error, &uri)),
            }
        });
        // Not all that is asked of remote storage goes through the object store, which may have to
        // ask for a region and for credentials first.
        let watch = self.watch(spec);
        let doing = || format!("the Lance dataset at {}: opening it", redact(&spec.uri));
        let opened = watch.bounded(doing, watch.owing(opened)).await;
        opened.map_err(|error| scrub.clean(error))
    }

    fn watch(&self, spec: &LanceSpec) -> Watch {
        Watch::new(self.patience(spec), self.requests(spec).as_deref())
    }

    fn patience(&self, spec: &LanceSpec) -> Patience {
        self.worker.patience().of_store(&spec.pace)
    }

    /// The requests by which a dataset is read, within its own bounds; none if it is read as local
    /// files.
    fn requests(&self, spec: &LanceSpec) -> Option<Arc<Requests>> {
        Some(self.sessions.requests(spec)?.within(self.patience(spec)))
    }

    /// The storage options: bounds on waiting that the store's own options set, those of the
    /// profile, and bounds on waiting where neither has any.
    fn options(
        &self,
        spec: &LanceSpec,
        profile: Option<ReadProfile>,
    ) -> Option<HashMap<String, String>> {
        let profile = profile.map(|profile| profile.options);
        if is_local(&spec.uri) {
            return profile;
        }
        let mut options = profile.unwrap_or_default();
        let of_store = requests::names(&spec.pace);
        for (name, value) in requests::options(self.patience(spec)) {
            let is_it = |given: &String| {
                let given = given.to_ascii_lowercase();
                given == name || given.strip_prefix("aws_") == Some(name)
            };
            if of_store.contains(&name) {
                options.retain(|given, _| !is_it(given));
            }
            if !options.keys().any(is_it) {
                options.insert(name.to_owned(), value);
            }
        }
        Some(options)
    }

    fn profile(&self, spec: &LanceSpec) -> Result<Option<ReadProfile>> {
        self.worker.settings.profile(spec.storage_profile.as_deref())
    }

    fn scrub(&self, spec: &LanceSpec) -> Result<Scrub> {
        Ok(scrub_of(spec, self.profile(spec)?.as_ref()))
    }
}

/// Refuses a dataset that has files in other places, which its manifest names, if those may not be
/// touched. Nothing of them was read yet.
pub(super) async fn check_bases(
    dataset: &Dataset,
    uri: &str,
    access: &Access,
    patience: Patience,
) -> Result<()> {
    for base in dataset.manifest.base_paths.values() {
        access.check_dataset(&base.path, patience).await.map_err(|error| {
            let uri = redact(uri);
            error.context(format_args!("the Lance dataset at {uri} has files elsewhere"))
        })?;
    }
    Ok(())
}

/// What keeps the secrets of a profile, as it was read, out of messages.
fn scrub_of(spec: &LanceSpec, profile: Option<&ReadProfile>) -> Scrub {
    Scrub::new(&spec.uri, profile.into_iter().flat_map(ReadProfile::secrets))
}

pub(crate) fn is_absent(error: &lance::Error) -> bool {
    use lance::Error as Lance;
    matches!(
        error,
        Lance::DatasetNotFound { .. } | Lance::NotFound { .. } | Lance::VersionNotFound { .. }
    )
}

fn explain(error: lance::Error, uri: &str) -> Error {
    if let Some(other) = other_file(uri, is_absent(&error)) {
        return other;
    }
    if is_absent(&error) {
        return Error::not_found(format!("no Lance dataset at {uri}"));
    }
    from_lance(error).context(format_args!("the Lance dataset at {uri}"))
}

/// What to write instead, if what is there is a file of rows: a local one, or a remote one as far
/// as its name tells.
pub(super) fn other_file(uri: &str, is_absent: bool) -> Option<Error> {
    let local = is_local(uri).then(|| Path::new(uri.strip_prefix("file://").unwrap_or(uri)));
    if !local.map_or(is_absent, Path::is_file) {
        return None;
    }
    match Format::of_path(uri) {
        Some(format) if format != Format::Lance => Some(Error::invalid(format!(
            "no Lance dataset at {uri}, which is a {} file by its name; for a store of its rows \
             write kind = \"memory\", path = \"{uri}\", key = \"COLUMN\", or --store \
             'ALIAS=memory:{uri}?key=COLUMN'",
            format.name()
        ))),
        _ if local.is_some() => Some(Error::invalid(format!(
            "no Lance dataset at {uri}, which is a file; a dataset is a folder"
        ))),
        _ => None,
    }
}

/// The primary key that the dataset declares, in the order that it gives the columns. Of a field
/// within a column the whole path is told, which no column has for a name.
fn primary_key(dataset: &Dataset) -> Option<KeyColumns> {
    let schema = dataset.schema();
    let name = |field: &lance::datatypes::Field| {
        let is_column = schema.fields.iter().any(|column| column.id == field.id);
        let path = if is_column { None } else { schema.field_path(field.id).ok() };
        path.unwrap_or_else(|| field.name.clone())
    };
    let declared = schema.unenforced_primary_key().into_iter();
    KeyColumns::try_new(declared.map(name).collect()).ok()
}
