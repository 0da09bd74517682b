//! The settings of a session.

use keyloom_common::{
    misses::MaxMisses,
    rpc::{Limits, PeerSecurity},
    shuffle::{Shuffle, ShuffleOptions},
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
    /// Whether workers shuffle rows among themselves, for groups, joins and windows: `never`,
    /// `auto` or `always`. The rows of a query that does come in the order of its ORDER BY, and in
    /// no other. Default `never`.
    pub shuffle: Shuffle,
    /// How many rows the largest input of a query has at least, as far as that is known, before it
    /// shuffles by `auto`. Default 5,000,000.
    pub shuffle_min_rows: u64,
    /// Into how many parts each worker's rows are shuffled; it reads its own in no more.
    /// Default 4.
    pub shuffle_partitions: usize,
    /// The most rows of a job, for each store, that may miss their keys where that gives null: a
    /// number, or a share as `1%`. More fail the job. Default as many as there are.
    pub max_misses: Option<MaxMisses>,
}

impl Default for Settings {
    fn default() -> Self {
        let ShuffleOptions { shuffle, min_rows, partitions } = ShuffleOptions::default();
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
            shuffle,
            shuffle_min_rows: min_rows,
            shuffle_partitions: partitions,
            max_misses: None,
        }
    }
}

impl Settings {
    /// What it says of shuffles.
    pub(crate) fn shuffles(&self) -> ShuffleOptions {
        ShuffleOptions {
            shuffle: self.shuffle,
            min_rows: self.shuffle_min_rows,
            partitions: self.shuffle_partitions,
        }
    }
}
