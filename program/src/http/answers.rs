//! What is answered to whom.

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    extract::{Request, State},
    http::{
        HeaderMap, StatusCode,
        header::{CONTENT_TYPE, WWW_AUTHENTICATE},
    },
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse, Response},
    routing::get,
};
use keyloom_common::ErrorKind;
use tokio::time::timeout;

use super::{Told, guard::Guard, refusal::Refusal};

/// The format of what is counted.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What there is to be asked for, and where jobs are taken.
const PATHS: &str = "/healthz, /readyz, /metrics";
const PATHS_WITH_PAGES: &str = "/healthz, /readyz, /metrics, /v1/openapi.json";

/// How the paths begin of jobs.
const JOBS: &str = "/v1/";

/// What tells, and to whom.
#[derive(Debug)]
pub(super) struct App<T> {
    pub(super) told: T,
    pub(super) guard: Guard,
    /// How long an answer may take.
    pub(super) timeout: Duration,
}

/// What the daemon tells of itself, and its pages, if it has some.
pub(super) fn router<T: Told>(app: Arc<App<T>>, pages: Option<Router>) -> Router {
    let paths = if pages.is_some() { PATHS_WITH_PAGES } else { PATHS };
    let own: Router = Router::new()
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz::<T>))
        .route("/metrics", get(metrics::<T>))
        .fallback(move || async move { unknown(paths) })
        .layer(from_fn_with_state(Arc::clone(&app), in_time::<T>))
        .with_state(Arc::clone(&app));
    let all = match pages {
        Some(pages) => own.merge(pages),
        None => own,
    };
    all.layer(from_fn_with_state(app, of_this_machine::<T>))
}

/// Passes on what is asked of this machine.
async fn of_this_machine<T: Told>(
    State(app): State<Arc<App<T>>>,
    request: Request,
    next: Next,
) -> Response {
    match app.guard.check_host(request.headers()) {
        Ok(()) => next.run(request).await,
        // Whoever asks for jobs reads JSON, whatever is answered.
        Err(refused) if request.uri().path().starts_with(JOBS) => {
            Refusal::new(StatusCode::FORBIDDEN, ErrorKind::PermissionDenied, refused.trim_end())
                .into_response()
        }
        Err(refused) => (StatusCode::FORBIDDEN, refused).into_response(),
    }
}

/// Waits only so long for the answer.
async fn in_time<T: Told>(
    State(app): State<Arc<App<T>>>,
    request: Request,
    next: Next,
) -> Response {
    let answer = timeout(app.timeout, next.run(request)).await;
    answer.unwrap_or_else(|_| {
        let late = format!("no answer in {:?}, the setting http.request_timeout_ms\n", app.timeout);
        (StatusCode::SERVICE_UNAVAILABLE, late).into_response()
    })
}

async fn healthz() -> &'static str {
    "lives\n"
}

async fn readyz<T: Told>(State(app): State<Arc<App<T>>>) -> Response {
    match app.told.ready() {
        Ok(()) => "ready\n".into_response(),
        Err(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")).into_response(),
    }
}

async fn metrics<T: Told>(State(app): State<Arc<App<T>>>, headers: HeaderMap) -> Response {
    if let Err(refused) = app.guard.check_token(&headers) {
        let asks = [(WWW_AUTHENTICATE, "Bearer")];
        return (StatusCode::UNAUTHORIZED, asks, refused).into_response();
    }
    ([(CONTENT_TYPE, OPEN_METRICS)], app.told.metrics().await).into_response()
}

fn unknown(paths: &str) -> (StatusCode, String) {
    (StatusCode::NOT_FOUND, format!("there is no such path; there are {paths}\n"))
}
