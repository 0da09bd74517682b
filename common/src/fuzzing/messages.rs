//! The first words of a connection, frames, the messages in them, and what stands in these as bytes
//! of its own.

use serde::{Serialize, de::DeserializeOwned};
use tarpc::{ClientMessage, Response};

use crate::{
    error::Result,
    plan::Slice,
    rpc::{
        ClientApiRequest, ClientApiResponse, TaskReport, WorkerApiRequest, WorkerApiResponse,
        fuzzing::{self, message, written},
    },
};

/// Reads bytes as what either side of a handshake hears.
pub fn handshake(bytes: &[u8]) {
    fuzzing::handshake(bytes);
}

/// What both sides of a handshake say.
pub fn handshakes() -> Vec<Vec<u8>> {
    fuzzing::handshakes()
}

/// Reads bytes as frames.
pub fn frame(bytes: &[u8]) {
    fuzzing::frames(bytes);
}

/// Reads bytes as what a coordinator is asked, as [`message_of`] writes it.
pub fn request(bytes: &[u8]) {
    round_trip::<ClientApiRequest>(bytes);
    round_trip::<WorkerApiRequest>(bytes);
    // Deadlines are told by the time that is left, so these are never written twice alike.
    let Some((inner, bodies)) = cut(bytes) else { return };
    let _ = message::<ClientMessage<ClientApiRequest>>(inner, bodies);
    let _ = message::<ClientMessage<WorkerApiRequest>>(inner, bodies);
}

/// Reads bytes as what a coordinator answers, as [`message_of`] writes it.
pub fn answer(bytes: &[u8]) {
    round_trip::<ClientApiResponse>(bytes);
    round_trip::<WorkerApiResponse>(bytes);
    answered::<ClientApiResponse>(bytes);
    answered::<WorkerApiResponse>(bytes);
}

/// Reads bytes as what a task reports, as [`message_of`] writes it.
pub fn report(bytes: &[u8]) -> Option<TaskReport> {
    round_trip::<TaskReport>(bytes);
    let (inner, bodies) = cut(bytes)?;
    message(inner, bodies).ok()
}

/// Reads bytes as the part of an input that a task reads.
pub fn slice(bytes: &[u8]) {
    let Ok(slice) = Slice::decode(bytes) else { return };
    let again = slice.encode().and_then(|written| Slice::decode(&written));
    assert!(again == Ok(slice), "a slice is not read as it was written: {again:?}");
}

/// A frame that holds a message.
///
/// # Errors
/// If it is too large.
pub fn frame_of<T: Serialize>(value: &T) -> Result<Vec<u8>> {
    fuzzing::frame(value)
}

/// A message and the bodies beside it, behind the length of the message in 4 bytes, little endian.
///
/// # Errors
/// If it is too large.
pub fn message_of<T: Serialize>(value: &T) -> Result<Vec<u8>> {
    let (message, bodies) = written(value)?;
    Ok([&(message.len() as u32).to_le_bytes()[..], &message, &bodies].concat())
}

/// What [`message_of`] put together.
fn cut(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk()?;
    rest.split_at_checked(u32::from_le_bytes(*length) as usize)
}

/// The same of an answer in what tarpc puts around it. The kind of an error of its own is written
/// with a sign and read without, so of such an error all else is compared.
fn answered<T: Serialize + DeserializeOwned>(bytes: &[u8]) {
    let read = |inner: &[u8], bodies: &[u8]| message::<Response<T>>(inner, bodies);
    let Some((inner, bodies)) = cut(bytes) else { return };
    let Ok(response) = read(inner, bodies) else { return };
    let Err(error) = &response.message else { return round_trip::<Response<T>>(bytes) };
    let Ok((inner, bodies)) = written(&response) else { return };
    let again = read(&inner, &bodies).map(|again| {
        let detail = again.message.err().map(|error| error.detail);
        (again.request_id, detail)
    });
    let expected = Ok((response.request_id, Some(error.detail.clone())));
    assert!(again == expected, "an error is not read as it was written: {again:?}");
}

/// What is read, whatever it is, is read again as it is written.
fn round_trip<T: Serialize + DeserializeOwned>(bytes: &[u8]) {
    let Some((inner, bodies)) = cut(bytes) else { return };
    let Ok(value) = message::<T>(inner, bodies) else { return };
    let Ok((inner, bodies)) = written(&value) else { return };
    let again = message::<T>(&inner, &bodies).and_then(|value| written(&value));
    assert!(again == Ok((inner, bodies)), "a message is not read as it was written: {again:?}");
}
