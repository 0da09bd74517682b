//! The memory that a task takes of its worker's for rows that are not written yet.

use keyloom_common::memory::Reserved;

use crate::memory::{Commons, resize};

/// What a task may hold in any case: files of a few kilobytes help nobody.
const OWN_BYTES: u64 = 16 << 20;

/// What one task holds.
#[derive(Debug)]
pub(super) struct Room {
    commons: Commons,
    taken: Reserved,
}

impl Room {
    /// Nothing yet, of these.
    pub(super) fn new(commons: Commons, taken: Reserved) -> Self {
        Self { commons, taken }
    }

    /// Takes so many bytes in all, if they can be had.
    pub(super) fn fits(&self, bytes: u64) -> bool {
        let before = self.taken.bytes();
        if bytes <= before.max(OWN_BYTES) {
            resize(&self.taken, bytes);
            return true;
        }
        self.commons.grow(&self.taken, bytes - before).is_ok()
    }

    /// Gives all of it back: everything is written.
    pub(super) fn clear(&self) {
        resize(&self.taken, 0);
    }
}

#[cfg(test)]
mod tests {
    use keyloom_common::memory::MemoryBudget;

    use super::*;

    #[test]
    fn a_task_has_some_bytes_in_any_case_and_more_if_they_are_there() {
        let commons = Commons::new(MemoryBudget::new("memory_bytes", 2 * OWN_BYTES));
        let [one, other] = [(); 2].map(|()| Room::new(commons.clone(), commons.reserve()));
        assert!(one.fits(OWN_BYTES + 1));
        assert!(other.fits(OWN_BYTES), "those that it always has");
        assert!(!other.fits(OWN_BYTES + 1) && !one.fits(OWN_BYTES + 2));
        assert_eq!(commons.budget().used(), 2 * OWN_BYTES + 1);
        one.clear();
        assert!(other.fits(OWN_BYTES + 1));
        drop((one, other));
        assert_eq!(commons.budget().used(), 0);
    }
}
