//! TCP: those who are let in are served one service a connection.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use futures::StreamExt;
use keyloom_common::{
    Error, Result,
    rpc::{Admitted, ClientApi, Entrance, Identity, Stream, WorkerApi, framed, handshake::Service},
};
use tarpc::server::{BaseChannel, Channel};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::{
    Shared,
    client::ClientConnection,
    connections::{Connections, Place},
    deadline::within_reach,
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
    let counts = shared.dispatcher.metrics().connections.clone();
    let (entrance, own) = (Entrance::new(shared.gate.clone(), counts), Arc::clone(&shared));
    let serving = entrance.serve(
        &listener,
        move || places.enter(),
        move |peer, admitted| connection(Arc::clone(&own), peer, admitted),
    );
    tokio::select! {
        () = shutdown.cancelled() => Ok(()),
        () = shared.broken.cancelled() => {
            Err(Error::internal("the coordinator broke; the log says where"))
        }
        never = serving => match never {},
    }
}

async fn connection(
    shared: Arc<Shared>,
    peer: SocketAddr,
    admitted: Admitted<Place>,
) -> Result<()> {
    let Admitted { stream, service, identity, place } = admitted;
    tracing::debug!(%peer, %identity, ?service, "connected");
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
