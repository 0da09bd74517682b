//! What the bounds of a connection may be.

use std::ops::RangeInclusive;

use super::Limits;
use crate::{
    bounds::{AT_ONCE, Bounds, CALL_MS},
    error::Result,
};

/// What registers a worker must fit, and lengths travel in 4 bytes.
const FRAME_BYTES: RangeInclusive<u64> = 4096..=u32::MAX as u64;

/// Up to half of the largest frame there is.
const CHUNK_BYTES: RangeInclusive<u64> = 1..=1 << 31;

impl Limits {
    /// Checks all of them.
    ///
    /// # Errors
    /// `invalid`, naming all that are wrong.
    pub fn validate(&self) -> Result<()> {
        Bounds::check(|bounds| self.check(bounds))
    }

    /// Checks all of them, as a section of other settings.
    pub fn check(&self, bounds: &mut Bounds) {
        let (frame, chunk) = (self.max_frame_bytes as u64, self.chunk_bytes as u64);
        bounds.within("max_frame_bytes", frame, FRAME_BYTES);
        bounds.within("chunk_bytes", chunk, CHUNK_BYTES);
        bounds.at_most_half(("chunk_bytes", chunk), ("max_frame_bytes", frame));
        bounds.within("handshake_timeout_ms", self.handshake_timeout_ms, CALL_MS);
        bounds.within("frame_timeout_ms", self.frame_timeout_ms, CALL_MS);
        bounds.within("call_timeout_ms", self.call_timeout_ms, CALL_MS);
        bounds.within("dead_peer_ms", self.dead_peer_ms, CALL_MS);
        bounds.within("long_poll_ms", self.long_poll_ms, CALL_MS);
        let call = ("call_timeout_ms", self.call_timeout_ms);
        bounds.at_most_half(("long_poll_ms", self.long_poll_ms), call);
        bounds.within("requests_in_flight", self.requests_in_flight, AT_ONCE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;

    fn check(change: impl FnOnce(&mut Limits), expected: &str) {
        let mut limits = Limits::default();
        change(&mut limits);
        let error = limits.validate().unwrap_err();
        assert_eq!((error.kind(), error.message()), (ErrorKind::Invalid, expected));
    }

    #[test]
    fn defaults_are_valid() {
        assert_eq!(Limits::default().validate(), Ok(()));
    }

    #[test]
    fn limits_that_are_zero_or_absurd_are_named() {
        check(
            |limits| limits.chunk_bytes = 0,
            "setting chunk_bytes must be between 1 and 2147483648, not 0",
        );
        check(
            |limits| limits.max_frame_bytes = 1 << 32,
            "setting max_frame_bytes must be between 4096 and 4294967295, not 4294967296",
        );
        check(
            |limits| limits.call_timeout_ms = u64::MAX,
            "setting call_timeout_ms must be between 1 and 86400000, not 18446744073709551615",
        );
    }

    #[test]
    fn limits_that_do_not_go_together_are_named() {
        check(
            |limits| (limits.max_frame_bytes, limits.chunk_bytes) = (10_000, 5_001),
            "setting chunk_bytes must be at most half of max_frame_bytes = 10000, not 5001",
        );
        check(
            |limits| (limits.call_timeout_ms, limits.long_poll_ms) = (1_000, 600),
            "setting long_poll_ms must be at most half of call_timeout_ms = 1000, not 600",
        );
    }
}
