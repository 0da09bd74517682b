//! Accepting connections: each has a task of its own, and all break when whoever accepts them ends.
//!
//! Every port does it this way. At an [`Entrance`], connections come through a [`Gate`] first, and
//! those that do not are counted, and told of in the log, but not without end.

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::sleep,
};

use super::{Admitted, Gate, counts::ConnectionCounts, refusals::Refusals};
use crate::error::{Error, Result};

/// How long to rest when no connection can be accepted, as without file descriptors.
const REST: Duration = Duration::from_millis(50);

/// Serves each connection, and sees meanwhile whether the files of these gates have changed, until
/// this is dropped: then all connections break. Their number is bounded by whoever serves them.
pub async fn accepting<F>(
    listener: &TcpListener,
    gates: Vec<Gate>,
    mut serve: impl FnMut(TcpStream, SocketAddr) -> F,
) -> Infallible
where
    F: Future<Output = ()> + Send + 'static,
{
    let mut tasks = JoinSet::new();
    for gate in gates {
        tasks.spawn(async move { gate.keep_fresh().await });
    }
    loop {
        tokio::select! {
            Some(_) = tasks.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => {
                    tasks.spawn(serve(stream, peer));
                }
                // Out of file descriptors, or the peer hung up: neither ends who listens.
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    sleep(REST).await;
                }
            }
        }
    }
}

/// A port that is entered through a gate.
#[derive(Debug)]
pub struct Entrance {
    gate: Gate,
    counts: ConnectionCounts,
    refusals: Refusals,
}

impl Entrance {
    /// An entrance by this gate, whose connections are counted so.
    pub fn new(gate: Gate, counts: ConnectionCounts) -> Arc<Self> {
        Arc::new(Self { gate, counts, refusals: Refusals::new(Instant::now()) })
    }

    /// Serves those who come through, to whom `enter` gives places, until this is dropped: then all
    /// connections break. An error of `serve` says that one should not have come.
    pub async fn serve<P, E, S, F>(
        self: Arc<Self>,
        listener: &TcpListener,
        enter: E,
        serve: S,
    ) -> Infallible
    where
        P: Send + 'static,
        E: Fn() -> Result<P> + Clone + Send + 'static,
        S: Fn(SocketAddr, Admitted<P>) -> F + Clone + Send + 'static,
        F: Future<Output = Result<()>> + Send + 'static,
    {
        let gates = vec![self.gate.clone()];
        let each = move |stream: TcpStream, peer: SocketAddr| {
            let (own, enter, serve) = (Arc::clone(&self), enter.clone(), serve.clone());
            async move {
                if let Err(error) = own.connection(stream, peer, enter, serve).await {
                    own.tell(peer, &error);
                    own.counts.refuse(&error);
                }
            }
        };
        accepting(listener, gates, each).await
    }

    async fn connection<P, F>(
        &self,
        stream: TcpStream,
        peer: SocketAddr,
        enter: impl FnOnce() -> Result<P>,
        serve: impl FnOnce(SocketAddr, Admitted<P>) -> F,
    ) -> Result<()>
    where
        F: Future<Output = Result<()>>,
    {
        let admitted = self.gate.admit(stream, enter).await?;
        let _open = self.counts.accept();
        serve(peer, admitted).await
    }

    /// Says in the log that a connection was refused, if not too many are.
    fn tell(&self, peer: SocketAddr, error: &Error) {
        match self.refusals.tell(Instant::now()) {
            Some(0) => tracing::warn!(%peer, %error, "a connection was refused"),
            Some(others) => tracing::warn!(
                %peer, %error, others, "a connection was refused, and others before it, not all \
                 told"
            ),
            None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::registry::Registry;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        sync::Semaphore,
        task::yield_now,
        time::timeout,
    };

    use super::*;
    use crate::{
        ErrorKind,
        metrics::text,
        rpc::{Credentials, Limits, PortName, ServerSecurity, Stream, dial, handshake::Service},
    };

    /// Nothing takes longer.
    const BOUND: Duration = Duration::from_secs(60);

    async fn come(address: &str, service: Service) -> Result<Stream> {
        dial(address, service, &Limits::default(), &Credentials::default()).await
    }

    /// Waits until all of these lines are told.
    async fn told(registry: &Registry, lines: &[&str]) {
        let are_told = || {
            let text = text(registry);
            lines.iter().all(|line| text.lines().any(|told| told == *line))
        };
        let wait = async {
            while !are_told() {
                yield_now().await;
            }
        };
        let waited = timeout(BOUND, wait).await;
        assert!(waited.is_ok(), "not {lines:?} in\n{}", text(registry));
    }

    /// Answers a byte with the same byte, and refuses clients.
    async fn answer<P>(admitted: Admitted<P>) -> Result<()> {
        if admitted.service == Service::Client {
            return Err(Error::invalid("not for clients"));
        }
        let (mut stream, _place) = (admitted.stream, admitted.place);
        while let Ok(byte) = stream.read_u8().await {
            let _ = stream.write_u8(byte).await;
            let _ = stream.flush().await;
        }
        Ok(())
    }

    #[tokio::test]
    async fn those_who_come_in_are_served_and_all_are_counted() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = format!("tcp://{}", listener.local_addr().unwrap());
        let mut registry = Registry::default();
        let counts = ConnectionCounts::register(&mut registry, "doors");
        let gate =
            Gate::open(PortName::Rpc, &ServerSecurity::default(), &Limits::default()).unwrap();
        let places = Arc::new(Semaphore::new(1));
        let enter = move || {
            let place = Arc::clone(&places).try_acquire_owned();
            place.map_err(|_| Error::resource_exhausted("all places are taken"))
        };
        let serve = |_, admitted| answer(admitted);
        let serving = Entrance::new(gate, counts).serve(&listener, enter, serve);
        let visits = async {
            let _ = come(&address, Service::Client).await.unwrap();
            let refused = "doors_refused_total{reason=\"invalid\"} 1";
            told(&registry, &[refused, "doors 0", "doors_accepted_total 1"]).await;
            let mut near = come(&address, Service::Shuffle).await.unwrap();
            let full = come(&address, Service::Shuffle).await.unwrap_err();
            assert_eq!(full.kind(), ErrorKind::ResourceExhausted, "{full}");
            near.write_u8(7).await.unwrap();
            near.flush().await.unwrap();
            assert_eq!(near.read_u8().await.unwrap(), 7);
            let full = "doors_refused_total{reason=\"full\"} 1";
            told(&registry, &[full, "doors 1", "doors_accepted_total 2"]).await;
            near
        };
        let mut near = tokio::select! {
            never = serving => match never {},
            near = visits => near,
        };
        // Nobody accepts any more.
        assert!(timeout(BOUND, near.read_u8()).await.unwrap().is_err());
        told(&registry, &["doors 0"]).await;
    }
}
