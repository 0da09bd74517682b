//! Jobs: handed in, listed, told of, cancelled and resumed.

use std::sync::Arc;

use axum::{
    Extension,
    body::Bytes,
    extract::{State, rejection::BytesRejection},
    http::{
        HeaderMap, HeaderValue, StatusCode,
        header::{CONTENT_TYPE, LOCATION},
    },
    response::{IntoResponse, Response},
};
use keyloom_common::{JobId, rpc::Identity};
use keyloom_program::http::Refusal;

use super::{
    Api,
    document::{JobRefusals, Refusals},
    id::Id,
    internal, json,
    request::JobRequest,
    submit,
    view::{JobView, JobsView, LogView},
};

/// Hand in a job
///
/// It is planned before this answers, and what is wrong with it is said at once. Then it runs by
/// itself: ask for it at its `Location` until its state is `done`, `failed`, `cancelled` or
/// `interrupted`. With an `id` that is drawn before, it can be handed in again after an answer was
/// lost.
#[utoipa::path(
    post,
    path = "/v1/jobs",
    tag = "jobs",
    request_body = JobRequest,
    responses(
        (status = 202, description = "The job was taken, or was before.", body = JobView, headers(
            ("Location" = String, description = "Where to ask for the job.")
        )),
        Refusals,
        JobRefusals,
    )
)]
pub(super) async fn submit_job(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Identity>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Refusal> {
    let request = JobRequest::read(&headers, body)?;
    let (info, warnings) = submit::submit(api, caller, request).await?;
    let place = format!("/v1/jobs/{}", info.id);
    let told = JobView::from(info).with_warnings(warnings);
    let mut answer = json(StatusCode::ACCEPTED, &told);
    let place = HeaderValue::try_from(place).map_err(|error| internal(&error))?;
    answer.headers_mut().insert(LOCATION, place);
    Ok(answer)
}

/// List jobs
///
/// Those that the coordinator knows and that whoever asks may see, the newest first.
#[utoipa::path(
    get,
    path = "/v1/jobs",
    tag = "jobs",
    responses((status = 200, description = "The jobs.", body = JobsView), Refusals)
)]
pub(super) async fn list_jobs(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Identity>,
) -> Result<Response, Refusal> {
    let jobs = api.session(&caller)?.jobs().await?;
    Ok(json(StatusCode::OK, &JobsView::from(jobs)))
}

/// Ask for a job
#[utoipa::path(
    get,
    path = "/v1/jobs/{id}",
    tag = "jobs",
    params(("id" = String, Path, format = "uuid", description = "The job's id.")),
    responses((status = 200, description = "What is known of it.", body = JobView), Refusals)
)]
pub(super) async fn show_job(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Identity>,
    Id(id): Id<JobId>,
) -> Result<Response, Refusal> {
    let info = api.session(&caller)?.job(id).await?;
    Ok(json(StatusCode::OK, &JobView::from(info)))
}

/// Ask what happened to a job
///
/// In order, with times: when it was handed in and by whom, when its stages began and ended, what
/// went wrong on the way, and how it ended.
#[utoipa::path(
    get,
    path = "/v1/jobs/{id}/logs",
    tag = "jobs",
    params(("id" = String, Path, format = "uuid", description = "The job's id.")),
    responses((status = 200, description = "What happened to it.", body = LogView), Refusals)
)]
pub(super) async fn read_logs(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Identity>,
    Id(id): Id<JobId>,
) -> Result<Response, Refusal> {
    let session = api.session(&caller)?;
    let log = session.attach_job(id).await?.logs().await?;
    Ok(json(StatusCode::OK, &LogView::from(log)))
}

/// Cancel a job
///
/// What it has written goes. One that is done stays as it is, but rows that wait for it to be read
/// go.
#[utoipa::path(
    delete,
    path = "/v1/jobs/{id}",
    tag = "jobs",
    params(("id" = String, Path, format = "uuid", description = "The job's id.")),
    responses((status = 204, description = "It ends."), Refusals)
)]
pub(super) async fn cancel_job(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Identity>,
    Id(id): Id<JobId>,
) -> Result<Response, Refusal> {
    let session = api.session(&caller)?;
    session.attach_job(id).await?.cancel().await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Resume a job
///
/// Goes on with a job that has an output and ended before that was committed. One that runs stays
/// as it is.
#[utoipa::path(
    post,
    path = "/v1/jobs/{id}/resume",
    tag = "jobs",
    params(("id" = String, Path, format = "uuid", description = "The job's id.")),
    responses((status = 202, description = "It goes on.", body = JobView), Refusals)
)]
pub(super) async fn resume_job(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Identity>,
    Id(id): Id<JobId>,
) -> Result<Response, Refusal> {
    let session = api.session(&caller)?;
    let job = session.attach_job(id).await?;
    job.resume().await?;
    Ok(json(StatusCode::ACCEPTED, &JobView::from(job.info().await?)))
}

/// Describe this API
#[utoipa::path(
    get,
    path = "/v1/openapi.json",
    operation_id = "describe_api",
    tag = "description",
    responses((
        status = 200, description = "This description.", body = serde_json::Value,
        content_type = "application/json"
    ), Refusals)
)]
pub(super) async fn describe(State(api): State<Arc<Api>>) -> Response {
    ([(CONTENT_TYPE, "application/json")], api.document.clone()).into_response()
}
