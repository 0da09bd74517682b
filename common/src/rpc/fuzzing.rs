//! How handshakes, frames and messages are read, for [`crate::fuzzing`].

mod handshake;

use std::{future::poll_fn, time::Duration};

use bytes::{Buf, Bytes};
use futures::FutureExt;
use serde::{Serialize, de::DeserializeOwned};

use super::{
    bincode::{decode, encode},
    body,
    frame::{HEAD_BYTES, Incoming, Outgoing},
};
use crate::{checksum::checksum, error::Result};

pub(crate) use handshake::{handshake, handshakes};

/// The largest frame that is read.
const MAX_FRAME_BYTES: usize = 1 << 20;

/// How long a frame may rest, which those that are all there never do.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Reads bytes as frames, down to the first that is none: as they are, and with checksums that hold.
pub(crate) fn frames(bytes: &[u8]) {
    read(bytes);
    read(&summed(bytes));
}

/// The same frames with checksums of what is in them, as if a peer had written them so.
fn summed(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let mut rest = &mut bytes[..];
    while let Some((head, content)) = rest.split_first_chunk_mut::<HEAD_BYTES>() {
        let mut lengths = &head[..8];
        let length = u64::from(lengths.get_u32_le()) + u64::from(lengths.get_u32_le());
        let length = usize::try_from(length).unwrap_or(usize::MAX).min(content.len());
        let (content, behind) = content.split_at_mut(length);
        head[8..12].copy_from_slice(&checksum(content).to_le_bytes());
        let of_head = checksum(&head[..12]);
        head[12..].copy_from_slice(&of_head.to_le_bytes());
        rest = behind;
    }
    bytes
}

fn read(bytes: &[u8]) {
    let mut stream = bytes;
    let mut incoming = Incoming::new(MAX_FRAME_BYTES, TIMEOUT, None);
    let mut outgoing = Outgoing::default();
    loop {
        let next = poll_fn(|context| incoming.poll(&mut stream, context)).now_or_never();
        assert!(next.is_some(), "what is all there is waited for");
        let Some(Ok(Some(frame))) = next else { break };
        let pushed = outgoing.push(&frame.message, vec![frame.bodies], MAX_FRAME_BYTES);
        assert!(pushed.is_ok(), "a frame that was read is too large to be written");
    }
    let written = outgoing.copy_to_bytes(outgoing.remaining());
    assert!(bytes.starts_with(&written), "frames are not written as they were read");
}

/// Reads a message and the bodies beside it.
pub(crate) fn message<T: DeserializeOwned>(message: &[u8], bodies: &[u8]) -> Result<T> {
    body::together(Bytes::copy_from_slice(bodies), None, || decode(message))
}

/// Writes a message, and the bodies beside it.
pub(crate) fn written<T: Serialize>(value: &T) -> Result<(Vec<u8>, Vec<u8>)> {
    let (message, bodies) = body::apart(|| encode(value));
    Ok((message?, bodies.concat()))
}

/// Writes a message in a frame.
pub(crate) fn frame<T: Serialize>(value: &T) -> Result<Vec<u8>> {
    let (message, bodies) = written(value)?;
    let mut outgoing = Outgoing::default();
    let pushed = outgoing.push(&message, vec![bodies.into()], MAX_FRAME_BYTES);
    pushed.map_err(|error| crate::Error::resource_exhausted(error.to_string()))?;
    Ok(outgoing.copy_to_bytes(outgoing.remaining()).to_vec())
}
