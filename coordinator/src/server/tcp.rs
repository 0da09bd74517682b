//! TCP: accept, shake hands, serve one service a connection.

use std::{sync::Arc, time::Duration};

use futures::StreamExt;
use keyloom_common::{
    Error, Result,
    rpc::{ClientApi, WorkerApi, framed, handshake},
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
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            () = shared.broken.cancelled() => {
                return Err(Error::internal("the coordinator broke; the log says where"));
            }
            Some(_) = connections.join_next() => {}
            accepted = listener.accept() => {
                let stream = match accepted {
                    Ok((stream, _)) => stream,
                    // Out of file descriptors, or the peer hung up: neither ends the server.
                    Err(error) => {
                        tracing::warn!(%error, "a connection could not be accepted");
                        tokio::time::sleep(Duration::from_millis(50)).await;
                        continue;
                    }
                };
                let Some(place) = places.enter() else {
                    tracing::warn!("a connection was refused: max_connections are open and in use");
                    if let Some(refusal) = places.refuse() {
                        connections.spawn(async move {
                            if let Err(error) = refusal.tell(stream).await {
                                tracing::debug!(%error, "whoever was refused was not told");
                            }
                        });
                    }
                    continue;
                };
                let shared = Arc::clone(&shared);
                connections.spawn(async move {
                    let place = Arc::new(place);
                    tokio::select! {
                        served = connection(shared, stream, &place) => if let Err(error) = served {
                            tracing::warn!(%error, "a connection was refused");
                        },
                        () = place.close.cancelled() => {
                            tracing::info!("an idle connection was closed for another");
                        }
                    }
                });
            }
        }
    }
}

async fn connection(shared: Arc<Shared>, mut stream: TcpStream, place: &Arc<Place>) -> Result<()> {
    let limits = &shared.settings.rpc;
    let timeout = limits.handshake_timeout();
    let role = tokio::time::timeout(timeout, handshake::welcome(&mut stream))
        .await
        .map_err(|_| Error::timeout(format!("no handshake within {timeout:?}")))??;
    let in_flight = limits.requests_in_flight;
    match role {
        handshake::Role::Client => {
            place.welcome(Duration::ZERO);
            let transport = framed(stream, limits, Some(&shared.room))?;
            let ended = transport.ended();
            let channel = BaseChannel::with_defaults(transport);
            let (shared, owner) = (Arc::clone(&shared), Owner::default());
            let connection = ClientConnection { shared, owner, in_process: false };
            let requests = channel.execute(connection.serve());
            let requests = requests.map(|request| (place.request(), request));
            let answer = async |(_running, request)| request.await;
            // Whoever asked is gone: so is what it owns, whatever is still being answered.
            let served = requests.for_each_concurrent(in_flight, answer);
            ended.run_until_cancelled(served).await;
        }
        handshake::Role::Worker => {
            // One that says nothing for longer is lost anyway.
            let beat = shared.settings.scheduler.heartbeat_timeout_ms;
            place.welcome(Duration::from_millis(beat));
            let transport = framed(stream, limits, Some(&shared.room))?;
            let ended = transport.ended();
            let channel = BaseChannel::with_defaults(transport);
            let connection = WorkerConnection::new(Arc::clone(&shared), limits.chunk_bytes);
            let requests = channel.execute(connection.clone().serve());
            let requests = requests.map(|request| (place.request(), request));
            let answer = async |(_running, request)| request.await;
            let requests = requests.for_each_concurrent(in_flight, answer);
            let served = keyloom_common::rpc::guarded(async {
                ended.run_until_cancelled(requests).await;
                Ok(())
            })
            .await;
            connection.ended();
            served?;
        }
    }
    Ok(())
}
