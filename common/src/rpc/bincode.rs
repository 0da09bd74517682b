//! The one place that names bincode: values as bytes, with a limit on what is read.
//!
//! Wire types are flat, because the limit does not bound recursion.

use std::{io, marker::PhantomData, pin::Pin};

use bincode::Options;
use bytes::{Bytes, BytesMut};
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

/// The codec of a framed connection.
#[derive(Debug)]
pub struct Codec<Item, SinkItem>(PhantomData<fn(SinkItem) -> Item>);

impl<Item, SinkItem> Default for Codec<Item, SinkItem> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<Item: DeserializeOwned, SinkItem> tokio_serde::Deserializer<Item> for Codec<Item, SinkItem> {
    type Error = io::Error;

    fn deserialize(self: Pin<&mut Self>, frame: &BytesMut) -> io::Result<Item> {
        decode(frame).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
    }
}

impl<Item, SinkItem: Serialize> tokio_serde::Serializer<SinkItem> for Codec<Item, SinkItem> {
    type Error = io::Error;

    fn serialize(self: Pin<&mut Self>, item: &SinkItem) -> io::Result<Bytes> {
        encode(item)
            .map(Bytes::from)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
    }
}
