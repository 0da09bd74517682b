//! Rows and schemas as bytes: Arrow IPC streams, cut into chunks of a bounded size.
//!
//! An encoded stream may be cut anywhere; [`Decoder`] takes the pieces in order.

mod check;
mod compact;
mod decode;
mod encode;
pub mod schema_serde;

pub use check::{check_message, check_type, null_bytes};
pub use compact::{compact_array, compact_views, has_dictionaries};
pub use decode::{Decoder, decode_all, decode_schema};
pub use encode::{Encoder, encode_all};
