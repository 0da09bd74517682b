//! Rows of a snapshot.

/// A row: the fragment by its place in the snapshot, and the physical offset, deleted rows counted.
/// Rows compare in storage order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Row(u64);

impl Row {
    pub(super) fn new(fragment: usize, offset: u32) -> Self {
        Self((fragment as u64) << 32 | u64::from(offset))
    }

    /// The fragment's place in the snapshot. It is not the id that Lance gives the fragment.
    pub(super) fn fragment(self) -> usize {
        (self.0 >> 32) as usize
    }

    pub(super) fn offset(self) -> u32 {
        self.0 as u32
    }
}
