//! The connections that are open, of which there are only so many: when all places are taken, the
//! one over which nothing was asked for the longest time is closed. A client, and a worker that
//! reads blobs, opens another when it wants something again; over a worker's other connections
//! something is always asked. Where all are in use, whoever connects is told. A place is only taken
//! by peers who have shown who they are.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use keyloom_common::{Error, Result};
use tokio_util::sync::CancellationToken;

/// All places.
#[derive(Debug)]
pub(super) struct Connections {
    max: usize,
    /// None is idle before so long.
    idle: Duration,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    next: u64,
    open: HashMap<u64, Connection>,
}

#[derive(Debug)]
struct Connection {
    close: CancellationToken,
    /// It is idle after so long; none before its service has begun.
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

impl Connections {
    pub(super) fn new(max: usize, idle: Duration) -> Arc<Self> {
        Arc::new(Self { max, idle, state: Mutex::default() })
    }

    /// A place for another connection.
    ///
    /// # Errors
    /// `resource_exhausted`, naming the bound, if all are in use.
    pub(super) fn enter(self: &Arc<Self>) -> Result<Place> {
        let mut state = self.lock();
        if state.open.len() >= self.max {
            let idle = state.open.iter().filter(|(_, connection)| connection.is_idle());
            let idle = idle.min_by_key(|(_, connection)| connection.used).map(|(id, _)| *id);
            let closed = idle.and_then(|id| state.open.remove(&id));
            closed.ok_or_else(|| self.full())?.close.cancel();
        }
        let (id, close) = (state.next, CancellationToken::new());
        state.next += 1;
        let (idle, requests, used) = (None, 0, Instant::now());
        state.open.insert(id, Connection { close: close.clone(), idle, requests, used });
        Ok(Place { connections: Arc::clone(self), id, close })
    }

    fn full(&self) -> Error {
        Error::resource_exhausted(format!(
            "max_connections = {} connections to the coordinator are open and in use",
            self.max
        ))
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
        let reason = "max_connections = 1 connections to the coordinator are open and in use";
        assert_eq!(busy.enter().unwrap_err(), Error::resource_exhausted(reason));
        drop(request);
        assert!(busy.enter().is_ok());

        let active = Connections::new(1, Duration::from_secs(3600));
        let _place = client(&active);
        assert!(active.enter().is_err());
    }
}
