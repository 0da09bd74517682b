//! The fragments of a snapshot and the rows deleted from them: which addresses hold a row.
//!
//! An address is a fragment's id in the upper and a physical offset in the lower 32 bits. Lance
//! drops, refuses or panics at addresses that hold none, so every address from outside is checked
//! here before it is read.

use std::{collections::HashMap, sync::Arc};

use keyloom_common::{Error, Result};
use lance::{Dataset, dataset::fragment::FileFragment};

use super::{error::from_lance, tasks};

/// All fragments, in the dataset's order.
#[derive(Debug, Default)]
pub(super) struct Layout {
    fragments: Vec<Rows>,
    by_id: HashMap<u32, usize>,
    live_rows: u64,
}

/// The rows of a fragment.
#[derive(Debug)]
struct Rows {
    id: u32,
    /// Rows stored, deleted or not.
    physical: u32,
    /// Physical offsets of deleted rows, sorted.
    deleted: Vec<u32>,
    /// Live rows of the fragments before.
    before: u64,
}

impl Layout {
    /// Reads the deletions of all fragments.
    pub(super) async fn load(dataset: &Dataset, in_flight: usize) -> Result<Self> {
        let jobs = dataset.get_fragments().into_iter().map(load_fragment);
        let mut layout = Self::default();
        for (id, physical, deleted) in tasks::run_all(jobs, in_flight).await? {
            layout.push(id, physical, deleted);
        }
        Ok(layout)
    }

    fn push(&mut self, id: u32, physical: u32, deleted: Vec<u32>) {
        let live = u64::from(physical) - deleted.len() as u64;
        self.by_id.insert(id, self.fragments.len());
        self.fragments.push(Rows { id, physical, deleted, before: self.live_rows });
        self.live_rows += live;
    }

    /// Rows that are not deleted.
    pub(super) fn live_rows(&self) -> u64 {
        self.live_rows
    }

    /// Fragments and their physical rows.
    pub(super) fn fragments(&self) -> impl Iterator<Item = (u32, u32)> {
        self.fragments.iter().map(|rows| (rows.id, rows.physical))
    }

    /// Whether a row stands at the address.
    pub(super) fn holds(&self, address: u64) -> bool {
        let (id, offset) = ((address >> 32) as u32, address as u32);
        let rows = self.by_id.get(&id).map(|index| &self.fragments[*index]);
        rows.is_some_and(|rows| {
            offset < rows.physical && rows.deleted.binary_search(&offset).is_err()
        })
    }

    /// The address of the row at a position, deleted rows not counted.
    pub(super) fn address_of_offset(&self, position: u64) -> Option<u64> {
        if position >= self.live_rows {
            return None;
        }
        let index = self.fragments.partition_point(|rows| rows.before <= position) - 1;
        let rows = &self.fragments[index];
        let nth_live = (position - rows.before) as u32;
        // `deleted[i] - i` live rows stand before the i-th deleted one.
        let (mut low, mut high) = (0, rows.deleted.len());
        while low < high {
            let middle = low + (high - low) / 2;
            if rows.deleted[middle] - middle as u32 <= nth_live {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Some(u64::from(rows.id) << 32 | u64::from(nth_live + low as u32))
    }
}

async fn load_fragment(fragment: FileFragment) -> Result<(u32, u32, Vec<u32>)> {
    let too_large = |_| Error::store("a fragment of the Lance dataset has more than 2^32 rows");
    let id = u32::try_from(fragment.id()).map_err(too_large)?;
    let physical = fragment.physical_rows().await.map_err(from_lance)?;
    let physical = u32::try_from(physical).map_err(too_large)?;
    let deleted: Option<Arc<_>> = fragment.get_deletion_vector().await.map_err(from_lance)?;
    let deleted = deleted.map(|deleted| deleted.to_sorted_iter().collect()).unwrap_or_default();
    Ok((id, physical, deleted))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(fragments: &[(u32, u32, &[u32])]) -> Layout {
        let mut layout = Layout::default();
        for (id, physical, deleted) in fragments {
            layout.push(*id, *physical, deleted.to_vec());
        }
        layout
    }

    #[test]
    fn offsets_count_live_rows_only() {
        let layout = layout(&[(0, 4, &[0, 3]), (2, 3, &[0, 1, 2]), (5, 4, &[1, 2])]);
        let addresses: Vec<_> = (0..6).map(|position| layout.address_of_offset(position)).collect();
        let at = |id: u64, offset: u64| Some(id << 32 | offset);
        assert_eq!(addresses, [at(0, 1), at(0, 2), at(5, 0), at(5, 3), None, None]);
        assert_eq!(layout.live_rows(), 4);
    }

    #[test]
    fn addresses_without_a_row_are_known() {
        let layout = layout(&[(0, 4, &[1]), (2, 3, &[])]);
        let held = |id: u64, offset: u64| layout.holds(id << 32 | offset);
        assert!(held(0, 0) && held(0, 3) && held(2, 2));
        assert!(
            !held(0, 1) && !held(0, 4) && !held(1, 0) && !held(2, 3) && !layout.holds(u64::MAX)
        );
    }

    #[test]
    fn an_empty_dataset_holds_nothing() {
        assert_eq!(Layout::default().address_of_offset(0), None);
        assert!(!Layout::default().holds(0));
    }
}
