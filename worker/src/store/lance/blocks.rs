//! A column in blocks: consecutive rows of a fragment, read in one go and kept while there is room.
//!
//! Where a block starts depends on the column's width alone, so that all requests share blocks. Of
//! a column that is too large only a [`Share`] of the blocks is kept, always the same ones: if any
//! block could push out another, none would be there when it is wanted again.

mod share;

use std::sync::Arc;

use arrow::{
    array::{ArrayRef, UInt32Array},
    compute::take,
};
use keyloom_common::{Error, Result};

use self::share::Share;
use super::{caches::Block, column::Column, handle::LanceHandle, layout::Layout, row::Row, tasks};
use crate::store::{Fetched, Place, Values, value_bytes};

/// The most rows of a block.
const MAX_ROWS: u64 = 64 * 1024;

/// A column cut into blocks, which are numbered through all fragments.
#[derive(Debug)]
pub(super) struct Blocks {
    column: Arc<Column>,
    /// Rows of a block; the last of a fragment may have fewer.
    rows: u32,
    /// The number of each fragment's first block, and behind them how many blocks there are.
    firsts: Vec<u32>,
    /// The blocks that there is room for.
    kept: Share,
}

impl Blocks {
    pub(super) async fn new(
        handle: &LanceHandle,
        column: Arc<Column>,
        layout: &Layout,
    ) -> Result<Self> {
        let width = column.width(handle, layout).await?;
        let rows = (handle.settings.read_bytes as u64 / width.max(1)).clamp(1, MAX_ROWS) as u32;
        let mut firsts = vec![0];
        let mut next = 0;
        for physical in layout.physical_rows() {
            next += physical.div_ceil(rows);
            firsts.push(next);
        }
        let size = layout.physical_rows().map(u64::from).sum::<u64>().saturating_mul(width);
        // Columns share the room, so that one is not to take all of it.
        let kept = Share::fitting(size, handle.settings.column_cache_bytes / 4 * 3);
        Ok(Self { column, rows, firsts, kept })
    }

    pub(super) fn column(&self) -> &Column {
        &self.column
    }

    /// Whether the block is kept once it was read.
    pub(super) fn keeps(&self, block: u32) -> bool {
        self.kept.contains(block)
    }

    /// Which part of the column is kept once it was read, about.
    pub(super) fn kept_share(&self) -> f64 {
        self.kept.fraction()
    }

    /// The rows of a block.
    pub(super) fn rows_of(&self, layout: &Layout, block: u32) -> u64 {
        self.extent(layout, block).2.into()
    }

    fn count(&self) -> u32 {
        self.firsts.last().copied().unwrap_or(0)
    }

    /// The blocks of a fragment.
    pub(super) fn of_fragment(&self, fragment: usize) -> std::ops::Range<u32> {
        self.firsts[fragment]..self.firsts[fragment + 1]
    }

    fn block_of(&self, row: Row) -> u32 {
        self.firsts[row.fragment()] + row.offset() / self.rows
    }

    /// The blocks in which the rows stand, in order.
    pub(super) fn touched(&self, rows: &[Row]) -> Vec<u32> {
        let mut touched = vec![false; self.count() as usize];
        rows.iter().for_each(|row| touched[self.block_of(*row) as usize] = true);
        (0..self.count()).filter(|block| touched[*block as usize]).collect()
    }

    /// The values of a block that is in memory.
    pub(super) fn in_memory(
        &self,
        handle: &LanceHandle,
        layout: &Layout,
        block: u32,
    ) -> Option<ArrayRef> {
        let name = || self.locate(handle, layout, block).1;
        self.keeps(block).then(|| handle.caches.blocks.get(&name())).flatten()
    }

    /// The fragment of a block, where it starts in it, and how many rows it has.
    fn extent(&self, layout: &Layout, block: u32) -> (usize, u32, u32) {
        let fragment = self.firsts.partition_point(|first| *first <= block) - 1;
        let start = (block - self.firsts[fragment]) * self.rows;
        (fragment, start, self.rows.min(layout.physical(fragment) - start))
    }

    /// The fragment of a block, and the name under which it is kept.
    fn locate(&self, handle: &LanceHandle, layout: &Layout, block: u32) -> (usize, Block) {
        let (fragment, start, rows) = self.extent(layout, block);
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
        let kept = self.keeps(block);
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
        rows: &[Row],
    ) -> Result<(Values, Fetched)> {
        let touched = self.touched(rows);
        let (places, mut wanted) = self.places(&touched, rows);
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
            let (block, wanted) = (touched[*at], std::mem::take(&mut wanted[*at]));
            async move { blocks.piece(&handle, &layout, block, wanted).await }
        });
        let jobs: Vec<_> = jobs.collect();
        let loaded = tasks::run_all(jobs, handle.settings.reads_in_flight).await?;
        for (at, (piece, read)) in absent.into_iter().zip(loaded) {
            // The block itself was counted above.
            fetched.add(&Fetched { blocks: 0, ..read });
            pieces[at] = Some(piece);
        }
        Ok((Values { pieces: pieces.into_iter().flatten().collect(), places }, fetched))
    }

    /// A block if it is kept, or else the wanted rows of it.
    async fn piece(
        &self,
        handle: &LanceHandle,
        layout: &Layout,
        block: u32,
        wanted: Vec<u32>,
    ) -> Result<(ArrayRef, Fetched)> {
        let (values, _, read) = self.load(handle, layout, block).await?;
        if self.keeps(block) {
            return Ok((values, read));
        }
        Ok((take(&values, &UInt32Array::from(wanted), None)?, read))
    }

    /// Where each row's value will be, with the touched blocks for pieces, and which rows are to be
    /// copied out of each block that is not kept.
    fn places(&self, touched: &[u32], rows: &[Row]) -> (Arc<[Place]>, Vec<Vec<u32>>) {
        let piece_of = self.order(touched);
        let mut wanted: Vec<Vec<u32>> = vec![Vec::new(); touched.len()];
        let place = |row: &Row| {
            let block = self.block_of(*row);
            let (piece, row) = (piece_of[block as usize], row.offset() % self.rows);
            if self.keeps(block) {
                return Place { piece, row };
            }
            let wanted = &mut wanted[piece as usize];
            wanted.push(row);
            Place { piece, row: wanted.len() as u32 - 1 }
        };
        (rows.iter().map(place).collect(), wanted)
    }

    /// For each block of the column its place among these.
    fn order(&self, touched: &[u32]) -> Vec<u32> {
        let mut order = vec![0; self.count() as usize];
        (0..).zip(touched).for_each(|(place, block)| order[*block as usize] = place);
        order
    }
}
