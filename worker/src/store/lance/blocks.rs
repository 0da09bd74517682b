//! A column in blocks: consecutive rows of a fragment, read in one go and kept while there is room.
//!
//! Where a block starts depends on the column's width alone, so that all requests share blocks. Of
//! a column that is too large only a [`Share`] of the blocks is kept, always the same ones: if any
//! block could push out another, none would be there when it is wanted again.

mod grid;
mod share;

use std::sync::Arc;

use arrow::{
    array::{ArrayRef, UInt32Array},
    compute::take,
};
use keyloom_common::{Error, Result};

pub(super) use self::grid::{Grid, Touched};
use self::share::Share;
use super::{caches::Block, column::Column, handle::LanceHandle, layout::Layout, tasks};
use crate::store::{Fetched, Values, value_bytes};

/// The most rows of a block.
const MAX_ROWS: u64 = 64 * 1024;

/// A column cut into blocks.
#[derive(Debug)]
pub(super) struct Blocks {
    column: Arc<Column>,
    /// About how many bytes a value has.
    value_bytes: u64,
    grid: Grid,
}

impl Blocks {
    pub(super) async fn new(
        handle: &LanceHandle,
        column: Arc<Column>,
        layout: &Layout,
    ) -> Result<Self> {
        let value_bytes = column.width(handle, layout).await?;
        let rows =
            (handle.settings.read_bytes as u64 / value_bytes.max(1)).clamp(1, MAX_ROWS) as u32;
        let size = layout.physical_rows().map(u64::from).sum::<u64>().saturating_mul(value_bytes);
        // Columns share the room, so that one is not to take all of it.
        let kept = Share::fitting(size, handle.settings.column_cache_bytes / 4 * 3);
        Ok(Self { column, value_bytes, grid: Grid::new(rows, layout, kept) })
    }

    pub(super) fn column(&self) -> &Column {
        &self.column
    }

    pub(super) fn value_bytes(&self) -> u64 {
        self.value_bytes
    }

    pub(super) fn grid(&self) -> &Grid {
        &self.grid
    }

    /// The blocks of a fragment.
    pub(super) fn of_fragment(&self, fragment: usize) -> std::ops::Range<u32> {
        self.grid.of_fragment(fragment)
    }

    /// The values of a block that is in memory.
    pub(super) fn in_memory(
        &self,
        handle: &LanceHandle,
        layout: &Layout,
        block: u32,
    ) -> Option<ArrayRef> {
        let name = || self.locate(handle, layout, block).1;
        self.grid.keeps(block).then(|| handle.caches.blocks.get(&name())).flatten()
    }

    /// The fragment of a block, and the name under which it is kept.
    fn locate(&self, handle: &LanceHandle, layout: &Layout, block: u32) -> (usize, Block) {
        let (fragment, start, rows) = self.grid.extent(layout, block);
        let column = self.column.in_fragments(handle, layout)[fragment].clone();
        (fragment, Block { column, start, rows })
    }

    /// The values of a block, where it starts in its fragment, and what was read for it.
    pub(super) async fn load(
        &self,
        handle: &LanceHandle,
        layout: &Layout,
        block: u32,
    ) -> Result<(ArrayRef, u32, Fetched)> {
        let kept = self.grid.keeps(block);
        let (fragment, block) = self.locate(handle, layout, block);
        let mut fetched = Fetched { blocks: 1, block_hits: 1, ..Fetched::default() };
        let read = async {
            let rows = block.start..block.start + block.rows;
            let values = handle.read_range(&self.column, layout.id(fragment), rows).await?;
            fetched.block_hits = 0;
            fetched.rows_scanned = values.len() as u64;
            fetched.bytes = value_bytes(&values);
            Ok::<_, Error>(values)
        };
        let values = if kept {
            handle.caches.blocks.get_or_insert_async(&block, read).await?
        } else {
            read.await?
        };
        Ok((values, block.start, fetched))
    }

    /// The values at the rows, through their whole blocks.
    ///
    /// Blocks that are kept become pieces as they are. Of others the wanted rows are copied out, and
    /// they are dropped: there is no room for all at once.
    pub(super) async fn values(
        self: &Arc<Self>,
        handle: &Arc<LanceHandle>,
        layout: &Arc<Layout>,
        touched: &Touched<'_>,
    ) -> Result<(Values, Fetched)> {
        let (places, touched) = (touched.places(), &touched.blocks);
        let pieces = touched.iter().map(|block| self.in_memory(handle, layout, *block));
        let mut pieces: Vec<Option<ArrayRef>> = pieces.collect();
        let absent: Vec<usize> = (0..pieces.len()).filter(|at| pieces[*at].is_none()).collect();
        let mut fetched = Fetched {
            blocks: touched.len() as u64,
            block_hits: (touched.len() - absent.len()) as u64,
            ..Fetched::default()
        };
        let jobs = absent.iter().map(|at| {
            let (blocks, handle, layout) = (self.clone(), handle.clone(), layout.clone());
            let (block, copied) = (touched[*at], places.copied[*at].clone());
            async move { blocks.piece(&handle, &layout, block, &copied).await }
        });
        let jobs: Vec<_> = jobs.collect();
        let loaded = tasks::run_all(jobs, handle.settings.reads_in_flight).await?;
        for (at, (piece, read)) in absent.into_iter().zip(loaded) {
            // The block itself was counted above.
            fetched.add(&Fetched { blocks: 0, ..read });
            pieces[at] = Some(piece);
        }
        let pieces = pieces.into_iter().flatten().collect();
        Ok((Values { pieces, places: places.rows.clone() }, fetched))
    }

    /// A block if it is kept, or else a copy of some of its rows.
    async fn piece(
        &self,
        handle: &LanceHandle,
        layout: &Layout,
        block: u32,
        copied: &[u32],
    ) -> Result<(ArrayRef, Fetched)> {
        let (values, _, read) = self.load(handle, layout, block).await?;
        if self.grid.keeps(block) {
            return Ok((values, read));
        }
        Ok((take(&values, &UInt32Array::from(copied.to_vec()), None)?, read))
    }
}
