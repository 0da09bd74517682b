//! The settings of a session.

use keyloom_common::{
    misses::MaxMisses,
    rpc::{Limits, PeerSecurity},
    store::JoinPath,
};
use serde::{Deserialize, Serialize};

/// Bounds that a session keeps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Bounds of the connection to a cluster.
    pub rpc: Limits,
    /// By what a cluster is known, and by what it knows this session. Default neither.
    pub security: PeerSecurity,
    /// The most rows of a batch. Default 8192.
    pub batch_rows: u32,
    /// How many bytes of files make a task, where the rows are not known before. Default 2 MiB.
    pub task_bytes: u64,
    /// The most files that are put together in a task. Default 200.
    pub task_files: usize,
    /// The most rows of an in-memory table in a task, and of small Parquet row groups that are put
    /// together. Default 32768.
    pub task_rows: usize,
    /// The most rows in a task of an in-memory table of at least four times as many; it makes 16
    /// tasks or more. Default 131072.
    pub large_task_rows: usize,
    /// The most bytes of an in-memory table in a task. Default 16 MiB.
    pub task_memory_bytes: usize,
    /// About the most tasks that an input is cut into. Default 4096.
    pub max_tasks: usize,
    /// How joins with stores are made: `auto`, `lookup` or `scan`. Default `auto`, by cost.
    pub join_path: JoinPath,
    /// The most rows of a job, for each store, that may miss their keys where that gives null: a
    /// number, or a share as `1%`. More fail the job. Default as many as there are.
    pub max_misses: Option<MaxMisses>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            rpc: Limits::default(),
            security: PeerSecurity::default(),
            batch_rows: 8192,
            task_bytes: 2 << 20,
            task_files: 200,
            task_rows: 32_768,
            large_task_rows: 131_072,
            task_memory_bytes: 16 << 20,
            max_tasks: 4096,
            join_path: JoinPath::Auto,
            max_misses: None,
        }
    }
}
