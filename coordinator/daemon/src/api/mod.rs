//! Jobs over HTTP: handed in, told of, cancelled and resumed as JSON, for programs that have no
//! client of ours, as schedulers of workflows.
//!
//! Whoever asks has a session for the request, within this process and with its own rights: what it
//! may do is decided where all that clients ask is decided. A job that comes by here is detached.
//! In reading order: [`request`] is what is handed in, [`described`] what stands in it; [`submit`]
//! plans it; [`view`] is what is told, and [`told`] what stands in it; [`words`] are choices in all
//! of these; [`writer`] makes bytes of rows; [`query`] refuses parameters; [`id`] says which job or
//! worker is meant; [`jobs`], [`workers`] and [`rows`] answer; [`document`] describes all of it, by
//! the rule of [`members`].

mod described;
mod document;
mod id;
mod jobs;
mod members;
mod query;
mod request;
mod rows;
mod submit;
#[cfg(test)]
mod tests;
mod told;
mod view;
mod words;
mod workers;
mod writer;

use std::{fmt, sync::Arc};

use anyhow::{Context, Result};
use axum::{
    Router,
    http::{StatusCode, header::CONTENT_TYPE},
    middleware::from_fn,
    response::{IntoResponse, Response},
    routing::any,
};
use keyloom_client::{Session, Settings as SessionSettings};
use keyloom_common::{ErrorKind, background::Background, http::HttpJobsSettings, rpc::Identity};
use keyloom_coordinator::Local;
use keyloom_program::http::{Pages, Refusal};
use serde::Serialize;

/// Threads that plan: those of the coordinator have workers to listen to.
const PLANNING_THREADS: usize = 2;

/// What is answered with.
#[derive(Debug)]
struct Api {
    local: Local,
    background: Arc<Background>,
    settings: HttpJobsSettings,
    /// The description of all this.
    document: String,
}

impl Api {
    /// A session for a request of somebody.
    fn session(&self, caller: &Identity) -> keyloom_common::Result<Session> {
        let (local, caller) = (self.local.clone(), caller.clone());
        let dial = move || local.client_as(caller.clone());
        Session::near(dial, Arc::clone(&self.background), SessionSettings::default())
    }
}

/// The pages of a coordinator in this process. `insecure` says whether strangers may ask, where
/// they reach the port and nothing says who they are.
pub(crate) fn pages(local: Local, settings: HttpJobsSettings, insecure: bool) -> Result<Pages> {
    let (router, document) = document::routes().split_for_parts();
    let document = document.to_pretty_json().context("the description of the HTTP API")?;
    let background = Arc::new(Background::start("keyloom-http", PLANNING_THREADS)?);
    let api = Api { local, background, settings: settings.clone(), document };
    let router: Router = router
        .method_not_allowed_fallback(wrong_method)
        .route_layer(from_fn(query::without))
        .route("/v1/{*rest}", any(unknown))
        .with_state(Arc::new(api));
    Ok(Pages { router, settings, insecure })
}

async fn wrong_method() -> Refusal {
    let message = "this path is not asked so: GET /v1/openapi.json describes what there is";
    Refusal::new(StatusCode::METHOD_NOT_ALLOWED, ErrorKind::Invalid, message)
}

async fn unknown() -> Refusal {
    let message = "there is no such path: GET /v1/openapi.json describes what there is";
    Refusal::new(StatusCode::NOT_FOUND, ErrorKind::NotFound, message)
}

/// An answer as JSON.
fn json(status: StatusCode, answer: &impl Serialize) -> Response {
    match serde_json::to_string(answer) {
        Ok(text) => {
            (status, [(CONTENT_TYPE, "application/json")], format!("{text}\n")).into_response()
        }
        Err(error) => internal(&error).into_response(),
    }
}

fn internal(error: &dyn fmt::Display) -> Refusal {
    let message = format!("the answer cannot be written: {error}");
    Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, ErrorKind::Internal, message)
}
