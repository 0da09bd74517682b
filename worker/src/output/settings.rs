//! The bounds under which a worker writes outputs.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Bytes in a mebibyte.
const MIB: u64 = 1 << 20;

/// Bounds on outputs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OutputSettings {
    /// The most files that a task writes at once, one for each value of `partition_by` (default
    /// 64). Beyond, the one that no row came to for the longest is finished, and its value's next
    /// row begins another.
    pub open_files: usize,
    /// The most bytes of rows that all tasks together hold until they are written (default 1 GiB),
    /// as far as the worker's `memory_bytes` leave them. Where it is full, row groups and files are
    /// finished before their time. The first 16 MiB of a task are always there for it.
    pub memory_bytes: u64,
    /// About the most bytes of a row group of a Parquet file (default 64 MiB).
    pub row_group_bytes: u64,
    /// How many bytes are sent to an object store at a time (default 8 MiB), at least 5 MiB. More
    /// where a file would have more than some thousands of such parts.
    pub part_bytes: u64,
    /// The most of these that a task sends at once, of all its files (default 4). Rows are encoded
    /// meanwhile, and what is on its way counts among what is held.
    pub parts_in_flight: usize,
    /// The most requests by which a commit makes files visible, or removes some, at once, and the
    /// most files that a task has stored at once when all are written (default 16).
    pub requests_in_flight: usize,
    /// How long removing what a task that failed has written may take, in milliseconds. Default 30
    /// s. What is left then is removed with the job's commit or end.
    pub cleanup_timeout_ms: u64,
    /// How long looking for what earlier jobs have left where a job is to write may take, in
    /// milliseconds. Default 10 s. Then the job goes on, and is warned that it was not seen.
    pub leftovers_timeout_ms: u64,
    /// The most bytes of rows of a job that replace others by their keys (default 1 GiB): the
    /// worker that commits has all of them in its memory, and takes twice as much of its
    /// `memory_bytes`.
    pub upsert_bytes: u64,
    /// About how many bytes of such rows a task has in memory before it writes them (default 32
    /// MiB), fewer where `memory_bytes` leave no more. The first 16 MiB are always there for it.
    pub upsert_part_bytes: u64,
    /// How often rows are merged anew because somebody else committed something meanwhile (default
    /// 10).
    pub upsert_retries: u32,
}

impl Default for OutputSettings {
    fn default() -> Self {
        Self {
            open_files: 64,
            memory_bytes: 1 << 30,
            row_group_bytes: 64 * MIB,
            part_bytes: 8 * MIB,
            parts_in_flight: 4,
            requests_in_flight: 16,
            cleanup_timeout_ms: 30_000,
            leftovers_timeout_ms: 10_000,
            upsert_bytes: 1 << 30,
            upsert_part_bytes: 32 * MIB,
            upsert_retries: 10,
        }
    }
}

impl OutputSettings {
    /// [`Self::cleanup_timeout_ms`] as a duration.
    pub(crate) fn cleanup_timeout(&self) -> Duration {
        Duration::from_millis(self.cleanup_timeout_ms)
    }

    /// [`Self::leftovers_timeout_ms`] as a duration.
    pub(crate) fn leftovers_timeout(&self) -> Duration {
        Duration::from_millis(self.leftovers_timeout_ms)
    }
}
