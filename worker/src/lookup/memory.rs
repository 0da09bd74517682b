//! The memory that windows are looked up in: so much for all lookups of a worker together.
//!
//! No lookup waits for another one, so none waits for ever. Where there is no room for a window, it
//! waits for those before it of the same lookup; then it has what there is, and a little in any
//! case.

use std::sync::Arc;

use keyloom_common::memory::{MemoryBudget, Reserved};
use tokio::sync::{OwnedRwLockReadGuard, RwLock};

use crate::memory::resize;

/// Answers are there so often: as they were read, and in the rows that asked.
const TIMES: u64 = 2;

/// So many windows of the largest kind have room at once, at least.
const WINDOWS: u64 = 8;

/// What a window may take though there is no room.
const LEAST: u64 = TIMES << 20;

/// The windows of one lookup.
#[derive(Debug)]
pub(super) struct Rooms {
    memory: MemoryBudget,
    /// Shared by the windows: who has it alone is the only one.
    windows: Arc<RwLock<()>>,
}

/// What a window takes until this is dropped.
#[derive(Debug)]
pub(super) struct Room {
    taken: Reserved,
    _among: OwnedRwLockReadGuard<()>,
}

impl Rooms {
    pub(super) fn new(memory: MemoryBudget) -> Self {
        Self { memory, windows: Arc::default() }
    }

    /// The most bytes of answers of a window.
    pub(super) fn most(&self) -> u64 {
        (self.memory.bytes() / WINDOWS / TIMES).max(LEAST / TIMES)
    }

    /// Room for a window with so many bytes of answers, or for a smaller one.
    pub(super) async fn take(&self, answers: u64) -> Room {
        let bytes = answers.saturating_mul(TIMES);
        let windows = Arc::clone(&self.windows);
        if let Ok(taken) = self.memory.try_take(bytes) {
            return Room { taken, _among: windows.read_owned().await };
        }
        let alone = windows.write_owned().await;
        Room { taken: self.what_there_is(bytes), _among: alone.downgrade() }
    }

    /// So many bytes, or half of them, or half of that, …
    fn what_there_is(&self, mut bytes: u64) -> Reserved {
        loop {
            match self.memory.try_take(bytes) {
                Ok(taken) => return taken,
                Err(_) if bytes > LEAST => bytes = (bytes / 2).max(LEAST),
                Err(_) => return self.memory.force(bytes),
            }
        }
    }
}

impl Room {
    /// For how many bytes of answers it is.
    pub(super) fn answers(&self) -> u64 {
        self.taken.bytes() / TIMES
    }

    /// Makes it larger, if there is room, and says whether there was.
    pub(super) fn try_grow(&self, answers: u64) -> bool {
        self.taken.try_grow(answers.saturating_mul(TIMES)).is_ok()
    }

    /// Makes it so large in any case.
    pub(super) fn hold(&self, answers: u64) {
        resize(&self.taken, answers.saturating_mul(TIMES));
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    const MIB: u64 = 1 << 20;

    fn memory(mebibytes: u64) -> MemoryBudget {
        MemoryBudget::new("lookup.memory_bytes", mebibytes * MIB)
    }

    /// Takes room without waiting.
    fn take(rooms: &Rooms, answers: u64) -> Room {
        rooms.take(answers).now_or_never().unwrap()
    }

    #[test]
    fn a_window_that_finds_no_room_waits_for_those_before_it() {
        let memory = memory(16);
        let rooms = Rooms::new(memory.clone());
        let first = take(&rooms, 5 * MIB);
        let second = take(&rooms, MIB);
        assert_eq!(memory.used(), 12 * MIB);
        assert!(rooms.take(3 * MIB).now_or_never().is_none());
        drop(second);
        assert_eq!(take(&rooms, 3 * MIB).answers(), 3 * MIB);
        let mut third = Box::pin(rooms.take(6 * MIB));
        assert!(third.as_mut().now_or_never().is_none());
        drop(first);
        assert_eq!(third.now_or_never().unwrap().answers(), 6 * MIB);
        assert_eq!(memory.used(), 0);
    }

    #[test]
    fn the_first_window_of_a_lookup_has_what_others_leave_and_a_little_in_any_case() {
        let memory = memory(16);
        let lookups = [(); 4].map(|()| Rooms::new(memory.clone()));
        let rooms = lookups.iter().map(|rooms| take(rooms, 5 * MIB));
        let rooms: Vec<_> = rooms.collect();
        let answers: Vec<_> = rooms.iter().map(Room::answers).collect();
        assert_eq!(answers, [5 * MIB, 5 * MIB / 2, MIB, MIB]);
        assert_eq!(memory.used(), 19 * MIB);
        assert!(lookups[3].take(1).now_or_never().is_none());
        drop(rooms);
        assert_eq!(take(&lookups[3], 1).answers(), 1);
    }

    #[test]
    fn a_window_grows_while_there_is_room_and_a_row_in_any_case() {
        let memory = memory(16);
        let room = take(&Rooms::new(memory.clone()), 5 * MIB);
        assert!(!room.try_grow(4 * MIB) && room.try_grow(3 * MIB));
        assert_eq!(room.answers(), 8 * MIB);
        room.hold(100 * MIB);
        assert_eq!(memory.used(), 200 * MIB);
        room.hold(0);
        assert_eq!(memory.used(), 0);
    }
}
