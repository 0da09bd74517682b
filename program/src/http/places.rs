//! The connections of the port, of which there are only so many: for one more, the one that is open
//! for the longest time is closed. A request takes moments, and whoever stays longer must not keep
//! those away who watch over the process. Those who are given rows go last.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio_util::sync::CancellationToken;

/// All places.
#[derive(Debug)]
pub(super) struct Places {
    max: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    next: u64,
    /// By when they came.
    open: BTreeMap<u64, Open>,
}

#[derive(Debug)]
struct Open {
    close: CancellationToken,
    busy: Busy,
}

/// How many answers of a connection may take their time. Clones are the same.
#[derive(Clone, Debug, Default)]
pub(super) struct Busy(Arc<AtomicUsize>);

/// One of them, until this is dropped.
#[derive(Debug)]
pub(super) struct BusyNow(Busy);

impl Busy {
    pub(super) fn begin(&self) -> BusyNow {
        self.0.fetch_add(1, Ordering::Relaxed);
        BusyNow(self.clone())
    }

    pub(super) fn is_busy(&self) -> bool {
        self.0.load(Ordering::Relaxed) > 0
    }
}

impl Drop for BusyNow {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// One place, until this is dropped.
#[derive(Debug)]
pub(super) struct Place {
    places: Arc<Places>,
    id: u64,
    /// Cancelled when the place is needed for another.
    pub(super) close: CancellationToken,
    pub(super) busy: Busy,
}

impl Places {
    pub(super) fn new(max: usize) -> Arc<Self> {
        Arc::new(Self { max, state: Mutex::default() })
    }

    /// A place for another connection.
    pub(super) fn enter(self: &Arc<Self>) -> Place {
        let mut state = self.lock();
        if state.open.len() >= self.max {
            let idle = state.open.iter().find(|(_, open)| !open.busy.is_busy());
            let oldest = idle.or_else(|| state.open.first_key_value()).map(|(id, _)| *id);
            if let Some(closed) = oldest.and_then(|id| state.open.remove(&id)) {
                closed.close.cancel();
            }
        }
        let (id, close, busy) = (state.next, CancellationToken::new(), Busy::default());
        state.next += 1;
        state.open.insert(id, Open { close: close.clone(), busy: busy.clone() });
        Place { places: Arc::clone(self), id, close, busy }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.lock().open.remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_connection_makes_room() {
        let places = Places::new(2);
        let [one, two] = [places.enter(), places.enter()];
        let three = places.enter();
        let closed = [&one, &two, &three].map(|place| place.close.is_cancelled());
        assert_eq!(closed, [true, false, false]);
        drop(two);
        let four = places.enter();
        assert!(!three.close.is_cancelled() && !four.close.is_cancelled());
        drop((one, three, four));
        assert!(places.lock().open.is_empty());
    }

    #[test]
    fn a_connection_over_which_something_is_answered_goes_last() {
        let places = Places::new(2);
        let [one, two] = [places.enter(), places.enter()];
        let answering = one.busy.begin();
        let three = places.enter();
        let closed = [&one, &two, &three].map(|place| place.close.is_cancelled());
        assert_eq!(closed, [false, true, false]);
        let also = three.busy.begin();
        let _four = places.enter();
        assert!(one.close.is_cancelled() && !three.close.is_cancelled());
        drop((answering, also));
        assert!(!one.busy.is_busy() && !three.busy.is_busy());
    }
}
