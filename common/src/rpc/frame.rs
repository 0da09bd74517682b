//! Messages on a stream of bytes: how long the message and its bodies are, the message, the bodies.
//!
//! Bodies are written from where they are, and copied once into memory of their own, which Arrow
//! can use as it is. Nothing is allocated beyond the limit, whatever a peer claims. Lengths and
//! contents have checksums: what a network or a disk changed on the way is never handed out, and a
//! wrong length is never waited for. A frame that has begun goes on within a bound, or is an error.
//! One that holds room that others wait for has to come at a pace besides: a few peers that
//! announce large frames and send little of them would hold all of it.

mod pace;

use std::{
    collections::VecDeque,
    io::{self, IoSlice},
    mem,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tokio::{
    io::AsyncRead,
    time::{Sleep, sleep},
};
use tokio_util::io::poll_read_buf;

use super::room::{Occupied, ReceiveRoom, Receiving};
use crate::checksum::{Checksum, checksum};
use pace::Pacing;

/// The bytes before a message, in numbers of 4 bytes, little endian: its length, that of its
/// bodies, the checksum of both, and the checksum of these three.
pub(super) const HEAD_BYTES: usize = 16;

/// Those of them that the last number is the checksum of.
const SUMMED_HEAD_BYTES: usize = 12;

/// A message and its bodies.
#[derive(Debug)]
pub(super) struct Frame {
    pub(super) message: Bytes,
    /// One after the other.
    pub(super) bodies: Bytes,
    /// What they take of the room for what is received.
    pub(super) room: Occupied,
}

/// Bytes that wait to be written.
#[derive(Debug, Default)]
pub(super) struct Outgoing {
    parts: VecDeque<Bytes>,
    bytes: usize,
}

impl Outgoing {
    /// Appends a frame.
    ///
    /// # Errors
    /// If it is larger than a frame may be; nothing is appended then.
    pub(super) fn push(
        &mut self,
        message: &[u8],
        bodies: Vec<Bytes>,
        max_bytes: usize,
    ) -> io::Result<()> {
        let of_bodies = bodies.iter().map(Bytes::len).sum::<usize>();
        check(message.len(), of_bodies, max_bytes)?;
        let mut sum = Checksum::default();
        sum.update(message);
        bodies.iter().for_each(|body| sum.update(body));
        let mut start = BytesMut::with_capacity(HEAD_BYTES + message.len());
        start.put_u32_le(message.len() as u32);
        start.put_u32_le(of_bodies as u32);
        start.put_u32_le(sum.value());
        start.put_u32_le(checksum(&start));
        start.put_slice(message);
        self.bytes += start.len() + of_bodies;
        self.parts.push_back(start.freeze());
        self.parts.extend(bodies.into_iter().filter(|body| !body.is_empty()));
        Ok(())
    }
}

impl Buf for Outgoing {
    fn remaining(&self) -> usize {
        self.bytes
    }

    fn chunk(&self) -> &[u8] {
        self.parts.front().map_or(&[], |part| part)
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let parts = slices.iter_mut().zip(&self.parts);
        parts.map(|(slice, part)| *slice = IoSlice::new(part)).count()
    }

    fn advance(&mut self, mut count: usize) {
        self.bytes -= count;
        while let Some(part) = self.parts.front_mut().filter(|_| count > 0) {
            let written = count.min(part.len());
            part.advance(written);
            count -= written;
            if part.is_empty() {
                self.parts.pop_front();
            }
        }
    }
}

/// The most bytes that are read from a socket at once.
const READ_BYTES: usize = 128 * 1024;

/// A message that is larger takes room as bodies do. Others are read without: they may be what
/// makes room.
const SMALL_MESSAGE: usize = 64 * 1024;

/// The frame that is being read.
///
/// Bytes come through a small buffer that stays in the processor's cache. Read straight into new
/// memory, the kernel would have to find a page for every few of them while it holds the socket,
/// which costs several times the copy.
#[derive(Debug)]
pub(super) struct Incoming {
    max_bytes: usize,
    /// How long each part of a frame may take that is read at once.
    timeout: Duration,
    deadline: Option<Pin<Box<Sleep>>>,
    /// How many times as many bytes as are read at once had come when it was set.
    reads: usize,
    pacing: Pacing,
    receiving: Receiving,
    buffer: BytesMut,
    head: BytesMut,
    message: BytesMut,
    bodies: BytesMut,
    /// Of what there is of the message and its bodies.
    sum: Checksum,
}

impl Incoming {
    pub(super) fn new(max_bytes: usize, timeout: Duration, room: Option<&ReceiveRoom>) -> Self {
        Self {
            max_bytes,
            timeout,
            deadline: None,
            reads: 0,
            pacing: Pacing::default(),
            receiving: Receiving::new(room),
            buffer: BytesMut::new(),
            head: BytesMut::new(),
            message: BytesMut::new(),
            bodies: BytesMut::new(),
            sum: Checksum::default(),
        }
    }

    /// The next frame; `None` if the stream ends before it.
    pub(super) fn poll<S: AsyncRead + Unpin>(
        &mut self,
        stream: &mut S,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<Option<Frame>>> {
        let frame = self.poll_frame(stream, context);
        if frame.is_ready() || self.head.is_empty() || self.receiving.waits() {
            self.deadline = None;
            self.pacing.reset();
            return frame;
        }
        let come = self.message.len() + self.bodies.len();
        let late = match (self.poll_stalled(come, context), self.poll_slow(come, context)) {
            (Poll::Ready(late), _) | (_, Poll::Ready(late)) => late,
            (Poll::Pending, Poll::Pending) => return Poll::Pending,
        };
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, late)))
    }

    /// Why the frame, of which so much has come, is too late if nothing more comes.
    fn poll_stalled(&mut self, come: usize, context: &mut Context<'_>) -> Poll<String> {
        let reads = come / READ_BYTES;
        if reads != self.reads {
            self.deadline = None;
            self.reads = reads;
        }
        let deadline = self.deadline.get_or_insert_with(|| Box::pin(sleep(self.timeout)));
        ready!(deadline.as_mut().poll(context));
        Poll::Ready(format!("a frame did not go on within {:?}", self.timeout))
    }

    /// Why the frame, of which so much has come, has to make room for others.
    fn poll_slow(&mut self, come: usize, context: &mut Context<'_>) -> Poll<String> {
        let Self { pacing, receiving, .. } = self;
        if !receiving.has_taken() {
            return Poll::Pending;
        }
        let since = ready!(pacing.poll_behind(come, || receiving.others_wait(), context));
        Poll::Ready(format!(
            "only {come} bytes of a frame came within {since:?}, while others waited for \
             receive_bytes"
        ))
    }

    fn poll_frame<S: AsyncRead + Unpin>(
        &mut self,
        stream: &mut S,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<Option<Frame>>> {
        let Self { receiving, buffer, head, message, bodies, sum, .. } = self;
        if !ready!(fill(head, HEAD_BYTES, None, buffer, stream, context))? {
            return Poll::Ready(if head.is_empty() { Ok(None) } else { Err(cut_short()) });
        }
        let summed = checksum(&head[..SUMMED_HEAD_BYTES]);
        let mut numbers = &head[..];
        let mut number = || numbers.get_u32_le();
        let (of_message, of_bodies, expected) = (number() as usize, number() as usize, number());
        if number() != summed {
            return Poll::Ready(Err(damaged()));
        }
        check(of_message, of_bodies, self.max_bytes)?;
        let beyond_small = if of_message > SMALL_MESSAGE { of_message } else { 0 };
        ready!(receiving.poll(of_bodies + beyond_small, context));
        for (part, length) in [(&mut *message, of_message), (&mut *bodies, of_bodies)] {
            if !ready!(fill(part, length, Some(sum), buffer, stream, context))? {
                return Poll::Ready(Err(cut_short()));
            }
        }
        if mem::take(sum).value() != expected {
            return Poll::Ready(Err(damaged()));
        }
        head.clear();
        let (message, bodies) = (mem::take(message).freeze(), mem::take(bodies).freeze());
        Poll::Ready(Ok(Some(Frame { message, bodies, room: receiving.take() })))
    }
}

/// Reads until there are so many bytes, or says that the stream ended.
fn fill<S: AsyncRead + Unpin>(
    part: &mut BytesMut,
    length: usize,
    mut sum: Option<&mut Checksum>,
    buffer: &mut BytesMut,
    stream: &mut S,
    context: &mut Context<'_>,
) -> Poll<io::Result<bool>> {
    part.reserve(length - part.len());
    while part.len() < length {
        if buffer.is_empty() {
            buffer.reserve(READ_BYTES);
            if ready!(poll_read_buf(Pin::new(&mut *stream), context, buffer))? == 0 {
                return Poll::Ready(Ok(false));
            }
        }
        let piece = buffer.split_to(buffer.len().min(length - part.len()));
        // While it is in the processor's cache.
        sum.iter_mut().for_each(|sum| sum.update(&piece));
        part.extend_from_slice(&piece);
    }
    Poll::Ready(Ok(true))
}

fn check(message: usize, bodies: usize, max_bytes: usize) -> io::Result<()> {
    let bytes = message.saturating_add(bodies);
    if bytes <= max_bytes && u32::try_from(bytes).is_ok() {
        return Ok(());
    }
    let text = format!("a frame of {bytes} bytes is larger than max_frame_bytes = {max_bytes}");
    Err(io::Error::new(io::ErrorKind::InvalidData, text))
}

fn cut_short() -> io::Error {
    io::ErrorKind::UnexpectedEof.into()
}

fn damaged() -> io::Error {
    let text = "a frame arrived damaged: its checksum does not hold";
    io::Error::new(io::ErrorKind::InvalidData, text)
}

#[cfg(test)]
mod tests;
