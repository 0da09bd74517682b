//! Workers: listed, and told to drain.

use std::sync::Arc;

use axum::{
    Extension,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use keyloom_common::{WorkerId, rpc::Identity};
use keyloom_program::http::Refusal;

use super::{Api, document::Refusals, id::Id, json, view::WorkersView};

/// List workers
#[utoipa::path(
    get,
    path = "/v1/workers",
    tag = "workers",
    responses(
        (status = 200, description = "The workers that are registered.", body = WorkersView),
        Refusals,
    )
)]
pub(super) async fn list_workers(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Identity>,
) -> Result<Response, Refusal> {
    let workers = api.session(&caller)?.workers().await?;
    Ok(json(StatusCode::OK, &WorkersView::from(workers)))
}

/// Drain a worker
///
/// It ends what it runs, takes no more, and goes. Operators may.
#[utoipa::path(
    post,
    path = "/v1/workers/{id}/drain",
    tag = "workers",
    params(("id" = String, Path, format = "uuid", description = "The worker's id.")),
    responses((status = 204, description = "It has been told."), Refusals)
)]
pub(super) async fn drain_worker(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Identity>,
    Id(id): Id<WorkerId>,
) -> Result<Response, Refusal> {
    api.session(&caller)?.drain_worker(id).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}
