//! What stands in an answer and is written elsewhere, as the API's description has it.

#![allow(dead_code, reason = "the derived descriptions alone look at the fields")]

use std::collections::BTreeMap;

use utoipa::ToSchema;

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
