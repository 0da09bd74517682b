//! A session: where stores are attached, inputs opened and queries planned.

use std::{
    io::{Write, stderr},
    path::PathBuf,
    sync::atomic::{AtomicU64, Ordering},
};

use keyloom_client::{
    EmbeddedSettings, Function, Input, MaxMisses, OnError, Settings,
    functions::{Key, KvExpr},
};
use keyloom_common::{Error, Result, stack::deep};
use pyo3::{prelude::*, types::PyDict};

use crate::{
    arrow::Batches,
    error::raise,
    expr::Expr,
    frame::Frame,
    handle::{self, JobHandle},
    lookup::{OpenStore, function_named},
    runtime::{OfProcess, wait},
    store::{Store, options_from_json},
};

/// Which session something belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SessionId(u64);

impl SessionId {
    fn next() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

/// Tells on stderr. Threads that wait leave Python alone, and so does this.
fn tell(words: &str) {
    // Without a stderr there is nobody to tell.
    let _ = writeln!(stderr(), "keyloom: {words}");
}

/// Says what a job asks for in vain.
fn warn(words: &str) {
    tell(&format!("warning: {words}"));
}

/// A session of `keyloom-client`.
#[pyclass(frozen, module = "keyloom._keyloom")]
#[derive(Debug)]
pub(crate) struct Session {
    session: OfProcess<keyloom_client::Session>,
    id: SessionId,
}

impl Session {
    fn new(session: keyloom_client::Session) -> Self {
        Self { session: OfProcess::new(session), id: SessionId::next() }
    }

    pub(crate) fn get(&self) -> PyResult<&keyloom_client::Session> {
        self.session.get().map_err(raise)
    }

    /// Opens the store under an alias, if the cluster alone has one.
    fn find(&self, py: Python<'_>, alias: &str) -> PyResult<()> {
        let session = self.get()?;
        match session.has_kv(alias) {
            true => Ok(()),
            false => {
                let found = async move { session.find_kv(alias).await.map(drop).map_err(raise) };
                wait(py, found)
            }
        }
    }

    fn frame(
        &self,
        frame: Result<keyloom_client::datafusion::dataframe::DataFrame>,
    ) -> PyResult<Frame> {
        Frame::new(frame.map_err(raise)?, self.get()?.clone(), self.id)
    }
}

#[pymethods]
impl Session {
    /// A session that is its own cluster, by settings in JSON.
    #[staticmethod]
    fn embedded(py: Python<'_>, settings: &str) -> PyResult<Self> {
        let settings: EmbeddedSettings = options_from_json(settings, "settings")?;
        let session =
            async { keyloom_client::Session::embedded_with(settings).await.map_err(raise) };
        wait(py, session).map(Self::new)
    }

    /// A session on the cluster whose coordinator listens at an address.
    #[staticmethod]
    fn connect(py: Python<'_>, address: &str, settings: &str) -> PyResult<Self> {
        let settings: Settings = options_from_json(settings, "settings")?;
        let session =
            async { keyloom_client::Session::connect_with(address, settings).await.map_err(raise) };
        let session = wait(py, session)?;
        session.tell_waits(tell);
        session.tell_warnings(warn);
        Ok(Self::new(session))
    }

    /// Lets statements use what the catalog of a project names.
    fn use_catalog(&self, py: Python<'_>, path: PathBuf) -> PyResult<()> {
        let read = keyloom_command::read_catalog(&path);
        let (inputs, stores) = read.map_err(|message| raise(Error::invalid(message)))?;
        let session = self.get()?;
        wait(py, async move { session.use_catalog(inputs, stores).await.map_err(raise) })
    }

    #[pyo3(signature = (store, alias, replace))]
    fn attach(&self, py: Python<'_>, store: &Store, alias: &str, replace: bool) -> PyResult<()> {
        let (session, store) = (self.get()?, store.0.clone());
        wait(py, async move {
            let attached = match replace {
                true => session.attach_or_replace(store, alias).await,
                false => session.attach(store, alias).await,
            };
            attached.map_err(raise)
        })
    }

    fn detach_kv(&self, alias: &str) -> PyResult<()> {
        self.get()?.detach_kv(alias).map_err(raise)
    }

    #[pyo3(signature = (alias))]
    fn set_kv(&self, py: Python<'_>, alias: Option<&str>) -> PyResult<()> {
        if let Some(alias) = alias {
            self.find(py, alias)?;
        }
        self.get()?.set_kv(alias).map_err(raise)
    }

    fn current_kv(&self) -> PyResult<Option<String>> {
        Ok(self.get()?.current_kv().map(|store| store.alias.clone()))
    }

    fn has_kv(&self, alias: &str) -> PyResult<bool> {
        Ok(self.get()?.has_kv(alias))
    }

    fn list_kv(&self) -> PyResult<Vec<String>> {
        Ok(self.get()?.list_kv())
    }

    /// The store under an alias, to be asked without a query.
    fn open_kv(&self, py: Python<'_>, alias: &str) -> PyResult<OpenStore> {
        self.find(py, alias)?;
        self.get()?.open_kv(alias).map(OpenStore::new).map_err(raise)
    }

    /// The word for the kind of the store under an alias.
    fn kind(&self, alias: &str) -> PyResult<String> {
        self.get()?.get_kv(alias).map(|store| store.spec.kind.clone()).map_err(raise)
    }

    /// The names of the stores and of the inputs that the cluster describes.
    fn cluster_catalog(&self, py: Python<'_>) -> PyResult<(Vec<String>, Vec<String>)> {
        let session = self.get()?;
        let catalog = wait(py, async move { session.cluster_catalog().await.map_err(raise) })?;
        Ok((catalog.stores.into_keys().collect(), catalog.inputs.into_keys().collect()))
    }

    /// Opens a store to be asked without a query.
    fn open_store(&self, py: Python<'_>, store: &Store) -> PyResult<OpenStore> {
        let (session, store) = (self.get()?, store.0.clone());
        wait(py, async move { session.open_store(store).await.map_err(raise) }).map(OpenStore::new)
    }

    /// A call of one of the functions. What a missing key means is said by a word, and by the
    /// most of them that there may be.
    #[pyo3(signature = (function, key, source, columns, on_missing, batch_size))]
    fn kv_call(
        &self,
        function: &str,
        key: &Expr,
        source: Option<String>,
        columns: Option<Vec<String>>,
        on_missing: (String, Option<String>),
        batch_size: Option<usize>,
    ) -> PyResult<Expr> {
        if let Some(alias) = &source {
            Python::attach(|py| self.find(py, alias))?;
        }
        let (session, of) = (self.get()?, Key::from(key.of(self.id)?.clone()));
        let call: KvExpr = match function_named(function) {
            Function::Get => session.kv_get(of),
            Function::BatchGet => session.kv_batch_get(of),
            Function::GetAll => session.kv_get_all(of),
            Function::Exists => session.kv_exists(of),
        };
        let (on_error, most) = on_missing;
        let call = call.on_error(OnError::parse(&on_error).map_err(raise)?);
        let call = source.into_iter().fold(call, KvExpr::source);
        let call = columns.into_iter().fold(call, KvExpr::columns);
        let call = batch_size.into_iter().fold(call, KvExpr::batch_size);
        let most = most.as_deref().map(MaxMisses::parse).transpose().map_err(raise)?;
        let call = most.into_iter().fold(call, KvExpr::max_misses);
        Expr::of_session(key, call.build().map_err(raise)?, self.id)
    }

    /// Rows in memory.
    fn frame_of(&self, py: Python<'_>, rows: &Batches) -> PyResult<Frame> {
        let (session, batches) = (self.get()?, rows.to_vec());
        self.frame(py.detach(|| session.from_batches(&batches)))
    }

    /// Files, by the options of job files in JSON.
    fn read(&self, py: Python<'_>, options: &str) -> PyResult<Frame> {
        let (session, input) = (self.get()?, options_from_json::<Input>(options, "options")?);
        let frame = wait(py, async move { Ok(session.read(input).await) })?;
        self.frame(frame)
    }

    /// The store under an alias as a table, or the table of that name.
    fn table(&self, py: Python<'_>, name: &str) -> PyResult<Frame> {
        let session = self.get()?;
        let frame = wait(py, async move { Ok(session.table(name).await) })?;
        self.frame(frame)
    }

    /// A query in SQL, in which names mean frames.
    fn sql(
        &self,
        py: Python<'_>,
        query: &str,
        frames: Vec<(String, Py<Frame>)>,
    ) -> PyResult<Frame> {
        let session = self.get()?;
        let tables = frames.iter().map(|(name, frame)| {
            let frame = frame.get();
            frame.check_session(self.id)?;
            let frame = frame.get()?;
            Ok((name.clone(), deep(|| frame.clone())))
        });
        let tables = tables.collect::<PyResult<Vec<_>>>()?;
        let planned = wait(py, async move { Ok(session.sql_with(query, tables).await) })?;
        self.frame(planned)
    }

    /// What is known of jobs, the newest first, and how many others are left out.
    fn jobs<'py>(&self, py: Python<'py>) -> PyResult<(Vec<Bound<'py, PyDict>>, u64)> {
        handle::list(py, self.get()?)
    }

    /// A job that was handed in before.
    fn job(&self, py: Python<'_>, id: &str) -> PyResult<JobHandle> {
        let session = self.get()?;
        wait(py, async move { JobHandle::find(session, id).await.map_err(raise) })
    }

    /// The workers: id, name, slots, running tasks, whether it drains.
    fn workers<'py>(&self, py: Python<'py>) -> PyResult<Vec<Bound<'py, PyDict>>> {
        let session = self.get()?;
        let workers = wait(py, async move { session.workers().await.map_err(raise) })?;
        let entry = |worker: &keyloom_client::report::WorkerStatus| {
            let entry = PyDict::new(py);
            entry.set_item("id", worker.id.to_string())?;
            entry.set_item("name", &worker.name)?;
            entry.set_item("slots", worker.slots)?;
            entry.set_item("running", worker.running)?;
            entry.set_item("draining", worker.draining)?;
            Ok(entry)
        };
        workers.iter().map(entry).collect()
    }
}
