//! Columns that are cut alike, whose blocks are read together where they are small: of a small
//! fragment, reading all of them costs little more than reading one.

use std::{ops::Range, sync::Arc};

use arrow::{
    array::{ArrayRef, UInt32Array},
    compute::take,
};
use keyloom_common::{Error, Result};

use super::{Block, Blocks, Touched};
use crate::store::{
    ReadStats, Values,
    lance::{column::Column, handle::LanceHandle, layout::Layout, tasks},
    value_bytes,
};

/// About the most bytes of such blocks, one of each column. Larger ones are read side by side.
const MOST_BYTES: u64 = 256 << 10;

/// Whether the blocks of columns, which are cut alike, are better read together.
pub(in crate::store::lance::values) fn are_small(columns: &[Arc<Blocks>]) -> bool {
    let blocks = columns.first().map_or(0, |blocks| blocks.grid.count());
    let bytes = columns.iter().map(|blocks| blocks.widths.total()).fold(0, u64::saturating_add);
    let mut names: Vec<&str> = columns.iter().map(|blocks| &**blocks.column.identity()).collect();
    names.sort_unstable();
    // Who reads a column twice would wait for itself.
    let are_distinct = names.windows(2).all(|pair| pair[0] != pair[1]);
    let are_apart = columns.iter().any(|blocks| blocks.column.has_bytes_apart());
    let is_little = bytes / u64::from(blocks.max(1)) <= MOST_BYTES;
    columns.len() > 1 && are_distinct && !are_apart && is_little
}

/// As [`Blocks::values`], of columns that are cut alike, whose blocks are small.
pub(in crate::store::lance::values) async fn values_together(
    columns: &[Arc<Blocks>],
    handle: &Arc<LanceHandle>,
    layout: &Arc<Layout>,
    touched: &Touched<'_>,
) -> Result<(Vec<Values>, ReadStats)> {
    for blocks in columns.iter().filter(|blocks| blocks.are_kept()) {
        blocks.claim_room(handle);
    }
    let (places, touched) = (touched.places(), &touched.blocks);
    let order = order(columns);
    let in_memory = |block: &u32| {
        let of_columns = columns.iter().map(|blocks| blocks.in_memory(handle, layout, *block));
        of_columns.collect::<Vec<Option<ArrayRef>>>()
    };
    let mut pieces: Vec<_> = touched.iter().map(in_memory).collect();
    let absent = pieces.iter().enumerate().map(|(at, of_columns)| {
        let absent = order.iter().copied().filter(|column| of_columns[*column].is_none());
        (at, absent.collect::<Vec<usize>>())
    });
    let absent: Vec<_> = absent.filter(|(_, columns)| !columns.is_empty()).collect();
    let all = (touched.len() * columns.len()) as u64;
    let to_load: usize = absent.iter().map(|(_, columns)| columns.len()).sum();
    let mut stats =
        ReadStats { blocks: all, block_hits: all - to_load as u64, ..ReadStats::default() };
    let futures = absent.iter().map(|(at, absent)| {
        let columns: Vec<_> = absent.iter().map(|column| columns[*column].clone()).collect();
        let (handle, layout) = (handle.clone(), layout.clone());
        let (block, copied) = (touched[*at], places.copied[*at].clone());
        async move { load(&columns, &handle, &layout, block, &copied).await }
    });
    let futures: Vec<_> = futures.collect();
    let loaded = tasks::run_all(futures, handle.settings.reads_in_flight).await?;
    for ((at, columns), (values, read)) in absent.into_iter().zip(loaded) {
        stats.add(&read);
        for (column, values) in columns.into_iter().zip(values) {
            pieces[at][column] = Some(values);
        }
    }
    let of_column = |column: usize| Values {
        pieces: pieces.iter().filter_map(|of_columns| of_columns[column].clone()).collect(),
        places: places.rows.clone(),
    };
    Ok(((0..columns.len()).map(of_column).collect(), stats))
}

/// The order in which all who want blocks of several columns wait for them.
fn order(columns: &[Arc<Blocks>]) -> Vec<usize> {
    let name = |at: &usize| columns[*at].column.identity();
    let mut order: Vec<usize> = (0..columns.len()).collect();
    order.sort_by(|one, other| name(one).cmp(name(other)));
    order
}

/// A block of each column if blocks are kept, or else a copy of some of its rows, and what was read
/// for them.
async fn load(
    columns: &[Arc<Blocks>],
    handle: &LanceHandle,
    layout: &Layout,
    block: u32,
    copied: &[u32],
) -> Result<(Vec<ArrayRef>, ReadStats)> {
    let Some(first) = columns.first() else { return Ok(Default::default()) };
    let (fragment, rows) = first.grid.extent(layout, block);
    let name = |blocks: &Arc<Blocks>| blocks.locate(handle, layout, block).1;
    let names: Vec<Block> = columns.iter().map(name).collect();
    let bytes = columns.iter().map(|blocks| blocks.bytes(fragment, rows.clone()));
    let bytes: Vec<u64> = bytes.collect();
    let read = Reading { columns, handle, fragment: layout.id(fragment), rows, bytes: &bytes };
    let cache = &handle.caches.blocks;
    let is_kept = first.grid.keeps(block);
    let (values, made) = if is_kept {
        cache.get_or_pass_all(&names, &bytes, value_bytes, |absent| read.read(absent)).await?
    } else {
        // Those that pass may be kept for others.
        let passing = columns.iter().zip(&names).map(|(blocks, name)| {
            let kept = if blocks.are_kept() { None } else { cache.get(name) };
            kept.map(|kept| ArrayRef::clone(&kept))
        });
        read.rest(passing.collect()).await?
    };
    let mut stats =
        ReadStats { block_hits: (columns.len() - made.len()) as u64, ..ReadStats::default() };
    for at in made {
        stats.rows_scanned += values[at].len() as u64;
        stats.bytes += value_bytes(&values[at]);
    }
    if is_kept {
        return Ok((values, stats));
    }
    let copied = UInt32Array::from(copied.to_vec());
    let copies = values.iter().map(|values| take(values, &copied, None));
    Ok((copies.collect::<Result<Vec<_>, _>>()?, stats))
}

/// A block of each of some columns, to be read.
struct Reading<'a> {
    columns: &'a [Arc<Blocks>],
    handle: &'a LanceHandle,
    fragment: u32,
    rows: Range<u32>,
    /// About those of each.
    bytes: &'a [u64],
}

impl Reading<'_> {
    /// The blocks of these columns.
    async fn read(&self, columns: Vec<usize>) -> Result<Vec<ArrayRef>> {
        let bytes = columns.iter().map(|at| self.bytes[*at]).fold(0, u64::saturating_add);
        let columns = columns.iter().map(|at| self.columns[*at].column().as_ref());
        let columns: Vec<&Column> = columns.collect();
        self.handle.read_ranges(&columns, self.fragment, self.rows.clone(), bytes).await
    }

    /// The blocks of all columns, those that are not there read, and which these are.
    async fn rest(&self, held: Vec<Option<ArrayRef>>) -> Result<(Vec<ArrayRef>, Vec<usize>)> {
        let absent: Vec<usize> = (0..held.len()).filter(|at| held[*at].is_none()).collect();
        let mut read = match absent.is_empty() {
            true => Vec::new(),
            false => self.read(absent.clone()).await?,
        }
        .into_iter();
        let all = held.into_iter().map(|held| held.or_else(|| read.next()));
        let all: Option<Vec<ArrayRef>> = all.collect();
        Ok((all.ok_or_else(|| Error::internal("a column was not read"))?, absent))
    }
}
