//! The worker's settings: bounds, all with defaults.

use std::{path::PathBuf, time::Duration};

use keyloom_common::rpc::Limits;
use serde::{Deserialize, Serialize};

use crate::{lookup::LookupSettings, store::StoreSettings};

/// All settings of a worker.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Bounds of connections.
    pub rpc: Limits,
    /// Bounds of stores, and the profiles with which they are opened.
    pub store: StoreSettings,
    /// Bounds of the lookup operator.
    pub lookup: LookupSettings,
    /// The most memory for sorts and aggregations of all tasks, in bytes. Default 2 GiB.
    pub operator_memory_bytes: usize,
    /// Where temporary files are, in a folder of the worker's own that goes with it. Default the
    /// system's folder for such files.
    pub spill_folder: Option<PathBuf>,
    /// Freed memory that each arena of the daemon's allocator keeps for later use, in bytes; 0 for
    /// what the allocator does by itself (glibc only, and not in an embedded session). Less than 2 GiB.
    /// Default 64 MiB.
    pub keep_freed_bytes: u64,
    /// How often the worker says that it is alive, in milliseconds. Default 1 s.
    pub heartbeat_ms: u64,
    /// A worker whose threads do nothing for so long, as when all hang, is given up with its tasks,
    /// in milliseconds. Default 2 minutes.
    pub stall_timeout_ms: u64,
    /// How long it rests before it connects again, in milliseconds; doubled each time. At most
    /// `reconnect_max_ms`. Default 200.
    pub reconnect_ms: u64,
    /// The longest such rest, in milliseconds. Default 5 s.
    pub reconnect_max_ms: u64,
    /// How long running tasks may take to end when the worker is told to stop, in milliseconds. 0
    /// stops them at once. Default 60 s.
    pub drain_timeout_ms: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            rpc: Limits::default(),
            store: StoreSettings::default(),
            lookup: LookupSettings::default(),
            operator_memory_bytes: 2 << 30,
            spill_folder: None,
            keep_freed_bytes: 64 << 20,
            heartbeat_ms: 1_000,
            stall_timeout_ms: 120_000,
            reconnect_ms: 200,
            reconnect_max_ms: 5_000,
            drain_timeout_ms: 60_000,
        }
    }
}

impl Settings {
    /// [`Self::heartbeat_ms`] as a duration.
    pub fn heartbeat(&self) -> Duration {
        Duration::from_millis(self.heartbeat_ms.max(1))
    }

    /// [`Self::stall_timeout_ms`] as a duration.
    pub fn stall_timeout(&self) -> Duration {
        Duration::from_millis(self.stall_timeout_ms)
    }

    /// [`Self::drain_timeout_ms`] as a duration.
    pub fn drain_timeout(&self) -> Duration {
        Duration::from_millis(self.drain_timeout_ms)
    }

    /// How long to rest after so many failures in a row.
    pub(crate) fn reconnect(&self, failures: u32) -> Duration {
        let rest = self.reconnect_ms.saturating_mul(2_u64.saturating_pow(failures.min(16)));
        Duration::from_millis(rest.min(self.reconnect_max_ms))
    }
}
