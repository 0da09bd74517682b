//! The one place that names bincode: values as bytes, with a limit on what is read.
//!
//! Wire types are flat, because the limit does not bound recursion.

use bincode::Options;
use serde::{Serialize, de::DeserializeOwned};

use crate::error::{Error, Result};

/// The most bytes that one value may take, whatever frame it came in.
const MAX_VALUE_BYTES: u64 = 256 << 20;

fn options() -> impl Options + Copy {
    bincode::DefaultOptions::new().with_limit(MAX_VALUE_BYTES)
}

/// A value as bytes.
///
/// # Errors
/// `resource_exhausted` if it is too large.
pub fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>> {
    options()
        .serialize(value)
        .map_err(|error| Error::resource_exhausted(format!("a message cannot be written: {error}")))
}

/// A value from bytes.
///
/// # Errors
/// `internal` if the bytes are not such a value.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    options()
        .deserialize(bytes)
        .map_err(|error| Error::internal(format!("bad message from a peer: {error}")))
}
