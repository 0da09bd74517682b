//! A column in blocks: consecutive rows of a fragment, read in one go and kept while there is room.
//!
//! Where a block starts depends on the column's width alone, so that all requests share blocks.

use std::sync::Arc;

use arrow::{
    array::{ArrayRef, UInt32Array},
    compute::take,
};
use keyloom_common::{Error, Result};

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
    /// About how many bytes a block takes.
    bytes: u64,
    /// The number of each fragment's first block, and behind them how many blocks there are.
    firsts: Vec<u32>,
    /// Whether there is room to keep the whole column.
    keep: bool,
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
        let keep = size <= handle.settings.column_cache_bytes / 4 * 3;
        Ok(Self { column, rows, bytes: width.saturating_mul(rows.into()), firsts, keep })
    }

    pub(super) fn column(&self) -> &Column {
        &self.column
    }

    /// Whether blocks are kept for later requests.
    pub(super) fn are_kept(&self) -> bool {
        self.keep
    }

    /// About how many bytes a block takes.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// How many blocks the column has.
    pub(super) fn count(&self) -> u32 {
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

    /// How many of the blocks would have to be read.
    pub(super) fn absent(&self, handle: &LanceHandle, layout: &Layout, blocks: &[u32]) -> u64 {
        let absent = blocks.iter().filter(|block| self.kept(handle, layout, **block).is_none());
        absent.count() as u64
    }

    /// The values of a block that is in memory.
    fn kept(&self, handle: &LanceHandle, layout: &Layout, block: u32) -> Option<ArrayRef> {
        let name = || self.locate(handle, layout, block).1;
        self.keep.then(|| handle.caches.blocks.get(&name())).flatten()
    }

    /// The fragment of a block, and the name under which it is kept.
    fn locate(&self, handle: &LanceHandle, layout: &Layout, block: u32) -> (usize, Block) {
        let fragment = self.firsts.partition_point(|first| *first <= block) - 1;
        let start = (block - self.firsts[fragment]) * self.rows;
        let rows = self.rows.min(layout.physical(fragment) - start);
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
        let values = if self.keep {
            handle.caches.blocks.get_or_insert_async(&block, read).await?
        } else {
            read.await?
        };
        Ok((values, block.start, fetched))
    }

    /// The values at the rows, through their whole blocks.
    pub(super) async fn values(
        self: &Arc<Self>,
        handle: &Arc<LanceHandle>,
        layout: &Arc<Layout>,
        rows: &[Row],
    ) -> Result<(Values, Fetched)> {
        if self.keep {
            self.through_kept(handle, layout, rows).await
        } else {
            self.through_passing(handle, layout, rows).await
        }
    }

    /// The blocks themselves become the pieces: they are in memory anyway.
    async fn through_kept(
        self: &Arc<Self>,
        handle: &Arc<LanceHandle>,
        layout: &Arc<Layout>,
        rows: &[Row],
    ) -> Result<(Values, Fetched)> {
        let touched = self.touched(rows);
        let kept = touched.iter().map(|block| self.kept(handle, layout, *block));
        let mut pieces: Vec<Option<ArrayRef>> = kept.collect();
        let absent: Vec<usize> = (0..pieces.len()).filter(|at| pieces[*at].is_none()).collect();
        let mut fetched = Fetched {
            blocks: touched.len() as u64,
            block_hits: (touched.len() - absent.len()) as u64,
            ..Fetched::default()
        };
        let jobs = absent.iter().map(|at| self.clone().loading(handle, layout, touched[*at]));
        let jobs: Vec<_> = jobs.collect();
        let loaded = tasks::run_all(jobs, handle.settings.reads_in_flight).await?;
        for (at, (piece, _, read)) in absent.into_iter().zip(loaded) {
            // The block itself was counted above.
            fetched.add(&Fetched { blocks: 0, ..read });
            pieces[at] = Some(piece);
        }
        let piece_of = self.order(&touched);
        let place = |row: &Row| Place {
            piece: piece_of[self.block_of(*row) as usize],
            row: row.offset() % self.rows,
        };
        let places = rows.iter().map(place).collect();
        Ok((Values { pieces: pieces.into_iter().flatten().collect(), places }, fetched))
    }

    /// Of each block the wanted rows are copied out, and it is dropped: there is no room for all.
    async fn through_passing(
        self: &Arc<Self>,
        handle: &Arc<LanceHandle>,
        layout: &Arc<Layout>,
        rows: &[Row],
    ) -> Result<(Values, Fetched)> {
        let touched = self.touched(rows);
        let piece_of = self.order(&touched);
        let mut wanted: Vec<Vec<u32>> = vec![Vec::new(); touched.len()];
        let place = |row: &Row| {
            let piece = piece_of[self.block_of(*row) as usize];
            let wanted = &mut wanted[piece as usize];
            wanted.push(row.offset() % self.rows);
            Place { piece, row: wanted.len() as u32 - 1 }
        };
        let places = rows.iter().map(place).collect();
        let jobs = touched.iter().zip(wanted).map(|(block, wanted)| {
            let loading = self.clone().loading(handle, layout, *block);
            async move {
                let (values, _, read) = loading.await?;
                Ok((take(&values, &UInt32Array::from(wanted), None)?, read))
            }
        });
        let jobs: Vec<_> = jobs.collect();
        let mut fetched = Fetched::default();
        let mut pieces = Vec::with_capacity(touched.len());
        for (piece, read) in tasks::run_all(jobs, handle.settings.reads_in_flight).await? {
            fetched.add(&read);
            pieces.push(piece);
        }
        Ok((Values { pieces, places }, fetched))
    }

    /// [`Self::load`] for a task of its own.
    fn loading(
        self: Arc<Self>,
        handle: &Arc<LanceHandle>,
        layout: &Arc<Layout>,
        block: u32,
    ) -> impl Future<Output = Result<(ArrayRef, u32, Fetched)>> + Send + use<> {
        let (handle, layout) = (handle.clone(), layout.clone());
        async move { self.load(&handle, &layout, block).await }
    }

    /// For each block of the column its place among these.
    fn order(&self, touched: &[u32]) -> Vec<u32> {
        let mut order = vec![0; self.count() as usize];
        (0..).zip(touched).for_each(|(place, block)| order[*block as usize] = place);
        order
    }
}
