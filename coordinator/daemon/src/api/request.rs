//! A job as it is handed in: what a job file says, as JSON.

use std::{collections::BTreeMap, iter};

use axum::{
    body::Bytes,
    extract::rejection::BytesRejection,
    http::{HeaderMap, StatusCode, header::CONTENT_TYPE},
};
use keyloom_client::{Input, JobId, MaxMisses};
use keyloom_common::{
    Error, ErrorKind, Result,
    described::{Output, Store, check_absolute},
    group_keys::GroupKeys,
    shuffle::{Shuffle, ShuffleChoice},
    store::JoinPath,
};
use keyloom_program::http::Refusal;
use serde::Deserialize;
use serde_json::Value;
use toml::Table;
use utoipa::ToSchema;

use super::{
    described::{InputDescribed, MissesDescribed, OutputDescribed, StoreDescribed, ValueDescribed},
    words::{GroupKeysDescribed, JoinDescribed, ShuffleDescribed},
};

/// A job: what it reads and looks up, its statement, and where its rows go. The names are those of
/// job files. Nothing is relative to a folder: paths are absolute ones or URIs.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct JobRequest {
    /// The statement. Files in it, as `FROM '/data/items.parquet'`, have absolute paths.
    pub(super) sql: String,
    /// Inputs by the table's name.
    #[serde(default)]
    #[schema(value_type = BTreeMap<String, InputDescribed>)]
    pub(super) inputs: BTreeMap<String, Input>,
    /// Stores by alias.
    #[serde(default)]
    #[schema(value_type = BTreeMap<String, StoreDescribed>)]
    pub(super) stores: BTreeMap<String, Table>,
    /// The store of calls without a source. Default the only one, if there is one.
    pub(super) current_store: Option<String>,
    /// How the statement's joins with stores are made. Default by cost.
    #[schema(value_type = Option<JoinDescribed>)]
    pub(super) join_path: Option<JoinPath>,
    /// Whether workers shuffle rows among themselves, for groups, joins and windows. Default never.
    #[schema(value_type = Option<ShuffleDescribed>)]
    pub(super) shuffle: Option<Shuffle>,
    /// How many rows the largest input has at least where `shuffle` = `auto` shuffles.
    pub(super) shuffle_min_rows: Option<u64>,
    /// Into how many parts each worker's rows are shuffled.
    pub(super) shuffle_partitions: Option<usize>,
    /// Whether rows are grouped by their keys below the lookups of what they are grouped by.
    /// Default auto.
    #[schema(value_type = Option<GroupKeysDescribed>)]
    pub(super) group_keys: Option<GroupKeys>,
    /// Values of the statement's placeholders: `$day` is the value called `day`.
    #[serde(default)]
    #[schema(value_type = BTreeMap<String, ValueDescribed>)]
    pub(super) params: BTreeMap<String, Value>,
    /// Where workers write the rows. Without it they wait to be read, once, at
    /// `/v1/jobs/{id}/results`.
    #[schema(value_type = Option<OutputDescribed>)]
    pub(super) output: Option<Output>,
    /// The most rows, for each store, that may miss their keys where that gives null: a number, or
    /// a share as `1%`. Default as many as there are.
    #[schema(value_type = Option<MissesDescribed>)]
    pub(super) max_misses: Option<MaxMisses>,
    /// A name that people know it by.
    pub(super) name: Option<String>,
    /// The job's id, a UUID: handed in again, it does not run twice. Default a fresh one.
    #[schema(value_type = Option<String>, format = "uuid")]
    pub(super) id: Option<JobId>,
    /// Whether it goes on by itself when the coordinator was restarted. Only a job with an output
    /// can.
    #[serde(default)]
    pub(super) resumes: bool,
}

impl JobRequest {
    /// Reads a request.
    ///
    /// # Errors
    /// 413 if it is too large, 415 if it does not say that it is JSON, and 400 for what is wrong in
    /// it.
    pub(super) fn read(
        headers: &HeaderMap,
        body: Result<Bytes, BytesRejection>,
    ) -> Result<Self, Refusal> {
        let body = body.map_err(|error| {
            let kind = match error.status() {
                StatusCode::PAYLOAD_TOO_LARGE => ErrorKind::ResourceExhausted,
                _ => ErrorKind::Invalid,
            };
            let message = format!("{}; http_jobs.body_bytes is the most", error.body_text());
            Refusal::new(error.status(), kind, message)
        })?;
        if !is_json(headers) {
            let message = "a job is JSON: Content-Type: application/json";
            let status = StatusCode::UNSUPPORTED_MEDIA_TYPE;
            return Err(Refusal::new(status, ErrorKind::Invalid, message));
        }
        check_objects(&body)?;
        let read = serde_json::from_slice(&body);
        let request: Self =
            read.map_err(|error| Error::invalid(format!("the job: {error}{}", about_null(&body))))?;
        request.check_paths()?;
        Ok(request)
    }

    /// Refuses paths that lead elsewhere from another folder.
    fn check_paths(&self) -> Result<()> {
        for (name, input) in &self.inputs {
            check_absolute("path", &input.path)
                .map_err(|error| error.context(format!("inputs.{name}")))?;
        }
        let Some(output) = &self.output else { return Ok(()) };
        let checked = check_absolute("path", &output.path);
        let checked = checked.and_then(|()| output.spec().map(drop));
        checked.map_err(|error| error.context("output"))
    }

    /// The stores by alias.
    ///
    /// # Errors
    /// `invalid`, naming the alias, if something is wrong with one.
    pub(super) fn stores(&self) -> Result<BTreeMap<String, Store>> {
        let read = |(alias, options): (&String, &Table)| {
            let store = Store::read(options.clone()).map_err(Error::invalid);
            let checked = store.and_then(|store| {
                match &store {
                    Store::Lance(options) => check_absolute("uri", &options.uri),
                    Store::Memory { input, .. } => check_absolute("path", &input.path),
                    // Where it is need not be a path.
                    Store::Other(_) => Ok(()),
                }
                .map(|()| store)
            });
            let store = checked.map_err(|error| error.context(format!("stores.{alias}")))?;
            Ok((alias.clone(), store))
        };
        self.stores.iter().map(read).collect()
    }

    /// What it says of shuffles.
    pub(super) fn shuffle(&self) -> ShuffleChoice {
        ShuffleChoice {
            shuffle: self.shuffle,
            min_rows: self.shuffle_min_rows,
            partitions: self.shuffle_partitions,
        }
    }

    /// The values of placeholders, as text.
    ///
    /// # Errors
    /// `invalid`, naming the parameter, if one is no plain value, or not in the statement.
    pub(super) fn values(&self) -> Result<BTreeMap<String, String>> {
        let named = keyloom_client::placeholders(&self.sql);
        let read = |(name, value): (&String, &Value)| {
            if !named.contains(name) {
                return Err(Error::invalid(format!(
                    "parameter '{name}' is not used: the statement has no ${name}"
                )));
            }
            let text = match value {
                Value::String(text) => text.clone(),
                Value::Number(number) => number.to_string(),
                Value::Bool(yes) => yes.to_string(),
                Value::Null | Value::Array(_) | Value::Object(_) => {
                    return Err(Error::invalid(format!(
                        "parameter '{name}' is text, a number, true or false"
                    )));
                }
            };
            Ok((name.clone(), text))
        };
        self.params.iter().map(read).collect()
    }
}

/// Refuses arrays where objects belong: serde reads them as the members in order.
fn check_objects(body: &[u8]) -> Result<()> {
    // What is no JSON is refused where it is read.
    let Ok(job) = serde_json::from_slice::<Value>(body) else { return Ok(()) };
    let inputs = job.get("inputs").and_then(Value::as_object).into_iter().flatten();
    let inputs = inputs.map(|(name, input)| (format!("inputs.{name}"), input));
    let output = job.get("output").map(|output| ("output".to_owned(), output));
    let mut objects = iter::once(("the job".to_owned(), &job)).chain(inputs).chain(output);
    match objects.find(|(_, value)| value.is_array()) {
        Some((what, _)) => Err(Error::invalid(format!("{what} is an object, and no array"))),
        None => Ok(()),
    }
}

/// What helps those who send null for what is not given, as some generated clients do.
fn about_null(body: &[u8]) -> &'static str {
    match serde_json::from_slice(body) {
        Ok(job) if holds_null(&job) => "; what is not given is left out, it is not null",
        _ => "",
    }
}

fn holds_null(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.iter().any(holds_null),
        Value::Object(members) => members.values().any(holds_null),
        Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let shown = headers.get(CONTENT_TYPE).and_then(|shown| shown.to_str().ok());
    let kind = shown.and_then(|shown| shown.split(';').next()).unwrap_or_default().trim();
    kind.eq_ignore_ascii_case("application/json")
}
