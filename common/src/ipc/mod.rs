//! Rows and schemas as bytes: Arrow IPC streams, cut into chunks of a bounded size.
//!
//! An encoded stream may be cut anywhere; [`Decoder`] takes the pieces in order.

mod compact;
mod decode;
mod encode;
pub mod schema_serde;

pub use decode::{Decoder, decode_all};
pub use encode::{Encoder, encode_all};
