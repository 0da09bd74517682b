//! A query under way, from Python.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    thread::ThreadId,
    time::{Duration, Instant},
};

use arrow::{
    array::{RecordBatch, RecordBatchReader},
    datatypes::SchemaRef,
    error::ArrowError,
};
use keyloom_client::{
    missed_schema,
    query::JobUpdate,
    report::{Furthest, JobProgress, JobStatus, Share, StoreStats},
};
use keyloom_common::Error;
use pyo3::{
    exceptions::PyKeyboardInterrupt,
    prelude::*,
    types::{PyCapsule, PyDict},
};
use tokio::runtime::Runtime;

use crate::{
    arrow::{Batches, export, schema},
    error::raise,
    runtime::{OfProcess, is_main_thread, runtime, until_signal, wait},
};

/// How often progress is told while rows come.
const TELL: Duration = Duration::from_millis(100);

/// A job whose rows are taken once. Dropping it cancels it.
#[pyclass(frozen, module = "keyloom._keyloom")]
pub(crate) struct Job {
    schema: SchemaRef,
    /// Nothing while a call waits for it, and once it was given away or has failed.
    job: OfProcess<Mutex<Option<keyloom_client::Job>>>,
}

impl Job {
    pub(crate) fn new(job: keyloom_client::Job) -> Self {
        let schema = Arc::clone(job.schema());
        Self { schema, job: OfProcess::new(Mutex::new(Some(job))) }
    }

    fn take(&self) -> PyResult<keyloom_client::Job> {
        let job = self.job.get().map_err(raise)?;
        let mut job = job.lock().unwrap_or_else(PoisonError::into_inner);
        job.take().ok_or_else(|| raise(Error::invalid("the rows of this job were taken")))
    }

    fn put_back(&self, taken: keyloom_client::Job) -> PyResult<()> {
        let job = self.job.get().map_err(raise)?;
        *job.lock().unwrap_or_else(PoisonError::into_inner) = Some(taken);
        Ok(())
    }
}

#[pymethods]
impl Job {
    fn schema<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        schema(py, &self.schema)
    }

    /// Takes all rows. `progress` is called now and then with rows, tasks done, tasks, workers, and
    /// the same part by part, with the share of the whole that is done.
    #[pyo3(signature = (progress))]
    fn collect(&self, py: Python<'_>, progress: Option<Py<PyAny>>) -> PyResult<Batches> {
        let (mut job, mut batches) = (self.take()?, Vec::new());
        let (telling, mut furthest) = (progress.is_some(), Furthest::default());
        while !wait(py, async {
            collect_a_while(&mut job, &mut batches, telling).await.map_err(raise)
        })? {
            if let Some(progress) = &progress {
                let JobStatus { tasks, tasks_done, workers } = job.status();
                let parts = of_parts(py, job.progress())?;
                let share = furthest.seen(Share::of_job(job.status(), job.progress()));
                parts.set_item("share", share.done())?;
                progress.call1(py, (job.rows(), tasks_done, tasks, workers, parts))?;
            }
        }
        self.put_back(job)?;
        Ok(Batches { schema: Arc::clone(&self.schema), batches })
    }

    /// The next rows; none after the last.
    fn next(&self, py: Python<'_>) -> PyResult<Option<Batches>> {
        let mut job = self.take()?;
        let (job, batch) = wait(py, async move {
            let batch = job.next_batch().await.map_err(raise)?;
            Ok((job, batch))
        })?;
        self.put_back(job)?;
        let batches = |batch| Batches { schema: Arc::clone(&self.schema), batches: vec![batch] };
        Ok(batch.map(batches))
    }

    /// What the job did, once all rows have come.
    fn summary<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyDict>>> {
        let job = self.take()?;
        let summary = job.summary().map(|summary| {
            let entry = PyDict::new(py);
            entry.set_item("rows", summary.rows)?;
            entry.set_item("tasks", summary.tasks)?;
            entry.set_item("workers", summary.workers)?;
            entry.set_item("plan", &summary.plan)?;
            let stores = PyDict::new(py);
            for (alias, stats) in &summary.stores {
                stores.set_item(alias, of_store(py, stats)?)?;
            }
            entry.set_item("stores", stores)?;
            Ok(entry)
        });
        self.put_back(job)?;
        summary.transpose()
    }

    /// The rows that missed their keys, and how many more there was no room for, once all rows have
    /// come. Taken once; none are there if the job was not to keep them.
    fn missed(&self) -> PyResult<Option<(Batches, u64)>> {
        let mut job = self.take()?;
        let left_out = job.summary().map(|summary| summary.missed_left_out);
        let missed = left_out.map(|left_out| {
            (Batches { schema: missed_schema(), batches: job.take_missed() }, left_out)
        });
        self.put_back(job)?;
        Ok(missed)
    }

    /// The rows as a stream, which takes them as they come.
    fn __arrow_c_stream__<'py>(
        &self,
        py: Python<'py>,
        requested_schema: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyCapsule>> {
        drop(requested_schema);
        let reader = Reader {
            job: OfProcess::new(self.take()?),
            schema: Arc::clone(&self.schema),
            runtime: runtime().map_err(raise)?,
            hears: is_main_thread(py)?.then(|| std::thread::current().id()),
        };
        export(py, Box::new(reader))
    }
}

impl fmt::Debug for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Job").field("schema", &self.schema).finish_non_exhaustive()
    }
}

/// How far the parts of a job are.
fn of_parts<'py>(py: Python<'py>, progress: &JobProgress) -> PyResult<Bound<'py, PyDict>> {
    let mut stages = Vec::new();
    for stage in &progress.stages {
        let entry = PyDict::new(py);
        entry.set_item("stage", stage.stage)?;
        entry.set_item("work", stage.work.name())?;
        entry.set_item("tasks", stage.tasks)?;
        entry.set_item("tasks_done", stage.tasks_done)?;
        entry.set_item("rows", stage.rows)?;
        entry.set_item("bytes", stage.bytes)?;
        stages.push(entry);
    }
    let stores = PyDict::new(py);
    for (alias, store) in &progress.stores {
        let entry = PyDict::new(py);
        entry.set_item("keys", store.keys)?;
        entry.set_item("hits", store.hits)?;
        entry.set_item("misses", store.misses)?;
        stores.set_item(alias, entry)?;
    }
    let parts = PyDict::new(py);
    parts.set_item("rows", progress.rows())?;
    parts.set_item("stages", stages)?;
    parts.set_item("stores", stores)?;
    parts.set_item("left_out", progress.left_out)?;
    Ok(parts)
}

/// What a job counted for a store.
fn of_store<'py>(py: Python<'py>, stats: &StoreStats) -> PyResult<Bound<'py, PyDict>> {
    let entry = PyDict::new(py);
    entry.set_item("keys", stats.keys)?;
    entry.set_item("requests", stats.requests)?;
    entry.set_item("bytes", stats.bytes)?;
    entry.set_item("job_keys", stats.job_keys)?;
    entry.set_item("missed_rows", stats.missed_rows)?;
    entry.set_item("missed_keys", stats.missed_keys)?;
    entry.set_item("is_about", stats.is_about)?;
    Ok(entry)
}

/// Takes rows, and says whether these were the last: if not, there is progress to be told.
async fn collect_a_while(
    job: &mut keyloom_client::Job,
    batches: &mut Vec<RecordBatch>,
    telling: bool,
) -> Result<bool, Error> {
    let since = Instant::now();
    loop {
        match job.next_update().await? {
            JobUpdate::Done => return Ok(true),
            JobUpdate::Batch(batch) => batches.push(batch),
            JobUpdate::Pending(_) if telling => return Ok(false),
            JobUpdate::Pending(_) => {}
        }
        if telling && since.elapsed() >= TELL {
            return Ok(false);
        }
    }
}

/// A job's rows for other libraries, which call it on threads of theirs.
struct Reader {
    job: OfProcess<keyloom_client::Job>,
    schema: SchemaRef,
    runtime: Arc<Runtime>,
    /// The main thread, if it made this: it alone looks for signals, whether its caller holds the
    /// GIL meanwhile or not.
    hears: Option<ThreadId>,
}

impl Reader {
    fn read(&mut self) -> Result<Option<RecordBatch>, Error> {
        let job = self.job.get_mut()?;
        if self.hears != Some(std::thread::current().id()) {
            return self.runtime.block_on(job.next_batch());
        }
        until_signal(&self.runtime, job.next_batch()).unwrap_or_else(|signal| {
            Python::attach(|py| signal_again(py, &signal));
            Err(Error::cancelled("interrupted"))
        })
    }
}

/// Lets Python find a Ctrl-C once the library that reads has returned to it. What a handler of
/// another signal has raised cannot be carried through, and is told.
fn signal_again(py: Python<'_>, signal: &PyErr) {
    let ctrl_c = signal.is_instance_of::<PyKeyboardInterrupt>(py);
    let again = || py.import("_thread")?.call_method0("interrupt_main");
    if !ctrl_c || again().is_err() {
        signal.clone_ref(py).write_unraisable(py, None);
    }
}

impl Iterator for Reader {
    type Item = Result<RecordBatch, ArrowError>;

    fn next(&mut self) -> Option<Self::Item> {
        let external = |error| ArrowError::ExternalError(Box::new(error));
        self.read().map_err(external).transpose()
    }
}

impl RecordBatchReader for Reader {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }
}
