//! What stands in an answer and is written elsewhere, as the API's description has it. A test holds
//! that the words are the same.

#![allow(dead_code, reason = "the derived descriptions alone look at the fields")]

use std::collections::BTreeMap;

use utoipa::ToSchema;

/// What can be done about an error.
#[derive(ToSchema)]
#[schema(as = ErrorKind, rename_all = "snake_case")]
pub(super) enum ErrorKindDescribed {
    Invalid,
    NotFound,
    PermissionDenied,
    Store,
    Unavailable,
    Cancelled,
    Timeout,
    ResourceExhausted,
    Internal,
}

/// What may happen to a job.
#[derive(ToSchema)]
#[schema(as = LogKind, rename_all = "snake_case")]
pub(super) enum LogKindDescribed {
    Submitted,
    Queued,
    Started,
    StageBegun,
    StageDone,
    StageStopped,
    AttemptFailed,
    WorkerLost,
    Retried,
    NoWorker,
    Misses,
    Committing,
    Committed,
    Refused,
    Resumed,
    NotResumed,
    Interrupted,
    Cancelled,
    Done,
    Failed,
}

/// A row: an object with a member for each column.
#[derive(ToSchema)]
pub(super) struct Row {
    #[serde(flatten)]
    columns: BTreeMap<String, serde_json::Value>,
}

/// Rows as a stream of Arrow IPC.
#[derive(ToSchema)]
#[schema(value_type = String, format = Binary)]
pub(super) struct ArrowStream(Vec<u8>);
