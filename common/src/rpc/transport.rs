//! TCP connections: address, socket options, handshake, frames.

use std::{
    fmt, io,
    marker::PhantomData,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Buf;
use futures::{Sink, Stream};
use serde::{Serialize, de::DeserializeOwned};
use socket2::{SockRef, TcpKeepalive};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_util::{io::poll_write_buf, sync::CancellationToken};

use super::{
    Limits,
    bincode::{decode, encode},
    body,
    frame::{Incoming, Outgoing},
    handshake::{self, Service},
    room::ReceiveRoom,
    security::{self, Credentials},
};
use crate::error::{Error, ErrorCode, Result};

/// While so many bytes wait to be written, no further message is taken.
const OUTGOING_BYTES: usize = 64 * 1024;

/// A connection that carries a service, in messages whose bodies are not copied.
#[derive(Debug)]
pub struct Transport<Item, SinkItem, S = security::Stream> {
    stream: S,
    incoming: Incoming,
    outgoing: Outgoing,
    max_frame_bytes: usize,
    ended: CancellationToken,
    messages: PhantomData<fn(SinkItem) -> Item>,
}

impl<Item, SinkItem, S> Transport<Item, SinkItem, S> {
    fn new(stream: S, limits: &Limits, room: Option<&ReceiveRoom>) -> Self {
        Self {
            stream,
            incoming: Incoming::new(limits.max_frame_bytes, limits.frame_timeout(), room),
            outgoing: Outgoing::default(),
            max_frame_bytes: limits.max_frame_bytes,
            ended: CancellationToken::new(),
            messages: PhantomData,
        }
    }
}

impl<Item, SinkItem, S> Transport<Item, SinkItem, S> {
    /// Cancelled once the peer has gone: a service may have answers to make, and does not see it.
    pub fn ended(&self) -> CancellationToken {
        self.ended.clone()
    }
}

impl<Item, SinkItem, S> Stream for Transport<Item, SinkItem, S>
where
    Item: DeserializeOwned,
    S: AsyncRead + Unpin,
{
    type Item = io::Result<Item>;

    fn poll_next(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Item>>> {
        let Self { stream, incoming, ended, .. } = &mut *self;
        let frame = ready!(incoming.poll(stream, context)).transpose();
        if !matches!(frame, Some(Ok(_))) {
            ended.cancel();
        }
        let message: Option<io::Result<Item>> = frame.map(|frame| {
            let frame = frame?;
            let read = || decode(&frame.message);
            body::together(frame.bodies, Some(frame.room), read).map_err(invalid_data)
        });
        if let Some(Err(error)) = &message
            && !is_end(error)
        {
            tracing::warn!(%error, "a connection is given up: what comes over it cannot be read");
        }
        Poll::Ready(message)
    }
}

impl<Item, SinkItem, S> Sink<SinkItem> for Transport<Item, SinkItem, S>
where
    SinkItem: Serialize,
    S: AsyncWrite + Unpin,
{
    type Error = io::Error;

    fn poll_ready(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.outgoing.remaining() < OUTGOING_BYTES {
            return Poll::Ready(Ok(()));
        }
        self.poll_flush(context)
    }

    fn start_send(mut self: Pin<&mut Self>, item: SinkItem) -> io::Result<()> {
        let (message, bodies) = body::apart(|| encode(&item));
        let max_bytes = self.max_frame_bytes;
        self.outgoing.push(&message.map_err(invalid_data)?, bodies, max_bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { stream, outgoing, .. } = &mut *self;
        while outgoing.has_remaining() {
            if ready!(poll_write_buf(Pin::new(&mut *stream), context, outgoing))? == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
        }
        Pin::new(stream).poll_flush(context)
    }

    fn poll_close(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.as_mut().poll_flush(context))?;
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// Whether the peer is gone, as peers go, or the network to it: what the operating system reports
/// is not of what came over it. A peer that goes amid a frame is told of.
fn is_end(error: &io::Error) -> bool {
    let is_known = matches!(
        error.kind(),
        io::ErrorKind::BrokenPipe
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::NotConnected
    );
    is_known || error.raw_os_error().is_some()
}

fn invalid_data(error: Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

/// The forms of an address.
const FORMS: &str = "a cluster's address is tcp://HOST:PORT or tls://HOST:PORT";

/// How an address with TLS begins.
const TLS: &str = "tls://";

/// Whether an address is one with TLS.
pub fn is_tls(address: &str) -> bool {
    address.starts_with(TLS)
}

/// Reads `tcp://HOST:PORT`, which may be written `HOST:PORT`, or `tls://HOST:PORT`.
///
/// # Errors
/// `invalid`, showing the forms.
pub fn parse_address(address: &str) -> Result<&str> {
    if address.contains('@') {
        return Err(Error::invalid(format!("the address holds credentials; {FORMS}")));
    }
    let without_tls = || address.strip_prefix("tcp://").unwrap_or(address);
    let host_port = address.strip_prefix(TLS).unwrap_or_else(without_tls);
    // What holds a slash has another scheme, or a path.
    let is_host = |host: &str| !host.is_empty() && !host.contains('/');
    match host_port.rsplit_once(':') {
        Some((host, port)) if is_host(host) && port.parse::<u16>().is_ok() => Ok(host_port),
        _ => Err(Error::invalid(format!("{FORMS}, not '{address}'"))),
    }
}

/// Connects to a coordinator, as whoever the credentials show.
///
/// # Errors
/// `unavailable` if nobody answers there, `invalid` if the coordinator refuses this build or the
/// credentials do not suit the address, `permission_denied` if one side does not believe the other,
/// `resource_exhausted` if the coordinator has no place.
pub async fn connect<Item, SinkItem>(
    address: &str,
    service: Service,
    limits: &Limits,
    credentials: &Credentials,
) -> Result<Transport<Item, SinkItem>>
where
    Item: DeserializeOwned,
    SinkItem: Serialize,
{
    Ok(framed(dial(address, service, limits, credentials).await?, limits, None))
}

/// Opens a connection and shakes hands on it, for whatever it then carries.
///
/// # Errors
/// As [`connect`]; for a shuffle, whoever listens is a worker.
pub async fn dial(
    address: &str,
    service: Service,
    limits: &Limits,
    credentials: &Credentials,
) -> Result<security::Stream> {
    let host_port = parse_address(address)?;
    credentials.check_address(address)?;
    let shown = credentials.current();
    let connecting = async {
        let stream = TcpStream::connect(host_port)
            .await
            .map_err(|error| nobody(service, format_args!("answers at {address}: {error}")))?;
        set_options(&stream, limits)
            .map_err(|error| Error::unavailable(format!("the connection broke: {error}")))?;
        let mut stream = shown.secure(stream, service, address, host_port).await?;
        let binding = stream.binding()?;
        handshake::hello(&mut stream, service, shown.token.as_ref(), binding).await?;
        Ok::<_, Error>(stream)
    };
    let timeout = limits.handshake_timeout();
    tokio::time::timeout(timeout, connecting)
        .await
        .map_err(|_| nobody(service, format_args!("answers at {address} within {timeout:?}")))?
        .map_err(|error| shown.explained(error))
}

fn nobody(service: Service, answers: fmt::Arguments<'_>) -> Error {
    let error = Error::unavailable(format!("no {} {answers}", service.listener()));
    match service {
        Service::Client | Service::Worker => error.with_code(ErrorCode::NoCoordinator),
        Service::Shuffle => error,
    }
}

/// Puts frames on a connection whose handshake is done. What it receives takes room until it is
/// dealt with.
pub fn framed<Item, SinkItem>(
    stream: security::Stream,
    limits: &Limits,
    room: Option<&ReceiveRoom>,
) -> Transport<Item, SinkItem>
where
    Item: DeserializeOwned,
    SinkItem: Serialize,
{
    Transport::new(stream, limits, room)
}

/// Messages leave at once, and a peer whose machine or network is gone is noticed.
pub(super) fn set_options(stream: &TcpStream, limits: &Limits) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let socket = SockRef::from(stream);
    let probe = (limits.dead_peer() / 3).max(Duration::from_secs(1));
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(probe).with_interval(probe))?;
    // It also ends connections whose peers are there but take nothing, so a pause must fit into it.
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(limits.call_timeout() + limits.dead_peer()))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::{
        array::{ArrayRef, AsArray, Int64Array, RecordBatch},
        compute::concat_batches,
        datatypes::Int64Type,
    };
    use bytes::Bytes;
    use futures::{SinkExt, StreamExt};

    use super::*;
    use crate::{
        ipc::{Decoder, Encoder},
        rpc::{Body, Chunk, Next},
    };

    #[test]
    fn peers_that_go_are_told_from_those_that_send_what_cannot_be_read() {
        // Of Linux: the peer does not answer any more, and there is no way to it.
        let [timed_out, no_route] = [110, 113].map(io::Error::from_raw_os_error);
        let gone = [timed_out, no_route, io::ErrorKind::ConnectionReset.into()];
        assert!(gone.iter().all(is_end), "{gone:?}");
        // These are said of a frame that does not come to its end, or not in time.
        let cut_short = io::ErrorKind::UnexpectedEof;
        let bad = [cut_short, io::ErrorKind::TimedOut, io::ErrorKind::InvalidData];
        let bad = bad.map(io::Error::from);
        assert!(!bad.iter().any(is_end), "{bad:?}");
    }

    #[test]
    fn an_address_is_a_host_and_a_port_with_or_without_a_scheme() {
        for (address, host_port) in [
            ("tcp://10.0.0.5:7700", "10.0.0.5:7700"),
            ("localhost:7700", "localhost:7700"),
            ("[::1]:7700", "[::1]:7700"),
            ("tls://10.0.0.5:7700", "10.0.0.5:7700"),
        ] {
            assert_eq!(parse_address(address), Ok(host_port));
            assert_eq!(is_tls(address), address.starts_with("tls:"));
        }
        for address in [
            "",
            "localhost",
            "tcp://:7700",
            "http://h:7700",
            "h:7700/x",
            "h:77000",
            "tls://tcp://h:7700",
        ] {
            let message = format!(
                "a cluster's address is tcp://HOST:PORT or tls://HOST:PORT, not '{address}'"
            );
            assert_eq!(parse_address(address), Err(Error::invalid(message)));
        }
    }

    #[tokio::test]
    async fn bodies_arrive_as_they_left() {
        let (near, far) = tokio::io::duplex(1000);
        let limits = Limits::default();
        let mut near = Transport::<Next, Vec<Next>, _>::new(near, &limits, None);
        let mut far = Transport::<Vec<Next>, Next, _>::new(far, &limits, None);
        let chunk = |stream, length| Next::Chunk {
            stream,
            chunk: Bytes::from(vec![stream as u8; length]).into(),
        };
        let sent = vec![chunk(1, 100_000), chunk(2, 0), chunk(3, 5)];
        let (sending, received) = tokio::join!(near.send(sent), far.next());
        sending.unwrap();
        let lengths: Vec<_> = received
            .unwrap()
            .unwrap()
            .into_iter()
            .map(|next| match next {
                Next::Chunk { stream, chunk: Chunk::Stream(body) } => {
                    let bytes = body.into_bytes();
                    assert!(bytes.iter().all(|byte| u32::from(*byte) == stream));
                    (stream, bytes.len())
                }
                other => unreachable!("{other:?}"),
            })
            .collect();
        assert_eq!(lengths, [(1, 100_000), (2, 0), (3, 5)]);
        drop(near);
        assert!(far.next().await.is_none());
    }

    /// Arrow copies what is not aligned, or not in one piece.
    #[tokio::test]
    async fn rows_stay_where_they_were_received() {
        let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(0..200_000));
        let rows = RecordBatch::try_from_iter([("number", numbers)]).unwrap();
        let mut encoder = Encoder::try_new(&rows.schema(), 4 << 20).unwrap();
        let (near, far) = tokio::io::duplex(10_000);
        let limits = Limits::default();
        let mut near = Transport::<(), Next, _>::new(near, &limits, None);
        let mut far = Transport::<Next, (), _>::new(far, &limits, None);
        let mut decoder = Decoder::new();
        let mut received = Vec::new();
        for chunk in encoder.write(&rows).unwrap() {
            let sending = near.send(Next::Chunk { stream: 0, chunk: chunk.into() });
            let (sent, chunk) = tokio::join!(sending, far.next());
            sent.unwrap();
            let Next::Chunk { chunk: Chunk::Stream(body), .. } = chunk.unwrap().unwrap() else {
                unreachable!("a chunk was sent")
            };
            let chunk = body.into_bytes();
            let memory = chunk.as_ptr_range();
            for batch in decoder.push(chunk).unwrap() {
                let values = batch.column(0).as_primitive::<Int64Type>().values().as_ptr().cast();
                assert!(memory.contains(&values), "the values were copied");
                received.push(batch);
            }
        }
        assert_eq!(concat_batches(&rows.schema(), &received).unwrap(), rows);
    }

    #[tokio::test]
    async fn a_body_that_claims_more_than_was_sent_is_an_error() {
        let (mut near, far) = tokio::io::duplex(1000);
        let mut far = Transport::<Body, (), _>::new(far, &Limits::default(), None);
        let mut outgoing = Outgoing::default();
        let (message, _) =
            body::apart(|| encode(&Body::from(Bytes::from_static(b"four"))).unwrap());
        outgoing.push(&message, vec![Bytes::from_static(b"two")], 100).unwrap();
        tokio::io::AsyncWriteExt::write_all_buf(&mut near, &mut outgoing).await.unwrap();
        let error = far.next().await.unwrap().unwrap_err();
        assert!(error.to_string().contains("a body is longer than what was sent"), "{error}");
    }

    #[tokio::test]
    async fn a_body_that_no_message_has_is_an_error() {
        let (mut near, far) = tokio::io::duplex(1000);
        let mut far = Transport::<Body, (), _>::new(far, &Limits::default(), None);
        let mut outgoing = Outgoing::default();
        let (message, bodies) =
            body::apart(|| encode(&Body::from(Bytes::from_static(b"one"))).unwrap());
        outgoing.push(&message, [bodies.clone(), bodies].concat(), 100).unwrap();
        tokio::io::AsyncWriteExt::write_all_buf(&mut near, &mut outgoing).await.unwrap();
        let error = far.next().await.unwrap().unwrap_err();
        assert!(error.to_string().contains("a body that is not in it"), "{error}");
    }
}
