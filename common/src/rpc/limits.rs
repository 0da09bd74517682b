//! The bounds of a connection.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Bounds that both sides of a connection keep.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// The largest frame, in bytes. Chunks of rows are kept well below it. Default 16 MiB.
    pub max_frame_bytes: usize,
    /// The largest chunk of rows or of a blob in one message, in bytes. At most half of
    /// `max_frame_bytes`. Default 2 MiB.
    pub chunk_bytes: usize,
    /// How long connecting and the handshake may take, in milliseconds. Default 5 s.
    pub handshake_timeout_ms: u64,
    /// How long a frame that has begun may not go on, in milliseconds. Default 60 s.
    pub frame_timeout_ms: u64,
    /// How long a call may take, in milliseconds: so long a pause of a peer is waited out.
    /// Default 2 minutes.
    pub call_timeout_ms: u64,
    /// How much longer than `call_timeout_ms` a connection may last whose peer's machine or network
    /// is gone without a word, in milliseconds; it is probed at a third of it. (A process that ends
    /// is noticed at once, and a worker's silence by `scheduler.heartbeat_timeout_ms`.) Default 15
    /// s.
    pub dead_peer_ms: u64,
    /// How long a call waits for something to happen before it answers that nothing did, in
    /// milliseconds. At most half of `call_timeout_ms`. Default 1 s.
    pub long_poll_ms: u64,
    /// The most requests of one connection that are handled at once. Default 64.
    pub requests_in_flight: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_frame_bytes: 16 << 20,
            chunk_bytes: 2 << 20,
            handshake_timeout_ms: 5_000,
            frame_timeout_ms: 60_000,
            call_timeout_ms: 120_000,
            dead_peer_ms: 15_000,
            long_poll_ms: 1_000,
            requests_in_flight: 64,
        }
    }
}

impl Limits {
    /// [`Self::handshake_timeout_ms`] as a duration.
    pub fn handshake_timeout(&self) -> Duration {
        Duration::from_millis(self.handshake_timeout_ms)
    }

    /// [`Self::frame_timeout_ms`] as a duration.
    pub fn frame_timeout(&self) -> Duration {
        Duration::from_millis(self.frame_timeout_ms)
    }

    /// [`Self::dead_peer_ms`] as a duration.
    pub fn dead_peer(&self) -> Duration {
        Duration::from_millis(self.dead_peer_ms)
    }

    /// [`Self::call_timeout_ms`] as a duration.
    pub fn call_timeout(&self) -> Duration {
        Duration::from_millis(self.call_timeout_ms)
    }

    /// [`Self::long_poll_ms`] as a duration.
    pub fn long_poll(&self) -> Duration {
        Duration::from_millis(self.long_poll_ms)
    }
}
