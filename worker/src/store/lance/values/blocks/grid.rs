//! Where a column is cut into blocks, and which of them a request for rows needs.
//!
//! Columns of one width are cut alike, so what is found out for one of them holds for all.

use std::{
    ops::Range,
    sync::{Arc, OnceLock},
};

use super::{MAX_ROWS, share::Share};
use crate::store::{
    Place,
    lance::{layout::Layout, row::Row, values::widths::Widths},
};

/// A cut of all fragments into blocks, which are numbered through.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::store::lance) struct Cut {
    /// Rows of the blocks of each fragment; the last of a fragment may have fewer.
    rows: Vec<u32>,
    /// The number of each fragment's first block, and behind them how many blocks there are.
    firsts: Vec<u32>,
}

/// A cut, and which of its blocks are kept.
#[derive(Debug)]
pub(in crate::store::lance::values) struct Grid {
    cut: Arc<Cut>,
    /// The blocks that there is room for.
    kept: Share,
}

/// Some rows, by the blocks in which they stand.
#[derive(Debug)]
pub(in crate::store::lance::values) struct Touched<'a> {
    grid: &'a Grid,
    rows: &'a [Row],
    /// The blocks, in order.
    pub(in crate::store::lance::values) blocks: Vec<u32>,
    places: OnceLock<Places>,
}

/// Where values will be.
#[derive(Debug)]
pub(super) struct Places {
    /// For each row its place, the touched blocks being the pieces.
    pub(super) rows: Arc<[Place]>,
    /// For each touched block that is not kept, the rows to be copied out of it.
    pub(super) copied: Vec<Arc<[u32]>>,
}

impl Cut {
    /// Into blocks of about so many bytes.
    pub(in crate::store::lance) fn new(widths: &Widths, layout: &Layout, bytes: u64) -> Self {
        let rows = widths.block_rows(bytes, MAX_ROWS);
        let mut firsts = vec![0];
        let mut next = 0;
        for (physical, rows) in layout.physical_rows().zip(&rows) {
            next += physical.div_ceil(*rows);
            firsts.push(next);
        }
        Self { rows, firsts }
    }
}

impl Grid {
    pub(super) fn new(cut: Arc<Cut>, kept: Share) -> Self {
        Self { cut, kept }
    }

    /// Whether the block is kept once it was read.
    pub(in crate::store::lance::values) fn keeps(&self, block: u32) -> bool {
        self.kept.contains(block)
    }

    /// Which part of the blocks is kept once they were read, about.
    pub(in crate::store::lance::values) fn kept_share(&self) -> f64 {
        self.kept.fraction()
    }

    /// The blocks of a fragment.
    pub(super) fn of_fragment(&self, fragment: usize) -> Range<u32> {
        self.cut.firsts[fragment]..self.cut.firsts[fragment + 1]
    }

    /// The fragment of a block, and its rows there.
    pub(super) fn extent(&self, layout: &Layout, block: u32) -> (usize, Range<u32>) {
        let Cut { rows, firsts } = self.cut.as_ref();
        let fragment = firsts.partition_point(|first| *first <= block) - 1;
        let start = (block - firsts[fragment]) * rows[fragment];
        (fragment, start..layout.physical(fragment).min(start.saturating_add(rows[fragment])))
    }

    pub(super) fn block_of(&self, row: Row) -> u32 {
        self.cut.firsts[row.fragment()] + row.offset() / self.cut.rows[row.fragment()]
    }

    /// How many blocks there are.
    pub(super) fn count(&self) -> u32 {
        self.cut.firsts.last().copied().unwrap_or(0)
    }
}

impl PartialEq for Grid {
    fn eq(&self, other: &Self) -> bool {
        self.kept == other.kept && (Arc::ptr_eq(&self.cut, &other.cut) || self.cut == other.cut)
    }
}

impl<'a> Touched<'a> {
    pub(in crate::store::lance::values) fn new(grid: &'a Grid, rows: &'a [Row]) -> Self {
        let mut touched = vec![false; grid.count() as usize];
        rows.iter().for_each(|row| touched[grid.block_of(*row) as usize] = true);
        let blocks = (0..grid.count()).filter(|block| touched[*block as usize]).collect();
        Self { grid, rows, blocks, places: OnceLock::new() }
    }

    /// How many rows they are.
    pub(in crate::store::lance::values) fn rows(&self) -> usize {
        self.rows.len()
    }

    /// Whether it holds for a column that is cut like this.
    pub(in crate::store::lance::values) fn is_for(&self, grid: &Grid) -> bool {
        self.grid == grid
    }

    pub(super) fn places(&self) -> &Places {
        self.places.get_or_init(|| self.find_places())
    }

    fn find_places(&self) -> Places {
        let grid = self.grid;
        let mut piece_of = vec![0; grid.count() as usize];
        (0..).zip(&self.blocks).for_each(|(piece, block)| piece_of[*block as usize] = piece);
        let mut copied: Vec<Vec<u32>> = vec![Vec::new(); self.blocks.len()];
        let place = |row: &Row| {
            let block = grid.block_of(*row);
            let rows = grid.cut.rows[row.fragment()];
            let (piece, row) = (piece_of[block as usize], row.offset() % rows);
            if grid.keeps(block) {
                return Place { piece, row };
            }
            let copied = &mut copied[piece as usize];
            copied.push(row);
            Place { piece, row: copied.len() as u32 - 1 }
        };
        let rows = self.rows.iter().map(place).collect();
        Places { rows, copied: copied.into_iter().map(Arc::from).collect() }
    }
}
