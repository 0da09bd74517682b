//! Taking part in the shuffles of others: connections of other workers, for as long as a worker's
//! life lasts. They have threads of their own, which answer while those that compute are busy.

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
    runtime::Handle,
    sync::{OwnedSemaphorePermit, Semaphore},
};
use tokio_util::sync::{CancellationToken, DropGuard, WaitForCancellationFutureOwned};
use tonic::transport::{Server, server::Connected};

use super::{ShuffleSettings, on_compute::OnCompute, peers::MAX_HEADER_BYTES};

/// What serves other workers.
pub(super) struct Port<'a> {
    pub(super) listener: &'a TcpListener,
    pub(super) gate: &'a Gate,
    pub(super) settings: &'a ShuffleSettings,
    /// Where it is computed what peers ask for.
    pub(super) compute: &'a Handle,
}

impl Port<'_> {
    /// Serves until the token is cancelled: then all connections break. They are on the threads
    /// that this is polled on.
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
        let (settings, compute) = (self.settings.clone(), self.compute.clone());
        let until = ended.clone();
        let serve = move |peer, admitted| {
            let (worker, compute) = (worker.clone(), compute.clone());
            connection(settings.clone(), (worker, compute), until.clone(), peer, admitted)
        };
        let serving = Entrance::new(self.gate.clone(), counts).serve(self.listener, enter, serve);
        ended.run_until_cancelled(serving).await;
    }
}

/// Leaves a peer that was let in to what serves it.
async fn connection(
    settings: ShuffleSettings,
    (worker, compute): (Worker, Handle),
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
    let closed = CancellationToken::new();
    let guard = closed.clone().drop_guard();
    let connection = Connection { stream, ended, _place: place, _closed: guard };
    let service = worker.into_worker_server().max_decoding_message_size(settings.max_message_bytes);
    let service = OnCompute { service, threads: compute };
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
    // What serves it does so in a task of its own, and it counts as open until that ends.
    closed.cancelled().await;
    Ok(())
}

/// A connection that breaks when the worker's life ends, and has its place until it is closed.
struct Connection {
    stream: Stream,
    ended: Pin<Box<WaitForCancellationFutureOwned>>,
    _place: OwnedSemaphorePermit,
    /// Tells that it is closed.
    _closed: DropGuard,
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
