//! The fragments of a snapshot and the rows deleted from them.
//!
//! Lance drops, refuses or panics at addresses that hold no row, so every address from outside is
//! checked here before it is read.

mod deleted;

use std::{collections::HashMap, sync::Arc};

use keyloom_common::{Error, Result, store::KEY_MAP_BYTES_A_ROW};
use lance::{Dataset, dataset::fragment::FileFragment};

use self::deleted::Deleted;
use super::{error::from_lance, row::Row, tasks};

/// All fragments, in the dataset's order.
#[derive(Debug, Default)]
pub(super) struct Layout {
    fragments: Vec<FragmentRows>,
    by_id: HashMap<u32, usize>,
    live_rows: u64,
}

/// The rows of a fragment.
#[derive(Debug)]
struct FragmentRows {
    id: u32,
    /// Rows stored, deleted or not.
    physical: u32,
    /// By their physical offsets.
    deleted: Deleted,
    /// Live rows of the fragments before.
    before: u64,
}

impl Layout {
    /// Reads the deletions of all fragments.
    pub(super) async fn load(dataset: &Dataset, in_flight: usize) -> Result<Self> {
        let futures = dataset.get_fragments().into_iter().map(load_fragment);
        let mut layout = Self::default();
        for (id, physical, deleted) in tasks::run_all(futures, in_flight).await? {
            layout.push(id, physical, deleted);
        }
        Ok(layout)
    }

    fn push(&mut self, id: u32, physical: u32, deleted: Deleted) {
        let live = u64::from(physical - deleted.len());
        self.by_id.insert(id, self.fragments.len());
        self.fragments.push(FragmentRows { id, physical, deleted, before: self.live_rows });
        self.live_rows += live;
    }

    /// How many fragments there are.
    pub(super) fn len(&self) -> usize {
        self.fragments.len()
    }

    /// The id that Lance gives the fragment at a place.
    pub(super) fn id(&self, fragment: usize) -> u32 {
        self.fragments[fragment].id
    }

    /// The rows stored in the fragment at a place, deleted or not.
    pub(super) fn physical(&self, fragment: usize) -> u32 {
        self.fragments[fragment].physical
    }

    /// The bytes of maps of all keys.
    pub(super) fn map_bytes(&self) -> u64 {
        let rows: u64 = self.physical_rows().map(u64::from).sum();
        rows.saturating_mul(KEY_MAP_BYTES_A_ROW)
    }

    /// The rows stored in each fragment, deleted or not.
    pub(super) fn physical_rows(&self) -> impl Iterator<Item = u32> {
        self.fragments.iter().map(|rows| rows.physical)
    }

    /// Whether the row is not deleted.
    pub(super) fn is_live(&self, row: Row) -> bool {
        !self.fragments[row.fragment()].deleted.contains(row.offset())
    }

    /// The live row with an address, which is a fragment's id in the upper and a physical offset in
    /// the lower 32 bits.
    pub(super) fn row_at(&self, address: u64) -> Option<Row> {
        let fragment = *self.by_id.get(&((address >> 32) as u32))?;
        let row = Row::new(fragment, address as u32);
        (row.offset() < self.physical(fragment) && self.is_live(row)).then_some(row)
    }

    /// The row at a position, deleted rows not counted.
    pub(super) fn row_at_position(&self, position: u64) -> Option<Row> {
        if position >= self.live_rows {
            return None;
        }
        let index = self.fragments.partition_point(|rows| rows.before <= position) - 1;
        let rows = &self.fragments[index];
        let nth_live = (position - rows.before) as u32;
        Some(Row::new(index, rows.deleted.nth_live(nth_live)))
    }
}

async fn load_fragment(fragment: FileFragment) -> Result<(u32, u32, Deleted)> {
    let too_large = |_| Error::store("a fragment of the Lance dataset has more than 2^32 rows");
    let id = u32::try_from(fragment.id()).map_err(too_large)?;
    let physical = fragment.physical_rows().await.map_err(from_lance)?;
    let physical = u32::try_from(physical).map_err(too_large)?;
    let deleted: Option<Arc<_>> = fragment.get_deletion_vector().await.map_err(from_lance)?;
    let deleted = deleted.map(|deleted| Deleted::new(physical, deleted.to_sorted_iter()));
    Ok((id, physical, deleted.unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(fragments: &[(u32, u32, &[u32])]) -> Layout {
        let mut layout = Layout::default();
        for (id, physical, deleted) in fragments {
            layout.push(*id, *physical, Deleted::new(*physical, deleted.iter().copied()));
        }
        layout
    }

    #[test]
    fn offsets_count_live_rows_only() {
        let layout = layout(&[(0, 4, &[0, 3]), (2, 3, &[0, 1, 2]), (5, 4, &[1, 2])]);
        let rows: Vec<_> = (0..6).map(|position| layout.row_at_position(position)).collect();
        let at = |fragment, offset| Some(Row::new(fragment, offset));
        assert_eq!(rows, [at(0, 1), at(0, 2), at(2, 0), at(2, 3), None, None]);
    }

    #[test]
    fn addresses_without_a_row_are_known() {
        let layout = layout(&[(0, 4, &[1]), (2, 3, &[])]);
        let row = |id: u64, offset: u64| layout.row_at(id << 32 | offset);
        assert_eq!(row(0, 0), Some(Row::new(0, 0)));
        assert_eq!(row(0, 3), Some(Row::new(0, 3)));
        assert_eq!(row(2, 2), Some(Row::new(1, 2)));
        for absent in [row(0, 1), row(0, 4), row(1, 0), row(2, 3), layout.row_at(u64::MAX)] {
            assert_eq!(absent, None);
        }
    }

    #[test]
    fn an_empty_dataset_holds_nothing() {
        assert_eq!(Layout::default().row_at_position(0), None);
        assert_eq!(Layout::default().row_at(0), None);
    }
}
