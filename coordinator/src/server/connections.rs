//! The connections that are open, of which there are only so many: when all places are taken, the
//! one over which nothing was asked for the longest time is closed. A client, and a worker that
//! reads blobs, opens another when it wants something again; over a worker's other connections
//! something is always asked. Where all are in use, whoever connects is told, and a few at once:
//! telling is bounded, too.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use keyloom_common::{Error, Result, rpc::handshake};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};
use tokio_util::sync::CancellationToken;

/// How many are refused at once. More are hung up on.
const REFUSALS: usize = 16;

/// How long a refusal may take.
const REFUSAL: Duration = Duration::from_secs(2);

/// All places.
#[derive(Debug)]
pub(super) struct Connections {
    max: usize,
    /// None is idle before so long.
    idle: Duration,
    state: Mutex<State>,
    refusals: Arc<Semaphore>,
}

#[derive(Debug, Default)]
struct State {
    next: u64,
    open: HashMap<u64, Connection>,
}

#[derive(Debug)]
struct Connection {
    close: CancellationToken,
    /// It is idle after so long; none before its handshake is done. That has a limit of its own.
    idle: Option<Duration>,
    requests: usize,
    used: Instant,
}

/// One place, until this is dropped.
#[derive(Debug)]
pub(super) struct Place {
    connections: Arc<Connections>,
    id: u64,
    /// Cancelled when the place is needed for another.
    pub(super) close: CancellationToken,
}

/// A request that is being answered, until this is dropped.
#[derive(Debug)]
pub(super) struct Request(Arc<Place>);

/// The refusal of a connection.
#[derive(Debug)]
pub(super) struct Refusal {
    max: usize,
    _turn: OwnedSemaphorePermit,
}

impl Connections {
    pub(super) fn new(max: usize, idle: Duration) -> Arc<Self> {
        let refusals = Arc::new(Semaphore::new(REFUSALS));
        Arc::new(Self { max, idle, state: Mutex::default(), refusals })
    }

    /// A place for another connection; none if all are in use.
    pub(super) fn enter(self: &Arc<Self>) -> Option<Place> {
        let mut state = self.lock();
        if state.open.len() >= self.max {
            let idle = state.open.iter().filter(|(_, connection)| connection.is_idle());
            let id = *idle.min_by_key(|(_, connection)| connection.used)?.0;
            state.open.remove(&id)?.close.cancel();
        }
        let (id, close) = (state.next, CancellationToken::new());
        state.next += 1;
        let (idle, requests, used) = (None, 0, Instant::now());
        state.open.insert(id, Connection { close: close.clone(), idle, requests, used });
        Some(Place { connections: Arc::clone(self), id, close })
    }

    /// The refusal of a connection that there is no place for; none if enough are being refused.
    pub(super) fn refuse(&self) -> Option<Refusal> {
        let turn = Arc::clone(&self.refusals).try_acquire_owned().ok()?;
        Some(Refusal { max: self.max, _turn: turn })
    }

    fn change(&self, id: u64, change: impl FnOnce(&mut Connection)) {
        if let Some(connection) = self.lock().open.get_mut(&id) {
            change(connection);
            connection.used = Instant::now();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Connection {
    fn is_idle(&self) -> bool {
        self.requests == 0 && self.idle.is_some_and(|idle| self.used.elapsed() >= idle)
    }
}

impl Refusal {
    /// Tells whoever connects why there is no place.
    ///
    /// # Errors
    /// `timeout` or `unavailable` if the peer does not listen.
    pub(super) async fn tell<S>(self, mut stream: S) -> Result<()>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let reason = format!(
            "max_connections = {} connections to the coordinator are open and in use",
            self.max
        );
        let telling = timeout(REFUSAL, handshake::refuse(&mut stream, &reason));
        telling.await.map_err(|_| Error::timeout(format!("no handshake within {REFUSAL:?}")))?
    }
}

impl Place {
    /// Says that the handshake is done, and that the peer is not idle before so long.
    pub(super) fn welcome(&self, at_least: Duration) {
        let idle = self.connections.idle.max(at_least);
        self.connections.change(self.id, |connection| connection.idle = Some(idle));
    }

    /// Begins a request.
    pub(super) fn request(self: &Arc<Self>) -> Request {
        self.connections.change(self.id, |connection| connection.requests += 1);
        Request(Arc::clone(self))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.connections.lock().open.remove(&self.id);
    }
}

impl Drop for Request {
    fn drop(&mut self) {
        self.0.connections.change(self.0.id, |connection| connection.requests -= 1);
    }
}

#[cfg(test)]
mod tests {
    use keyloom_common::rpc::handshake::{Role, hello};

    use super::*;

    fn client(connections: &Arc<Connections>) -> Arc<Place> {
        let place = connections.enter().unwrap();
        place.welcome(Duration::ZERO);
        Arc::new(place)
    }

    #[test]
    fn the_longest_idle_client_makes_room() {
        let connections = Connections::new(3, Duration::ZERO);
        let worker = connections.enter().unwrap();
        let [one, two] = [client(&connections), client(&connections)];
        drop(one.request());
        let third = connections.enter().unwrap();
        assert!(two.close.is_cancelled() && !one.close.is_cancelled());
        assert!(!worker.close.is_cancelled() && !third.close.is_cancelled());
        drop(two);
        assert_eq!(connections.lock().open.len(), 3);
    }

    #[test]
    fn who_is_busy_or_was_a_moment_ago_keeps_its_place() {
        let busy = Connections::new(1, Duration::ZERO);
        let place = client(&busy);
        let request = place.request();
        assert!(busy.enter().is_none());
        drop(request);
        assert!(busy.enter().is_some());

        let active = Connections::new(1, Duration::from_secs(3600));
        let _place = client(&active);
        assert!(active.enter().is_none());
    }

    #[tokio::test]
    async fn whoever_finds_no_place_is_told_the_bound() {
        let connections = Connections::new(3, Duration::ZERO);
        let (mut near, far) = tokio::io::duplex(4096);
        let refusal = connections.refuse().unwrap();
        let (told, refused) = tokio::join!(refusal.tell(far), hello(&mut near, Role::Worker));
        told.unwrap();
        let reason = "max_connections = 3 connections to the coordinator are open and in use";
        assert_eq!(refused.unwrap_err(), Error::resource_exhausted(reason));
    }

    #[test]
    fn only_so_many_are_refused_at_once() {
        let connections = Connections::new(0, Duration::ZERO);
        let mut refusals: Vec<_> = (0..REFUSALS).map(|_| connections.refuse().unwrap()).collect();
        assert!(connections.refuse().is_none());
        refusals.pop();
        assert!(connections.refuse().is_some());
    }
}
