//! What decoders of others' bytes keep to, whatever these are: a body for each, to be fed by the
//! fuzzers in `fuzz/`, and by tests with what they find. No part of the API.
//!
//! They are built always, as the internals for micro-benchmarks are: a feature would build the
//! workspace twice. A body panics at the first promise that does not hold: bytes are an error or a
//! value, never a panic or a wait; and what is read and written again is read as the same. Panics
//! of libraries that are caught where they are called are no failure. What is allocated, fuzzers
//! bound.

mod messages;
mod plan;
mod stream;

pub use messages::{
    answer, frame, frame_of, handshake, handshakes, message_of, report, request, slice,
};
pub use plan::plan;
pub use stream::stream;
