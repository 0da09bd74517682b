//! A column in blocks: consecutive rows of a fragment, read in one go and kept while there is room.
//!
//! Where a block starts depends on what values weigh alone, so that all requests share blocks. Of
//! a column that is too large only a [`Share`] of the blocks is kept, always the same ones: if any
//! block could push out another, none would be there when it is wanted again. How large the share
//! is depends on the columns beside it (`kept::room`).

mod grid;
mod share;
mod together;

use std::{ops::Range, sync::Arc, time::Instant};

use arrow::{
    array::{Array, ArrayRef, UInt32Array},
    compute::{concat, take},
};
use keyloom_common::{Error, Result};
use quick_cache::Equivalent;

pub(in crate::store::lance) use self::grid::Cut;
use self::share::Share;
pub(super) use self::{
    grid::{Grid, Touched},
    together::{are_small, values_together},
};
use super::widths::Widths;
use crate::store::{
    ReadStats, Values,
    lance::{
        column::Column,
        handle::LanceHandle,
        layout::Layout,
        name::{ColumnName, FileColumn},
        row::Row,
        tasks,
    },
    value_bytes,
};

/// The most rows of a block.
const MAX_ROWS: u32 = 64 * 1024;

/// Some consecutive rows of a column.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(in crate::store::lance) struct Block {
    column: FileColumn,
    start: u32,
    rows: u32,
}

/// As a [`Block`]: of many that are looked for at once, none copies the name of its column.
#[derive(Debug, Hash)]
struct BlockRef<'a> {
    column: &'a FileColumn,
    start: u32,
    rows: u32,
}

impl Equivalent<Block> for BlockRef<'_> {
    fn equivalent(&self, block: &Block) -> bool {
        let Self { column, start, rows } = self;
        (*start, *rows, *column) == (block.start, block.rows, &block.column)
    }
}

/// A column cut into blocks.
#[derive(Debug)]
pub(in crate::store::lance) struct Blocks {
    column: Arc<Column>,
    widths: Arc<Widths>,
    grid: Grid,
}

impl Blocks {
    pub(in crate::store::lance) async fn new(
        handle: &Arc<LanceHandle>,
        column: Arc<Column>,
        layout: &Arc<Layout>,
    ) -> Result<Self> {
        let (widths, cut) = column.widths(handle, layout).await?.clone();
        let name = name(handle, &column);
        let room = handle.caches.offer(&name, widths.total(), Instant::now());
        let grid = Grid::new(cut, Share::fitting(widths.total(), room));
        Ok(Self { column, widths, grid })
    }

    /// Blocks that are read once and not kept.
    pub(in crate::store::lance) async fn passing(
        handle: &Arc<LanceHandle>,
        column: Arc<Column>,
        layout: &Arc<Layout>,
    ) -> Result<Self> {
        let (widths, cut) = column.widths(handle, layout).await?.clone();
        let grid = Grid::new(cut, Share::NONE);
        Ok(Self { column, widths, grid })
    }

    /// Whether any block is kept.
    pub(in crate::store::lance) fn are_kept(&self) -> bool {
        self.grid.kept_share() > 0.0
    }

    /// Says that the blocks are about to be read, so that there is room for those that are kept.
    pub(in crate::store::lance) fn claim_room(&self, handle: &LanceHandle) {
        let name = name(handle, &self.column);
        handle.caches.room.claim(&name, self.widths.total(), Instant::now());
    }

    pub(in crate::store::lance) fn column(&self) -> &Arc<Column> {
        &self.column
    }

    /// What its values weigh.
    pub(in crate::store::lance) fn widths(&self) -> &Widths {
        &self.widths
    }

    pub(super) fn grid(&self) -> &Grid {
        &self.grid
    }

    /// The blocks of a fragment.
    pub(in crate::store::lance) fn of_fragment(&self, fragment: usize) -> Range<u32> {
        self.grid.of_fragment(fragment)
    }

    /// The fragment of a block, and its rows there.
    pub(in crate::store::lance) fn extent(
        &self,
        layout: &Layout,
        block: u32,
    ) -> (usize, Range<u32>) {
        self.grid.extent(layout, block)
    }

    /// About the bytes of some values.
    pub(in crate::store::lance) fn bytes(&self, fragment: usize, rows: Range<u32>) -> u64 {
        self.widths.of_fragment(fragment).bytes(rows)
    }

    /// The values of a block that is in memory.
    pub(super) fn in_memory(
        &self,
        handle: &LanceHandle,
        layout: &Layout,
        block: u32,
    ) -> Option<ArrayRef> {
        if !self.grid.keeps(block) {
            return None;
        }
        let (fragment, rows) = self.grid.extent(layout, block);
        let column = &self.column.in_fragments(handle, layout)[fragment];
        let name = BlockRef { column, start: rows.start, rows: rows.end - rows.start };
        handle.caches.blocks.peek(&name).map(|kept| ArrayRef::clone(&kept))
    }

    /// The fragment of a block, and the name under which it is kept.
    fn locate(&self, handle: &LanceHandle, layout: &Layout, block: u32) -> (usize, Block) {
        let (fragment, rows) = self.grid.extent(layout, block);
        let column = self.column.in_fragments(handle, layout)[fragment].clone();
        (fragment, Block { column, start: rows.start, rows: rows.end - rows.start })
    }

    /// The values of a block, where it starts in its fragment, and what was read for it.
    pub(in crate::store::lance) async fn load(
        &self,
        handle: &LanceHandle,
        layout: &Layout,
        block: u32,
    ) -> Result<(ArrayRef, u32, ReadStats)> {
        let kept = self.grid.keeps(block);
        let (fragment, block) = self.locate(handle, layout, block);
        let mut stats = ReadStats { blocks: 1, block_hits: 1, ..ReadStats::default() };
        // Those that pass may be kept for others.
        if !self.are_kept()
            && let Some(values) = handle.caches.blocks.get(&block)
        {
            return Ok((ArrayRef::clone(&values), block.start, stats));
        }
        let rows = block.start..block.start + block.rows;
        let bytes = self.bytes(fragment, rows.clone());
        let read = async {
            let id = layout.id(fragment);
            let values = handle.read_range(&self.column, id, rows, bytes).await?;
            stats.block_hits = 0;
            stats.rows_scanned = values.len() as u64;
            stats.bytes = value_bytes(&values);
            Ok::<_, Error>(values)
        };
        let values = if kept {
            handle.caches.blocks.get_or_pass(&block, bytes, value_bytes, read).await?
        } else {
            read.await?
        };
        Ok((values, block.start, stats))
    }

    /// The values of consecutive rows of a fragment, and what was read for them. Blocks that are
    /// kept are read whole, and of others these rows.
    pub(in crate::store::lance) async fn read(
        &self,
        handle: &LanceHandle,
        layout: &Layout,
        fragment: usize,
        rows: Range<u32>,
    ) -> Result<(ArrayRef, ReadStats)> {
        let (mut pieces, mut stats) = (Vec::new(), ReadStats::default());
        let mut next = rows.start;
        while next < rows.end {
            let block = self.grid.block_of(Row::new(fragment, next));
            let (_, of_block) = self.grid.extent(layout, block);
            let end = rows.end.min(of_block.end);
            if self.grid.keeps(block) {
                let (values, start, read) = self.load(handle, layout, block).await?;
                stats.add(&read);
                pieces.push(values.slice((next - start) as usize, (end - next) as usize));
            } else {
                let (id, bytes) = (layout.id(fragment), self.bytes(fragment, next..end));
                let values = handle.read_range(&self.column, id, next..end, bytes).await?;
                let (rows_scanned, bytes) = (values.len() as u64, value_bytes(&values));
                stats.add(&ReadStats { blocks: 1, rows_scanned, bytes, ..ReadStats::default() });
                pieces.push(values);
            }
            next = end;
        }
        let values = match pieces.as_slice() {
            [only] => only.clone(),
            several => concat(&several.iter().map(AsRef::as_ref).collect::<Vec<&dyn Array>>())?,
        };
        Ok((values, stats))
    }

    /// The values at the rows, through their whole blocks.
    ///
    /// Blocks that are kept become pieces as they are. Of others the wanted rows are copied out,
    /// and they are dropped: there is no room for all at once.
    pub(super) async fn values(
        self: &Arc<Self>,
        handle: &Arc<LanceHandle>,
        layout: &Arc<Layout>,
        touched: &Touched<'_>,
    ) -> Result<(Values, ReadStats)> {
        if self.are_kept() {
            self.claim_room(handle);
        }
        let (places, touched) = (touched.places(), &touched.blocks);
        let pieces = touched.iter().map(|block| self.in_memory(handle, layout, *block));
        let mut pieces: Vec<Option<ArrayRef>> = pieces.collect();
        let absent: Vec<usize> = (0..pieces.len()).filter(|at| pieces[*at].is_none()).collect();
        let mut stats = ReadStats {
            blocks: touched.len() as u64,
            block_hits: (touched.len() - absent.len()) as u64,
            ..ReadStats::default()
        };
        let futures = absent.iter().map(|at| {
            let (blocks, handle, layout) = (self.clone(), handle.clone(), layout.clone());
            let (block, copied) = (touched[*at], places.copied[*at].clone());
            async move { blocks.piece(&handle, &layout, block, &copied).await }
        });
        let futures: Vec<_> = futures.collect();
        let loaded = tasks::run_all(futures, handle.settings.reads_in_flight).await?;
        for (at, (piece, read)) in absent.into_iter().zip(loaded) {
            // The block itself was counted above.
            stats.add(&ReadStats { blocks: 0, ..read });
            pieces[at] = Some(piece);
        }
        let pieces = pieces.into_iter().flatten().collect();
        Ok((Values { pieces, places: places.rows.clone() }, stats))
    }

    /// A block if it is kept, or else a copy of some of its rows.
    async fn piece(
        &self,
        handle: &LanceHandle,
        layout: &Layout,
        block: u32,
        copied: &[u32],
    ) -> Result<(ArrayRef, ReadStats)> {
        let (values, _, read) = self.load(handle, layout, block).await?;
        if self.grid.keeps(block) {
            return Ok((values, read));
        }
        Ok((take(&values, &UInt32Array::from(copied.to_vec()), None)?, read))
    }
}

/// The name by which a column has its room. Versions of a dataset share it.
fn name(handle: &LanceHandle, column: &Column) -> ColumnName {
    (handle.uri.clone(), column.identity().clone())
}

#[cfg(test)]
mod tests {
    use arrow::array::Int64Array;
    use keyloom_common::memory::MemoryBudget;

    use super::*;
    use crate::store::kept::KeptCache;

    #[test]
    fn a_block_is_found_by_its_column_and_its_rows() {
        let column = |file: &str| FileColumn {
            dataset: "dataset".into(),
            file: file.into(),
            column: "column".into(),
        };
        let memory = MemoryBudget::new("memory_bytes", 1 << 20);
        let blocks: KeptCache<Block, ArrayRef> = KeptCache::new(1 << 20, 1 << 10, &memory);
        let values: ArrayRef = Arc::new(Int64Array::from(vec![1, 2]));
        blocks.put(Block { column: column("file"), start: 10, rows: 2 }, values.clone(), 16);
        let found = |file: &str, start, rows| {
            let found = blocks.peek(&BlockRef { column: &column(file), start, rows });
            found.map(|found| ArrayRef::clone(&found))
        };
        assert_eq!(found("file", 10, 2), Some(values));
        for (file, start, rows) in [("file", 10, 3), ("file", 0, 2), ("other", 10, 2)] {
            assert_eq!(found(file, start, rows), None, "{file}, {rows} from {start}");
        }
    }
}
