//! An output that a worker has looked at.

use arrow::datatypes::SchemaRef;
use serde::{Deserialize, Serialize};

use super::OutputSpec;
use crate::ipc;

/// An output that can be written, as far as a worker could tell before. What it was like is looked
/// at once more when it is committed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PreparedOutput {
    /// What was asked for.
    pub spec: OutputSpec,
    /// The columns of the rows that are written.
    #[serde(with = "ipc::schema_serde")]
    pub schema: SchemaRef,
    /// The version of the Lance dataset that is written to; absent where there is none yet, and for
    /// files.
    pub version: Option<u64>,
}
