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
use tokio::time::timeout;

use super::{Told, guard::Guard};

/// The format of what is counted.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What there is to be asked for.
const PATHS: &str = "/healthz, /readyz, /metrics";

/// What tells, and to whom.
#[derive(Debug)]
pub(super) struct App<T> {
    pub(super) told: T,
    pub(super) guard: Guard,
    /// How long an answer may take.
    pub(super) timeout: Duration,
}

pub(super) fn router<T: Told>(app: Arc<App<T>>) -> Router {
    Router::new()
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz::<T>))
        .route("/metrics", get(metrics::<T>))
        .fallback(unknown)
        .layer(from_fn_with_state(Arc::clone(&app), checked::<T>))
        .with_state(app)
}

/// Passes on what is asked of this machine, and waits only so long for the answer.
async fn checked<T: Told>(
    State(app): State<Arc<App<T>>>,
    request: Request,
    next: Next,
) -> Response {
    if let Err(refused) = app.guard.check_host(request.headers()) {
        return (StatusCode::FORBIDDEN, refused).into_response();
    }
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

async fn unknown() -> (StatusCode, String) {
    (StatusCode::NOT_FOUND, format!("there is no such path; there are {PATHS}\n"))
}
