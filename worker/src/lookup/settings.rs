//! Bounds of the lookup operator.

use serde::{Deserialize, Serialize};

/// How much a lookup does at once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LookupSettings {
    /// The most rows that are looked up together. Default 131072.
    pub window_rows: usize,
    /// About the most bytes of answers that are looked up together. Default 64 MiB.
    pub window_bytes: u64,
    /// The most memory for the windows of all tasks, in bytes, set apart of the worker's
    /// `memory_bytes` (a quarter of it at most). A window takes twice the bytes of its answers,
    /// which are there as they were read and in the rows that asked, and an eighth of this memory
    /// at most. Where it is full, a task looks up one window at a time, which is smaller then: so
    /// it may have a mebibyte, or the answers of one row, in any case. The keys and the rows that
    /// ask are not in it, nor are direct lookups of an embedded session. Default 2 GiB.
    pub memory_bytes: u64,
    /// How many windows of a task are looked up at once. Default 2.
    pub windows_in_flight: usize,
    /// How many requests of one window to one store are under way at once, where `batch_size` makes
    /// several of them. Default 8.
    pub requests_in_flight: usize,
    /// How many missing keys an error names. Default 5.
    pub missing_keys_named: usize,
    /// About the most bytes by which a task tells the keys that it asked for: hashes of distinct
    /// ones, half of it, by which they are counted over all tasks (exactly as long as they fit),
    /// and rows that missed theirs, if they are to be told one by one. The fetches of a task share
    /// it. At most half of `rpc.max_frame_bytes`. Default 4 MiB.
    pub key_report_bytes: u64,
}

impl Default for LookupSettings {
    fn default() -> Self {
        Self {
            window_rows: 131_072,
            window_bytes: 64 << 20,
            memory_bytes: 2 << 30,
            windows_in_flight: 2,
            requests_in_flight: 8,
            missing_keys_named: 5,
            key_report_bytes: 4 << 20,
        }
    }
}
