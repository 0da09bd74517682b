//! The rows of a job without an output: streamed once, as they are decoded, so that there are never
//! more than a few batches of them in memory. What breaks on the way breaks the connection off:
//! no reader takes a part for the whole.

use std::sync::Arc;

use axum::{
    Extension,
    body::Body,
    extract::State,
    http::{Method, StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
};
use futures::{StreamExt, TryStreamExt, stream};
use keyloom_client::Job;
use keyloom_common::{
    Error, ErrorKind, JobId, Result,
    report::{JobInfo, JobState},
    rpc::Identity,
};
use keyloom_program::http::Refusal;
use tokio::time::{Instant, timeout_at};

use super::{
    Api,
    document::Refusals,
    id::Id,
    told::{ArrowStream, Row},
    writer::{RowsFormat, Writer},
};

/// Read a job's rows
///
/// Those of a job that is done and has no output. They are there once, and for a while.
#[utoipa::path(
    get,
    path = "/v1/jobs/{id}/results",
    tag = "jobs",
    params(("id" = String, Path, format = "uuid", description = "The job's id.")),
    responses((status = 200, description = "The rows, in order.", body = Vec<Row>), Refusals)
)]
pub(super) async fn read_rows(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Identity>,
    Id(id): Id<JobId>,
    method: Method,
) -> Result<Response, Refusal> {
    read(&api, &caller, id, &method, RowsFormat::Json).await
}

/// Read a job's rows as CSV
///
/// Those of a job that is done and has no output, below a line with the columns' names. They are
/// there once, and for a while.
#[utoipa::path(
    get,
    path = "/v1/jobs/{id}/results.csv",
    tag = "jobs",
    params(("id" = String, Path, format = "uuid", description = "The job's id.")),
    responses(
        (
            status = 200, description = "The rows, in order.", body = String,
            content_type = "text/csv"
        ),
        Refusals,
    )
)]
pub(super) async fn read_rows_as_csv(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Identity>,
    Id(id): Id<JobId>,
    method: Method,
) -> Result<Response, Refusal> {
    read(&api, &caller, id, &method, RowsFormat::Csv).await
}

/// Read a job's rows as Arrow
///
/// Those of a job that is done and has no output, as a stream of Arrow IPC. They are there once,
/// and for a while.
#[utoipa::path(
    get,
    path = "/v1/jobs/{id}/results.arrow",
    tag = "jobs",
    params(("id" = String, Path, format = "uuid", description = "The job's id.")),
    responses(
        (
            status = 200, description = "The rows, in order.", body = ArrowStream,
            content_type = "application/vnd.apache.arrow.stream"
        ),
        Refusals,
    )
)]
pub(super) async fn read_rows_as_arrow(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Identity>,
    Id(id): Id<JobId>,
    method: Method,
) -> Result<Response, Refusal> {
    read(&api, &caller, id, &method, RowsFormat::Arrow).await
}

/// Answers with the rows of a job.
async fn read(
    api: &Api,
    caller: &Identity,
    id: JobId,
    method: &Method,
    format: RowsFormat,
) -> Result<Response, Refusal> {
    // It is answered by whatever answers GET, and would take rows that nobody gets.
    if *method == Method::HEAD {
        let message = "rows are there once: ask for them by GET";
        return Err(Refusal::new(StatusCode::METHOD_NOT_ALLOWED, ErrorKind::Invalid, message));
    }
    let session = api.session(caller)?;
    let job = session.attach_job(id).await?;
    check(&job.info().await?)?;
    let job = job.results().await?;
    let deadline = Instant::now() + api.settings.results_timeout();
    let writer = Writer::try_new(format, job.schema())?;
    let mut rows = Rows { job, writer, deadline, is_over: false };
    // What is wrong from the beginning has a status.
    let first = rows.piece().await?;
    let rest = stream::try_unfold(rows, async |mut rows| {
        Ok::<_, Error>(rows.piece().await?.map(|piece| (piece, rows)))
    });
    let rest = rest.inspect_err(|error| tracing::warn!(%error, "rows over HTTP were broken off"));
    let body = Body::from_stream(stream::iter(first.map(Ok::<_, Error>)).chain(rest));
    Ok(([(CONTENT_TYPE, format.media_type())], body).into_response())
}

/// Refuses to read the rows of a job that has none, or does not have all of them yet.
fn check(job: &JobInfo) -> Result<(), Refusal> {
    let id = job.id;
    let conflict =
        |message: String| Err(Refusal::new(StatusCode::CONFLICT, ErrorKind::Invalid, message));
    if let Some(output) = &job.output {
        return conflict(format!("the rows of job {id} are in {output}"));
    }
    match job.state {
        JobState::Done => Ok(()),
        JobState::Queued | JobState::Running => {
            conflict(format!("job {id} is {}: ask for its rows once it is done", job.state.name()))
        }
        JobState::Failed | JobState::Cancelled | JobState::Interrupted => {
            let why = job.error.as_ref().map(|error| format!(": {}", error.message()));
            let why = why.unwrap_or_default();
            conflict(format!("job {id} has no rows, it is {}{why}", job.state.name()))
        }
    }
}

/// Rows on their way.
struct Rows {
    job: Job,
    writer: Writer,
    deadline: Instant,
    is_over: bool,
}

impl Rows {
    /// The next piece of the text or the stream.
    async fn piece(&mut self) -> Result<Option<Vec<u8>>> {
        while !self.is_over {
            let batch = timeout_at(self.deadline, self.job.next_batch()).await;
            let batch = batch.map_err(|_| {
                Error::timeout("the rows were not read in http_jobs.results_timeout_ms")
            })?;
            let piece = match batch? {
                Some(batch) => self.writer.batch(batch)?,
                None => {
                    self.is_over = true;
                    self.writer.end()?
                }
            };
            if !piece.is_empty() {
                return Ok(Some(piece));
            }
        }
        Ok(None)
    }
}
