//! The bounds of shuffles.

use std::{ops::RangeInclusive, time::Duration};

use keyloom_common::bounds::{AT_ONCE, BYTES, Bounds, CALL_MS, TIME_MS};
use serde::{Deserialize, Serialize};

use super::ShuffleCompression;

/// More than any machine has cores.
const THREADS: RangeInclusive<u64> = 1..=4096;

/// Whether and how a worker shuffles rows with others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ShuffleSettings {
    /// Where the daemon listens for other workers, as `HOST:PORT`; port 0 is any that is free. One
    /// that does not listen takes no part in shuffles, nor does an embedded session. Default none.
    pub listen: Option<String>,
    /// The address that others are told, where they reach it by another than it listens at.
    /// Default the one it listens at, which must then be of one machine, and not `0.0.0.0`.
    pub advertise: Option<String>,
    /// Whether it may listen where strangers can reach it unprotected. Default no.
    pub insecure_listen: bool,
    /// The most connections of other workers at once. Default 256.
    pub max_connections: usize,
    /// The threads of connections with other workers, to them and from them, beside those that
    /// compute; none where it does not listen. Default 2.
    pub connection_threads: usize,
    /// How rows are compressed that workers send each other, where this worker leads the shuffle.
    /// Default by LZ4, unless all of its workers reach each other within one machine.
    pub compression: ShuffleCompression,
    /// How often a peer is asked for a sign of life while rows are shuffled with it, in
    /// milliseconds. Default 5 s.
    pub keepalive_ms: u64,
    /// How long a peer may take to give it, in milliseconds; then it is lost, and the shuffle is
    /// begun anew with others. Default 10 s.
    pub keepalive_timeout_ms: u64,
    /// About the most bytes that one task has received from one worker and not dealt with. Default
    /// 16 MiB.
    pub buffer_bytes: usize,
    /// The most bytes of rows that wait, put by their keys, until other workers take them, of all
    /// shuffles together: a part of `memory_bytes`. With more, a shuffle fails by this name; such
    /// rows are not written to files. Default 1 GiB.
    pub memory_bytes: usize,
    /// The most bytes of a message by which a worker is told what to do. Default 64 MiB.
    pub max_message_bytes: usize,
    /// A shuffle that gives no row for so long, the first one too, is given up, in milliseconds.
    /// Default 30 minutes.
    pub silence_timeout_ms: u64,
}

impl Default for ShuffleSettings {
    fn default() -> Self {
        Self {
            listen: None,
            advertise: None,
            insecure_listen: false,
            max_connections: 256,
            connection_threads: 2,
            compression: ShuffleCompression::Auto,
            keepalive_ms: 5_000,
            keepalive_timeout_ms: 10_000,
            buffer_bytes: 16 << 20,
            memory_bytes: 1 << 30,
            max_message_bytes: 64 << 20,
            silence_timeout_ms: 1_800_000,
        }
    }
}

impl ShuffleSettings {
    pub(crate) fn check(&self, bounds: &mut Bounds) {
        bounds.within("max_connections", self.max_connections as u64, AT_ONCE);
        bounds.within("connection_threads", self.connection_threads as u64, THREADS);
        bounds.within("keepalive_ms", self.keepalive_ms, CALL_MS);
        bounds.within("keepalive_timeout_ms", self.keepalive_timeout_ms, CALL_MS);
        bounds.within("buffer_bytes", self.buffer_bytes as u64, BYTES);
        bounds.within("memory_bytes", self.memory_bytes as u64, BYTES);
        bounds.within("max_message_bytes", self.max_message_bytes as u64, BYTES);
        bounds.within("silence_timeout_ms", self.silence_timeout_ms, TIME_MS);
    }

    pub(super) fn keepalive(&self) -> Duration {
        Duration::from_millis(self.keepalive_ms)
    }

    pub(super) fn keepalive_timeout(&self) -> Duration {
        Duration::from_millis(self.keepalive_timeout_ms)
    }

    /// [`Self::silence_timeout_ms`] as a duration.
    pub(super) fn silence(&self) -> Duration {
        Duration::from_millis(self.silence_timeout_ms)
    }
}
