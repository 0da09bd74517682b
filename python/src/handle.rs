//! Jobs by their ids, from Python: handed in to go on by themselves, or found again.

use std::{
    fmt, mem,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use arrow::{array::RecordBatch, datatypes::Schema};
use datafusion::dataframe::DataFrame;
use keyloom_client::{JobId, JobOptions};
use keyloom_common::{
    Error, Result,
    described::Output,
    report::{JobInfo, LogLine},
    rpc::under,
};
use pyo3::{prelude::*, types::PyDict};
use serde::Deserialize;

use crate::{
    arrow::Batches,
    error::raise,
    runtime::{OfProcess, wait},
};

/// How a job is known and kept, by the names that the package gives.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Terms {
    name: Option<String>,
    detached: bool,
    resumes: bool,
    id: Option<String>,
}

impl Terms {
    /// How a job is run whose rows go there, or wait to be asked for.
    pub(crate) fn options(self, output: Option<Output>) -> Result<JobOptions> {
        let Self { name, detached, resumes, id } = self;
        let id = id.as_deref().map(str::parse::<JobId>).transpose()?;
        Ok(JobOptions { output, name, detached, resumes, id, ..JobOptions::default() })
    }
}

/// A job by its id. If it is not detached, dropping this cancels it.
#[pyclass(frozen, module = "keyloom._keyloom")]
pub(crate) struct JobHandle {
    handle: OfProcess<keyloom_client::JobHandle>,
    own: OfProcess<Mutex<Hold>>,
}

/// A job that is not detached, as far as its handle has it.
#[derive(Debug)]
enum Hold {
    /// It is detached or somebody else's, its rows were given away, or it has failed.
    Nothing,
    /// A call waits for it.
    Waited,
    Own(Box<Own>),
}

/// A job that is not detached, and what has come of it.
#[derive(Debug)]
struct Own {
    job: keyloom_client::Job,
    batches: Vec<RecordBatch>,
}

impl Own {
    /// Takes the rest of the rows: the job would wait for its client else.
    async fn finish(&mut self) -> Result<()> {
        while let Some(batch) = self.job.next_batch().await? {
            self.batches.push(batch);
        }
        Ok(())
    }
}

impl JobHandle {
    /// Hands a query in.
    pub(crate) async fn submit(
        session: keyloom_client::Session,
        query: DataFrame,
        options: JobOptions,
    ) -> Result<Self> {
        let detached = options.detached;
        let job = session.submit_with(query, options).await?;
        match detached {
            true => Ok(Self::new(job.detach()?, None)),
            false => {
                let handle = session.attach_job(job.id()).await?;
                Ok(Self::new(handle, Some(Own { job, batches: Vec::new() })))
            }
        }
    }

    /// A job that was handed in before.
    ///
    /// # Errors
    /// `not_found` if nobody knows it.
    pub(crate) async fn find(session: &keyloom_client::Session, id: &str) -> Result<Self> {
        Ok(Self::new(session.attach_job(id.parse()?).await?, None))
    }

    fn new(handle: keyloom_client::JobHandle, own: Option<Own>) -> Self {
        let own = own.map_or(Hold::Nothing, |own| Hold::Own(Box::new(own)));
        Self { handle: OfProcess::new(handle), own: OfProcess::new(Mutex::new(own)) }
    }

    fn get(&self) -> PyResult<&keyloom_client::JobHandle> {
        self.handle.get().map_err(raise)
    }

    /// Takes the job, if it is there, for a call that waits for it and then says what is left.
    fn take(&self) -> PyResult<Hold> {
        let own = self.own.get().map_err(raise)?;
        let mut own = own.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(match &*own {
            Hold::Nothing => Hold::Nothing,
            Hold::Waited => Hold::Waited,
            Hold::Own(_) => mem::replace(&mut *own, Hold::Waited),
        })
    }

    fn leave(&self, left: Option<Box<Own>>) -> PyResult<()> {
        let own = self.own.get().map_err(raise)?;
        *own.lock().unwrap_or_else(PoisonError::into_inner) = left.map_or(Hold::Nothing, Hold::Own);
        Ok(())
    }
}

#[pymethods]
impl JobHandle {
    #[getter]
    fn id(&self) -> PyResult<String> {
        Ok(self.get()?.id().to_string())
    }

    /// What is known of it.
    fn info<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let handle = self.get()?;
        let info = wait(py, async move { handle.info().await.map_err(raise) })?;
        told(py, &info)
    }

    /// What happened to it, in order.
    fn logs<'py>(&self, py: Python<'py>) -> PyResult<Vec<Bound<'py, PyDict>>> {
        let handle = self.get()?;
        let log = wait(py, async move { handle.logs().await.map_err(raise) })?;
        log.lines.iter().map(|line| told_of(py, line)).collect()
    }

    /// Waits until it has ended, and gives what is known of it then; nothing if it has not within so
    /// many seconds.
    #[pyo3(signature = (timeout))]
    fn wait<'py>(
        &self,
        py: Python<'py>,
        timeout: Option<f64>,
    ) -> PyResult<Option<Bound<'py, PyDict>>> {
        let bound = timeout.map(seconds).transpose().map_err(raise)?;
        let (handle, mut hold) = (self.get()?, self.take()?);
        let ended = wait(py, async {
            let ends = async {
                if let Hold::Own(own) = &mut hold {
                    own.finish().await?;
                }
                handle.wait().await
            };
            within(bound, ends).await.map_err(raise)
        });
        if let Hold::Own(own) = hold {
            self.leave(ended.is_ok().then_some(own))?;
        }
        let ended = ended?;
        ended.map(|info| told(py, &info)).transpose()
    }

    /// Stops it.
    fn cancel(&self, py: Python<'_>) -> PyResult<()> {
        let handle = self.get()?;
        wait(py, async move { handle.cancel().await.map_err(raise) })
    }

    /// Goes on with it.
    fn resume(&self, py: Python<'_>) -> PyResult<()> {
        let handle = self.get()?;
        wait(py, async move { handle.resume().await.map_err(raise) })
    }

    /// Takes its rows, once, when all of them are there. While another call waits for them, they
    /// are that call's.
    fn results(&self, py: Python<'_>) -> PyResult<Batches> {
        let handle = self.get()?;
        let mut own = match self.take()? {
            Hold::Own(own) => own,
            Hold::Nothing => return wait(py, async move { rows(handle).await.map_err(raise) }),
            Hold::Waited => {
                return Err(raise(Error::invalid(format!(
                    "another call waits for job {}; take its results when that has returned",
                    handle.id()
                ))));
            }
        };
        let own = wait(py, async move {
            own.finish().await.map_err(raise)?;
            Ok(own)
        });
        self.leave(None)?;
        let own = own?;
        Ok(Batches { schema: Arc::clone(own.job.schema()), batches: own.batches })
    }
}

impl fmt::Debug for JobHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JobHandle").field("handle", &self.handle).finish_non_exhaustive()
    }
}

/// The jobs that a session may see, the newest first, and how many others are left out.
pub(crate) fn list<'py>(
    py: Python<'py>,
    session: &keyloom_client::Session,
) -> PyResult<(Vec<Bound<'py, PyDict>>, u64)> {
    let list = wait(py, async move { session.jobs().await.map_err(raise) })?;
    let jobs = list.jobs.iter().map(|info| told(py, info)).collect::<PyResult<_>>()?;
    Ok((jobs, list.left_out))
}

/// The rows of a detached job, under one schema: its tasks may differ in what can be null.
async fn rows(handle: &keyloom_client::JobHandle) -> Result<Batches> {
    let mut job = handle.results().await?;
    let batches = job.collect().await?;
    let schema = batches.first().map_or_else(|| Arc::clone(job.schema()), RecordBatch::schema);
    if batches.iter().all(|batch| *batch.schema_ref() == schema) {
        return Ok(Batches { schema, batches });
    }
    let schemas = batches.iter().map(|batch| batch.schema_ref().as_ref().clone());
    let schema = Arc::new(Schema::try_merge(schemas)?);
    let batches = batches.into_iter().map(|batch| under(&schema, batch));
    Ok(Batches { batches: batches.collect::<Result<_>>()?, schema })
}

/// What comes of work, if it ends within a bound.
async fn within<T>(
    bound: Option<Duration>,
    work: impl Future<Output = Result<T>>,
) -> Result<Option<T>> {
    match bound {
        None => work.await.map(Some),
        Some(bound) => match tokio::time::timeout(bound, work).await {
            Ok(ended) => ended.map(Some),
            Err(_) => Ok(None),
        },
    }
}

fn seconds(timeout: f64) -> Result<Duration> {
    Duration::try_from_secs_f64(timeout).map_err(|_| {
        Error::invalid(format!("timeout is a number of seconds of at least 0, not {timeout}"))
    })
}

/// What is known of a job, by the names of `keyloom.JobInfo`. Times are in milliseconds since 1970.
fn told<'py>(py: Python<'py>, info: &JobInfo) -> PyResult<Bound<'py, PyDict>> {
    let entry = PyDict::new(py);
    entry.set_item("id", info.id.to_string())?;
    entry.set_item("name", info.name.as_deref())?;
    entry.set_item("statement", info.statement.as_deref())?;
    entry.set_item("owner", &info.owner)?;
    entry.set_item("state", info.state.name())?;
    entry.set_item("output", info.output.as_deref())?;
    entry.set_item("submitted", info.submitted_ms)?;
    entry.set_item("started", info.started_ms)?;
    entry.set_item("ended", info.ended_ms)?;
    let status = info.known_status();
    entry.set_item("tasks", status.map(|status| status.tasks))?;
    entry.set_item("tasks_done", status.map(|status| status.tasks_done))?;
    entry.set_item("workers", info.status.workers)?;
    entry.set_item("error", info.error.clone().map(|error| raise(error).into_value(py)))?;
    let written = info.committed.as_ref();
    let rows = written.map(|written| written.rows);
    let rows = rows.or_else(|| info.summary.as_ref().map(|summary| summary.rows));
    entry.set_item("rows", rows)?;
    let written =
        written.map(|written| (written.rows, written.bytes, written.files, written.version));
    entry.set_item("written", written)?;
    Ok(entry)
}

/// A line of a job's log, by the names of `keyloom.LogLine`.
fn told_of<'py>(py: Python<'py>, line: &LogLine) -> PyResult<Bound<'py, PyDict>> {
    let entry = PyDict::new(py);
    entry.set_item("number", line.number)?;
    entry.set_item("at", line.at_ms)?;
    entry.set_item("kind", line.kind.name())?;
    entry.set_item("text", &line.text)?;
    entry.set_item("stage", line.stage)?;
    entry.set_item("task", line.task)?;
    entry.set_item("worker", line.worker.as_deref())?;
    entry.set_item("left_out", line.left_out)?;
    Ok(entry)
}
