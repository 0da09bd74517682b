//! The connections of the port, of which there are only so many: for one more, the one that is open
//! for the longest time is closed. A request takes moments, and whoever stays longer must not keep
//! those away who watch over the process.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
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
    open: BTreeMap<u64, CancellationToken>,
}

/// One place, until this is dropped.
#[derive(Debug)]
pub(super) struct Place {
    places: Arc<Places>,
    id: u64,
    /// Cancelled when the place is needed for another.
    pub(super) close: CancellationToken,
}

impl Places {
    pub(super) fn new(max: usize) -> Arc<Self> {
        Arc::new(Self { max, state: Mutex::default() })
    }

    /// A place for another connection.
    pub(super) fn enter(self: &Arc<Self>) -> Place {
        let mut state = self.lock();
        if state.open.len() >= self.max
            && let Some((_, oldest)) = state.open.pop_first()
        {
            oldest.cancel();
        }
        let (id, close) = (state.next, CancellationToken::new());
        state.next += 1;
        state.open.insert(id, close.clone());
        Place { places: Arc::clone(self), id, close }
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
}
