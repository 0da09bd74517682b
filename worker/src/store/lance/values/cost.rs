//! Whether a request reads a column in blocks or takes its rows one by one.
//!
//! A block that is kept is paid once and serves all later requests. So a column that is taken from
//! again and again is read in blocks once that would have saved as much as those that are kept
//! cost. A block that there is no room for must pay for itself at every request.

use keyloom_common::store::RowPath;

use super::blocks::{Blocks, Touched};
use crate::store::lance::{handle::LanceHandle, layout::Layout};

/// What the two ways cost a request, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Costs {
    /// Taking the rows.
    taking: f64,
    /// Reading the blocks that are kept once they were read, as if none of them were in memory.
    keeping: f64,
    /// Reading the blocks that will not be kept.
    passing: f64,
    /// Reading all blocks of the column that are kept.
    all_kept: f64,
}

impl Costs {
    /// Of a request for these rows of a column.
    pub(super) fn of(
        handle: &LanceHandle,
        layout: &Layout,
        blocks: &Blocks,
        touched: &Touched<'_>,
    ) -> Self {
        let grid = blocks.grid();
        let (mut near, mut near_bytes, mut keeping, mut passing) = (0, 0_u64, 0.0, 0.0);
        for block in touched.blocks.iter().copied() {
            let (rows, bytes) = weigh(layout, blocks, block);
            near += rows;
            near_bytes = near_bytes.saturating_add(bytes);
            let cost = scan(handle, rows, bytes);
            if grid.keeps(block) {
                keeping += cost;
            } else {
                passing += cost;
            }
        }
        // Rows are not spread wider than the blocks in which they stand.
        let value_bytes = near_bytes / near.max(1);
        let taking = handle.storage.take(touched.rows() as u64, near, value_bytes);
        let all_rows: u64 = layout.physical_rows().map(u64::from).sum();
        let all = handle.storage.scan(all_rows, blocks.widths().mean());
        Self { taking, keeping, passing, all_kept: grid.kept_share() * all }
    }

    /// Whether to read the blocks. `absent` says what reading those costs that will be kept and are
    /// not in memory: they are many, and looked for only if that decides. `save` notes what reading
    /// blocks would save once the kept ones are there, and says what it would have saved all
    /// requests.
    pub(super) fn prefer_blocks(
        self,
        path: RowPath,
        absent: impl FnOnce() -> f64,
        save: impl FnOnce(u64) -> u64,
    ) -> bool {
        let Self { taking, keeping, passing, all_kept } = self;
        if passing > taking {
            return false;
        }
        path == RowPath::Scan
            || passing + keeping <= taking
            || passing + absent() <= taking
            || save((taking - passing) as u64) as f64 > all_kept
    }
}

/// What it costs to read those blocks of a request that will be kept and are not in memory.
pub(super) fn of_absent(
    handle: &LanceHandle,
    layout: &Layout,
    blocks: &Blocks,
    touched: &Touched<'_>,
) -> f64 {
    let kept = touched.blocks.iter().copied().filter(|block| blocks.grid().keeps(*block));
    let absent = kept.filter(|block| blocks.in_memory(handle, layout, *block).is_none());
    let cost = |block| {
        let (rows, bytes) = weigh(layout, blocks, block);
        scan(handle, rows, bytes)
    };
    absent.map(cost).sum()
}

/// The rows of a block, and about their bytes.
fn weigh(layout: &Layout, blocks: &Blocks, block: u32) -> (u64, u64) {
    let (fragment, rows) = blocks.extent(layout, block);
    (rows.len() as u64, blocks.bytes(fragment, rows))
}

fn scan(handle: &LanceHandle, rows: u64, bytes: u64) -> f64 {
    handle.storage.scan(rows, bytes / rows.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of a column whose kept blocks cost 100.
    fn costs(taking: f64, passing: f64) -> Costs {
        Costs { taking, keeping: 100.0, passing, all_kept: 100.0 }
    }

    fn unknown() -> f64 {
        unreachable!("what is in memory does not matter")
    }

    fn unsaved(_: u64) -> u64 {
        unreachable!("the request alone decides")
    }

    #[test]
    fn blocks_are_read_if_they_pay_for_themselves() {
        assert!(costs(100.0, 0.0).prefer_blocks(RowPath::Take, unknown, unsaved));
        assert!(costs(150.0, 50.0).prefer_blocks(RowPath::Take, unknown, unsaved));
        assert!(costs(1.0, 0.0).prefer_blocks(RowPath::Take, || 0.0, unsaved));
        assert!(costs(70.0, 30.0).prefer_blocks(RowPath::Take, || 40.0, unsaved));
    }

    #[test]
    fn blocks_to_keep_are_read_once_they_would_have_saved_what_they_cost() {
        let saved = |before: u64| move |now: u64| before + now;
        let none = || 100.0;
        assert!(!costs(40.0, 0.0).prefer_blocks(RowPath::Take, none, saved(60)));
        assert!(costs(40.0, 0.0).prefer_blocks(RowPath::Take, none, saved(61)));
        // Of what taking costs, blocks that are not kept would save nothing.
        assert!(!costs(40.0, 30.0).prefer_blocks(RowPath::Take, none, saved(61)));
        assert!(costs(40.0, 30.0).prefer_blocks(RowPath::Take, none, saved(91)));
        // Nor is anything noted where they cost more than all.
        assert!(!costs(30.0, 40.0).prefer_blocks(RowPath::Take, unknown, unsaved));
    }

    #[test]
    fn a_plan_to_scan_pays_for_blocks_to_keep_and_no_others() {
        assert!(costs(1.0, 0.0).prefer_blocks(RowPath::Scan, unknown, unsaved));
        assert!(costs(40.0, 30.0).prefer_blocks(RowPath::Scan, unknown, unsaved));
        assert!(!costs(30.0, 40.0).prefer_blocks(RowPath::Scan, unknown, unsaved));
    }
}
