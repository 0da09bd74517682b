//! Taking part in the shuffles of others: connections of other workers, for as long as a worker's
//! life lasts.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use datafusion_distributed::Worker;
use futures::stream;
use keyloom_common::{
    Error, Result,
    rpc::{Admitted, ConnectionCounts, Entrance, Gate, Stream, handshake::Service},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpListener,
    sync::{OwnedSemaphorePermit, Semaphore},
};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::transport::{Server, server::Connected};

use super::{ShuffleSettings, peers::MAX_HEADER_BYTES};

/// What serves other workers.
pub(super) struct Port<'a> {
    pub(super) listener: &'a TcpListener,
    pub(super) gate: &'a Gate,
    pub(super) settings: &'a ShuffleSettings,
}

impl Port<'_> {
    /// Serves until the token is cancelled: then all connections break.
    pub(super) async fn serve(
        &self,
        worker: Worker,
        counts: ConnectionCounts,
        ended: CancellationToken,
    ) {
        let max = self.settings.max_connections;
        let places = Arc::new(Semaphore::new(max));
        let enter = move || {
            Arc::clone(&places).try_acquire_owned().map_err(|_| {
                let taken = format!("shuffle.max_connections = {max} on the worker are taken");
                Error::resource_exhausted(taken)
            })
        };
        let (settings, until) = (self.settings.clone(), ended.clone());
        let serve = move |peer, admitted| {
            connection(settings.clone(), worker.clone(), until.clone(), peer, admitted)
        };
        let serving = Entrance::new(self.gate.clone(), counts).serve(self.listener, enter, serve);
        ended.run_until_cancelled(serving).await;
    }
}

/// Leaves a peer that was let in to what serves it.
async fn connection(
    settings: ShuffleSettings,
    worker: Worker,
    ended: CancellationToken,
    peer: SocketAddr,
    admitted: Admitted<OwnedSemaphorePermit>,
) -> Result<()> {
    let Admitted { stream, service, identity, place } = admitted;
    if service != Service::Shuffle {
        return Err(Error::invalid("it takes the worker for a coordinator"));
    }
    tracing::debug!(%peer, %identity, "shuffles with it");
    let ended = Box::pin(ended.cancelled_owned());
    let connection = Connection { stream, ended, _place: place };
    let service = worker.into_worker_server().max_decoding_message_size(settings.max_message_bytes);
    let served = Server::builder()
        .http2_max_header_list_size(MAX_HEADER_BYTES)
        .http2_keepalive_interval(Some(settings.keepalive()))
        .http2_keepalive_timeout(Some(settings.keepalive_timeout()))
        .add_service(service)
        .serve_with_incoming(stream::once(async move { Ok::<_, io::Error>(connection) }));
    if let Err(error) = served.await {
        // It was let in, and whoever shuffles over it hears of it, too.
        tracing::warn!(%peer, %error, "a connection of a shuffle broke");
    }
    Ok(())
}

/// A connection that breaks when the worker's life ends, and has its place until it is closed.
struct Connection {
    stream: Stream,
    ended: Pin<Box<WaitForCancellationFutureOwned>>,
    _place: OwnedSemaphorePermit,
}

impl Connection {
    /// The connection, unless it is to break. Whoever waits for it is woken by that, too.
    fn open(&mut self, context: &mut Context<'_>) -> io::Result<Pin<&mut Stream>> {
        match self.ended.as_mut().poll(context) {
            Poll::Ready(()) => Err(io::ErrorKind::ConnectionAborted.into()),
            Poll::Pending => Ok(Pin::new(&mut self.stream)),
        }
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.get_mut().open(context)?.poll_read(context, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.get_mut().open(context)?.poll_write(context, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.get_mut().open(context)?.poll_write_vectored(context, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().open(context)?.poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }
}

impl Connected for Connection {
    type ConnectInfo = ();

    fn connect_info(&self) -> Self::ConnectInfo {}
}
