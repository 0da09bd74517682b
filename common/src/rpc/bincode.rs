//! The one place that names bincode: values as bytes, with a limit on what is read.
//!
//! Wire types are flat, because the limit does not bound recursion.

use std::{fmt::Display, panic::catch_unwind};

use bincode::Options;
use serde::{Serialize, de::DeserializeOwned};

use crate::error::{Error, Result};

/// The most bytes that one value may take, whatever frame it came in.
const MAX_VALUE_BYTES: u64 = 256 << 20;

fn options() -> impl Options + Copy {
    bincode::DefaultOptions::new()
}

/// A value as bytes. It is walked once: with a limit, bincode would walk it for its size before,
/// and meet each [`super::Body`] twice.
///
/// # Errors
/// `resource_exhausted` if it is too large.
pub fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>> {
    let too_large = |reason: &dyn Display| {
        Error::resource_exhausted(format!("a message cannot be written: {reason}"))
    };
    let mut bytes = Vec::new();
    options().serialize_into(&mut bytes, value).map_err(|error| too_large(&error))?;
    if bytes.len() as u64 > MAX_VALUE_BYTES {
        return Err(too_large(&format_args!("it takes more than {MAX_VALUE_BYTES} bytes")));
    }
    Ok(bytes)
}

/// How many bytes a value takes that holds no [`super::Body`]. They are counted and not made.
///
/// # Errors
/// `internal` if it cannot be written.
pub fn encoded_bytes<T: Serialize>(value: &T) -> Result<u64> {
    let unwritable =
        |error: bincode::Error| Error::internal(format!("a message cannot be written: {error}"));
    options().serialized_size(value).map_err(unwritable)
}

/// A value from bytes.
///
/// # Errors
/// `internal` if the bytes are not such a value.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    // A deadline that a peer sends is added to the time, which panics beyond all times.
    let read = catch_unwind(|| options().with_limit(MAX_VALUE_BYTES).deserialize(bytes));
    match read {
        Ok(read) => read.map_err(|error| bad(&error)),
        Err(_) => Err(bad(&"a time that there is not")),
    }
}

fn bad(what: &dyn Display) -> Error {
    Error::internal(format!("bad message from a peer: {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_counted_as_they_are_made() {
        let value = (7_u64, "text".to_owned(), vec![Some(1_000_u32), None]);
        assert_eq!(encoded_bytes(&value), Ok(encode(&value).unwrap().len() as u64));
    }
}
