//! A session: stores under aliases, inputs, queries.

mod catalog;
mod described;
mod key;
mod lend;
mod project;
mod put;
mod sql;

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use datafusion::{dataframe::DataFrame, execution::context::SessionContext};
use keyloom_common::{
    Error, ErrorCode, JobId, Result, WorkerId,
    described::check_alias,
    report::{Advice, Analysis, JobInfo, JobList, WorkerStatus},
    stack::Deep,
    store::AttachedStore,
};

use crate::{
    connection::Connection,
    contents::Contents,
    link::Link,
    open_store::OpenStore,
    query::{self, Job, JobHandle, JobOptions},
    settings::Settings,
    store::KvStore,
    told::Told,
};
use catalog::Catalog;
pub(crate) use lend::Unknown;

/// A catalog of stores and a way to run queries over them, in this process or on a cluster.
#[derive(Clone)]
pub struct Session {
    link: Arc<Link>,
    catalog: Arc<Mutex<Catalog>>,
    context: SessionContext,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("catalog", &self.catalog).finish_non_exhaustive()
    }
}

impl Session {
    /// A session on the cluster whose coordinator listens at `tcp://HOST:PORT`.
    ///
    /// # Errors
    /// `unavailable` if nobody answers there, `resource_exhausted` if the coordinator has no place
    /// for another connection, `permission_denied` if it lets nobody in without a token or a
    /// certificate, `invalid` if it is of another build.
    pub async fn connect(address: &str) -> Result<Self> {
        Self::connect_with(address, Settings::default()).await
    }

    /// A session on a cluster. At `tls://HOST:PORT`, `security.ca_file` says whose certificates are
    /// believed; what the coordinator is to know this session by, a certificate or a token, stands
    /// beside it.
    ///
    /// # Errors
    /// `invalid` if settings are wrong, do not go with the address, or name files that do not do;
    /// `permission_denied` if the coordinator does not take what it is shown; otherwise as
    /// [`Self::connect`].
    pub async fn connect_with(address: &str, settings: Settings) -> Result<Self> {
        settings.validate()?;
        let credentials = settings.security.load()?;
        let connection = Connection::cluster(address, settings.rpc.clone(), credentials).await?;
        Ok(Self::new(connection, settings))
    }

    pub(crate) fn new(connection: Connection, settings: Settings) -> Self {
        let (contents, warnings) = (Contents::default(), Told::default());
        let link = Arc::new(Link { connection, contents, settings, warnings });
        let context = query::context(&link);
        Self { link, catalog: Arc::default(), context }
    }

    /// Sets what is told, in words, when something has waited for a worker of the cluster for about
    /// a second because there is none: once a wait, on the thread that waits. It holds for clones of
    /// this session, too. If nothing is set, waits are logged as warnings.
    pub fn tell_waits(&self, tell: impl Fn(&str) + Send + Sync + 'static) {
        self.link.connection.waits.0.tell(Arc::new(tell));
    }

    /// Sets what is told, in words, when a job asks for something in vain: a shuffle, where rows
    /// that miss their keys are limited or kept, or where fewer than two workers can; or when a job
    /// writes where one that the coordinator does not know has left something. It is said once a
    /// job, on the thread that submits it. That the session's own certificate has expired, or will
    /// within two weeks, is said at once. It holds for clones of this session, too. If nothing is
    /// set, that is logged as warnings.
    pub fn tell_warnings(&self, tell: impl Fn(&str) + Send + Sync + 'static) {
        self.link.warnings.tell(Arc::new(tell));
        // They could be read when the session was opened.
        let credentials = self.link.settings.security.load();
        if let Some(doubt) = credentials.ok().and_then(|shown| shown.doubt()) {
            self.link.warnings.say(&doubt);
        }
    }

    pub(crate) fn link(&self) -> &Arc<Link> {
        &self.link
    }

    /// DataFusion's own session, for its API beside this one. Its queries run on the same cluster.
    pub fn context(&self) -> &SessionContext {
        &self.context
    }

    fn catalog(&self) -> MutexGuard<'_, Catalog> {
        self.catalog.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Attaches a store under an alias, or under its own name. It is opened once, to learn its
    /// columns and its snapshot.
    ///
    /// # Errors
    /// `invalid` if the alias is taken or no identifier; otherwise why the store cannot be opened.
    pub async fn attach<'a>(
        &self,
        store: KvStore,
        alias: impl Into<Option<&'a str>>,
    ) -> Result<()> {
        let alias = alias.into().unwrap_or(store.name()).to_owned();
        self.catalog().check_free(&alias)?;
        let attached = self.open(&alias, store).await?;
        self.catalog().attach(attached)
    }

    /// As [`Self::attach`], but a store under that alias is replaced.
    ///
    /// # Errors
    /// As [`Self::attach`], but for aliases that are taken.
    pub async fn attach_or_replace<'a>(
        &self,
        store: KvStore,
        alias: impl Into<Option<&'a str>>,
    ) -> Result<()> {
        let alias = alias.into().unwrap_or(store.name()).to_owned();
        check_alias(&alias)?;
        let attached = self.open(&alias, store).await?;
        self.catalog().replace(attached);
        Ok(())
    }

    async fn open(&self, alias: &str, store: KvStore) -> Result<Arc<AttachedStore>> {
        let KvStore { spec, contents } = store;
        let contents = spec.content.zip(contents);
        if let Some((id, bytes)) = &contents {
            self.link.connection.ensure_blob(*id, &bytes.clone().into()).await?;
        }
        let description = self.link.connection.describe_store(spec.clone()).await?;
        let attached = AttachedStore::try_new(alias, spec, description)
            .map_err(|error| error.context(format!("KV store '{alias}'")))?;
        if let Some((id, bytes)) = contents {
            // Plans hold the store with its key, and may outlive its alias.
            self.link.contents.keep(id, bytes.into(), &attached.resolve(None)?);
        }
        Ok(attached)
    }

    /// Forgets an alias. If its store was current, none is current any more. Expressions that were
    /// built before keep working.
    ///
    /// # Errors
    /// `not_found` if nothing is attached under the alias.
    pub fn detach_kv(&self, alias: &str) -> Result<()> {
        self.catalog().detach(alias)
    }

    /// Sets or clears the current store: the one that calls without a source mean.
    ///
    /// # Errors
    /// `not_found` if nothing is attached under the alias.
    pub fn set_kv<'a>(&self, alias: impl Into<Option<&'a str>>) -> Result<()> {
        self.catalog().set_current(alias.into())
    }

    /// The current store.
    pub fn current_kv(&self) -> Option<Arc<AttachedStore>> {
        self.catalog().current().cloned()
    }

    /// Whether a store is attached under the alias.
    pub fn has_kv(&self, alias: &str) -> bool {
        self.catalog().get(alias).is_ok()
    }

    /// The store under an alias.
    ///
    /// # Errors
    /// `not_found` if nothing is attached under the alias.
    pub fn get_kv(&self, alias: &str) -> Result<Arc<AttachedStore>> {
        self.catalog().get(alias).cloned()
    }

    /// The store under an alias, to be asked without a query.
    ///
    /// # Errors
    /// `not_found` if nothing is attached under the alias.
    pub fn open_kv(&self, alias: &str) -> Result<OpenStore> {
        Ok(OpenStore::new(self.clone(), self.get_kv(alias)?))
    }

    /// Opens a store to be asked without a query. It gets no alias.
    ///
    /// # Errors
    /// Why the store cannot be opened.
    pub async fn open_store(&self, store: KvStore) -> Result<OpenStore> {
        let name = store.name().to_owned();
        Ok(OpenStore::new(self.clone(), self.open(&name, store).await?))
    }

    /// The aliases, sorted.
    pub fn list_kv(&self) -> Vec<String> {
        self.catalog().aliases()
    }

    /// All attached stores, by their aliases.
    pub(crate) fn stores(&self) -> Vec<Arc<AttachedStore>> {
        self.catalog().stores()
    }

    /// The store that a call means: the one under the alias, or the current one.
    pub(crate) fn source(&self, alias: Option<&str>) -> Result<Arc<AttachedStore>> {
        let catalog = self.catalog();
        match alias {
            Some(alias) => catalog.get(alias).cloned(),
            None => catalog.current().cloned().ok_or_else(|| {
                Error::not_found("No KV store is currently attached to the session")
                    .with_code(ErrorCode::NoCurrentStore)
            }),
        }
    }

    /// A query in SQL. `kv_get`, `kv_batch_get` and `kv_exists` take named arguments. `INSERT INTO`
    /// a store and `COPY … TO 'folder/'` are queries, too, whose rows workers write when they are
    /// run.
    ///
    /// # Errors
    /// `invalid` or `not_found` if the statement is wrong: nothing has run by then.
    pub async fn sql(&self, query: &str) -> Result<DataFrame> {
        self.sql_with(query, Vec::new()).await
    }

    /// As [`Self::sql`]; in this statement alone, names mean tables that are queries themselves.
    /// They go before those that are registered.
    ///
    /// # Errors
    /// As [`Self::sql`].
    pub async fn sql_with(
        &self,
        query: &str,
        tables: Vec<(String, DataFrame)>,
    ) -> Result<DataFrame> {
        Deep::new(sql::plan(self, query, Path::new(""), tables, None)).await
    }

    /// As [`Self::sql`], of a statement whose paths of files are relative to this folder.
    ///
    /// # Errors
    /// As [`Self::sql`].
    pub async fn sql_in(&self, folder: &Path, query: &str) -> Result<DataFrame> {
        Deep::new(sql::plan(self, query, folder, Vec::new(), None)).await
    }

    /// As [`Self::sql_in`], of a statement with placeholders: `$name` is the value under that name,
    /// as what stands beside it wants it, and text where nothing does. It is never read as SQL.
    ///
    /// # Errors
    /// As [`Self::sql`]; `invalid` if a placeholder has no value, or one that does not fit. Values
    /// that no placeholder names are passed over.
    pub async fn sql_in_with(
        &self,
        folder: &Path,
        query: &str,
        values: &BTreeMap<String, String>,
    ) -> Result<DataFrame> {
        Deep::new(sql::plan(self, query, folder, Vec::new(), Some(values))).await
    }

    /// Starts a query and returns its rows in order, batch by batch, and then what was counted.
    ///
    /// # Errors
    /// If the query cannot be planned or submitted.
    pub async fn submit(&self, query: DataFrame) -> Result<Job> {
        self.submit_with(query, JobOptions::default()).await
    }

    /// As [`Self::submit`], with options. With an output, workers write the rows, and the result is
    /// one row that says what can be seen then.
    ///
    /// # Errors
    /// If the query cannot be planned or submitted, or its output cannot be written.
    pub async fn submit_with(&self, query: DataFrame, options: JobOptions) -> Result<Job> {
        Deep::new(Job::submit(query, options)).await
    }

    /// Starts a query whose rows are computed to the last one and dropped: for measuring.
    ///
    /// # Errors
    /// If the query cannot be planned or submitted.
    pub async fn submit_discarding(&self, query: DataFrame) -> Result<Job> {
        self.submit_with(query, JobOptions { discard: true, ..JobOptions::default() }).await
    }

    /// The physical plan of a query as text; with `analyze`, the query is run, and each node shows
    /// its time and what it counted, beside the time in all and notes on what was wasted.
    ///
    /// # Errors
    /// If the query cannot be planned or, with `analyze`, if it fails.
    pub async fn explain(&self, query: DataFrame, analyze: bool) -> Result<String> {
        if analyze {
            return Ok(self.analyze(query).await?.to_string());
        }
        Deep::new(query::physical_plan_text(query)).await
    }

    /// Runs a query to its last row, drops the rows, and says how it ran.
    ///
    /// # Errors
    /// If the query cannot be planned or fails.
    pub async fn analyze(&self, query: DataFrame) -> Result<Analysis> {
        Ok(self.submit_discarding(query).await?.finish().await?.analysis)
    }

    /// What each way of a query's lookups is estimated to cost, and what would help: for those
    /// whose stores have several ways. Nothing is run.
    ///
    /// # Errors
    /// If the query cannot be planned.
    pub async fn advise(&self, query: DataFrame) -> Result<Vec<Advice>> {
        Deep::new(query::advice(query)).await
    }

    /// The jobs that the coordinator knows and this session may see, the newest first: without the
    /// counters of their plans, which [`Self::job`] has. The oldest are left out where all of them
    /// take more than half of the coordinator's `rpc.max_frame_bytes`; how many is told.
    ///
    /// # Errors
    /// `unavailable` if the coordinator is gone.
    pub async fn jobs(&self) -> Result<JobList> {
        self.link.connection.jobs().await
    }

    /// What the coordinator knows of a job.
    ///
    /// # Errors
    /// `not_found` if it knows nothing (any more), `permission_denied` if it is another client's.
    pub async fn job(&self, id: JobId) -> Result<JobInfo> {
        self.link.connection.job(id).await
    }

    /// A job that was submitted before, by this session or by another of the same client.
    ///
    /// # Errors
    /// As [`Self::job`].
    pub async fn attach_job(&self, id: JobId) -> Result<JobHandle> {
        let handle = JobHandle::new(Arc::clone(&self.link), id);
        handle.info().await?;
        Ok(handle)
    }

    /// Tells a worker to end what it runs, to take no more, and to go. Operators may.
    ///
    /// # Errors
    /// `permission_denied` if this session is no operator's, `not_found` if the worker is not
    /// registered.
    pub async fn drain_worker(&self, worker: WorkerId) -> Result<()> {
        self.link.connection.drain_worker(worker).await
    }

    /// The workers that are registered.
    ///
    /// # Errors
    /// `unavailable` if the coordinator is gone.
    pub async fn workers(&self) -> Result<Vec<WorkerStatus>> {
        self.link.connection.workers().await
    }
}
