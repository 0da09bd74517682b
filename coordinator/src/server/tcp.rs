//! TCP: accept, let in, serve one service a connection.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use futures::StreamExt;
use keyloom_common::{
    Error, Result,
    rpc::{Admitted, ClientApi, Identity, Stream, WorkerApi, framed, handshake::Service},
};
use tarpc::server::{BaseChannel, Channel};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

use super::{
    Shared,
    client::ClientConnection,
    connections::{Connections, Place},
    deadline::within_reach,
    refusals::Refusals,
    worker::WorkerConnection,
};
use crate::owner::Owner;

/// Serves until the token is cancelled; connections that are open then are closed.
pub(super) async fn serve(
    shared: Arc<Shared>,
    listener: TcpListener,
    shutdown: CancellationToken,
) -> Result<()> {
    let settings = &shared.settings;
    let places = Connections::new(settings.max_connections, settings.idle_connection());
    let refusals = Arc::new(Refusals::new(Instant::now()));
    let gate = shared.gate.clone();
    let mut connections = JoinSet::new();
    // It goes with the connections, and ends before them only if it breaks.
    connections.spawn(async move { gate.keep_fresh().await });
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            () = shared.broken.cancelled() => {
                return Err(Error::internal("the coordinator broke; the log says where"));
            }
            Some(_) = connections.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => {
                    let (shared, places) = (Arc::clone(&shared), Arc::clone(&places));
                    let refusals = Arc::clone(&refusals);
                    connections.spawn(async move {
                        let metrics = Arc::clone(shared.dispatcher.metrics());
                        if let Err(error) = connection(shared, places, stream, peer).await {
                            tell(&refusals, peer, &error);
                            metrics.connections.refuse(&error);
                        }
                    });
                }
                // Out of file descriptors, or the peer hung up: neither ends the server.
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
    }
}

/// Says in the log that a connection was refused, if not too many are.
fn tell(refusals: &Refusals, peer: SocketAddr, error: &Error) {
    match refusals.tell(Instant::now()) {
        Some(0) => tracing::warn!(%peer, %error, "a connection was refused"),
        Some(others) => tracing::warn!(
            %peer, %error, others, "a connection was refused, and others before it, not all told"
        ),
        None => {}
    }
}

async fn connection(
    shared: Arc<Shared>,
    places: Arc<Connections>,
    stream: TcpStream,
    peer: SocketAddr,
) -> Result<()> {
    let Admitted { stream, service, identity, place } =
        shared.gate.admit(stream, || places.enter()).await?;
    tracing::debug!(%peer, %identity, ?service, "connected");
    let connections = &shared.dispatcher.metrics().connections;
    connections.accepted.inc();
    let _open = connections.open();
    let place = Arc::new(place);
    let serving = async {
        match service {
            Service::Client => {
                serve_client(&shared, stream, Owner::of(identity), &place).await;
                Ok(())
            }
            Service::Worker => serve_worker(&shared, stream, identity, &place).await,
            Service::Shuffle => {
                let message = "workers shuffle among themselves, and not with the coordinator";
                Err(Error::invalid(message))
            }
        }
    };
    tokio::select! {
        served = serving => served,
        () = place.close.cancelled() => {
            tracing::info!(%peer, "an idle connection was closed for another");
            Ok(())
        }
    }
}

async fn serve_client(shared: &Arc<Shared>, stream: Stream, owner: Owner, place: &Arc<Place>) {
    let limits = &shared.settings.rpc;
    place.welcome(Duration::ZERO);
    let transport = framed(stream, limits, Some(&shared.room));
    let ended = transport.ended();
    let channel = BaseChannel::with_defaults(transport.map(within_reach));
    let connection = ClientConnection { shared: Arc::clone(shared), owner, in_process: false };
    let requests = channel.execute(connection.serve());
    let requests = requests.map(|request| (place.request(), request));
    let answer = async |(_running, request)| request.await;
    // Whoever asked is gone: so is what it owns, whatever is still being answered.
    let served = requests.for_each_concurrent(limits.requests_in_flight, answer);
    ended.run_until_cancelled(served).await;
}

async fn serve_worker(
    shared: &Arc<Shared>,
    stream: Stream,
    identity: Identity,
    place: &Arc<Place>,
) -> Result<()> {
    let limits = &shared.settings.rpc;
    // One that says nothing for longer is lost anyway.
    let beat = shared.settings.scheduler.heartbeat_timeout_ms;
    place.welcome(Duration::from_millis(beat));
    let transport = framed(stream, limits, Some(&shared.room));
    let ended = transport.ended();
    let channel = BaseChannel::with_defaults(transport.map(within_reach));
    let connection = WorkerConnection::new(Arc::clone(shared), limits.chunk_bytes, identity);
    let requests = channel.execute(connection.clone().serve());
    let requests = requests.map(|request| (place.request(), request));
    let answer = async |(_running, request)| request.await;
    let requests = requests.for_each_concurrent(limits.requests_in_flight, answer);
    let served = keyloom_common::rpc::guarded(async {
        ended.run_until_cancelled(requests).await;
        Ok(())
    })
    .await;
    connection.ended();
    served
}
