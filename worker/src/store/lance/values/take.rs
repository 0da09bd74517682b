//! Reading single rows, in chunks that are bounded by rows and by bytes, several at once.

use std::sync::Arc;

use keyloom_common::{Error, Result};

use super::{blocks::Blocks, widths::Meter};
use crate::store::{
    Place, ReadStats, StoreSettings, Values,
    lance::{column::Column, handle::LanceHandle, layout::Layout, row::Row, tasks},
    value_bytes,
};

/// Rows of a fragment that are read together.
#[derive(Debug, PartialEq, Eq)]
struct Chunk<'a> {
    rows: &'a [Row],
    /// About the bytes of their values.
    bytes: u64,
}

/// The values at the rows, by column.
pub(super) async fn take(
    handle: &Arc<LanceHandle>,
    layout: &Layout,
    columns: &[Arc<Blocks>],
    rows: &[Row],
) -> Result<(Vec<Values>, ReadStats)> {
    let mut wanted = rows.to_vec();
    wanted.sort_unstable();
    wanted.dedup();
    let of_fragments = wanted.chunk_by(|left, right| left.fragment() == right.fragment());
    let chunks = of_fragments.flat_map(|rows| {
        let fragment = rows[0].fragment();
        let widths = columns.iter().map(|column| column.widths().of_fragment(fragment));
        cut(rows, Meter::new(widths), &handle.settings)
    });
    let chunks: Vec<Chunk<'_>> = chunks.collect();

    let shared: Arc<[Arc<Column>]> = columns.iter().map(|blocks| blocks.column().clone()).collect();
    let futures = chunks.iter().map(|chunk| {
        let (handle, columns, bytes) = (handle.clone(), shared.clone(), chunk.bytes);
        let fragment = layout.id(chunk.rows[0].fragment());
        let offsets: Vec<u32> = chunk.rows.iter().map(|row| row.offset()).collect();
        async move {
            let columns: Vec<&Column> = columns.iter().map(AsRef::as_ref).collect();
            handle.take_rows(&columns, fragment, &offsets, bytes).await
        }
    });
    let futures: Vec<_> = futures.collect();
    let taken = tasks::run_all(futures, handle.settings.reads_in_flight).await?;

    let place = |row: &Row| {
        let piece = chunks.partition_point(|chunk| chunk.rows[0] <= *row).checked_sub(1)?;
        let row = chunks[piece].rows.binary_search(row).ok()?;
        Some(Place { piece: u32::try_from(piece).ok()?, row: u32::try_from(row).ok()? })
    };
    let places = rows.iter().map(place).collect::<Option<Arc<[_]>>>();
    let places = places.ok_or_else(|| Error::internal("a row was not taken"))?;
    let empty = || Values { pieces: Vec::with_capacity(chunks.len()), places: places.clone() };
    let mut values: Vec<Values> = columns.iter().map(|_| empty()).collect();
    let mut stats = ReadStats { rows_taken: wanted.len() as u64, ..ReadStats::default() };
    for chunk in taken {
        for (values, piece) in values.iter_mut().zip(chunk) {
            stats.bytes += value_bytes(&piece);
            values.pieces.push(piece);
        }
    }
    Ok((values, stats))
}

/// Cuts rows of a fragment into chunks of so many rows and so many bytes at most, unless a single
/// row has more.
fn cut<'a>(rows: &'a [Row], mut meter: Meter<'_>, settings: &StoreSettings) -> Vec<Chunk<'a>> {
    let (most_bytes, most) = (settings.read_bytes as u64, settings.take_chunk_rows.max(1));
    if let Some(width) = meter.fixed() {
        let size = ((most_bytes / width.max(1)) as usize).clamp(1, most);
        let chunk = |rows: &'a [Row]| Chunk { rows, bytes: width * rows.len() as u64 };
        return rows.chunks(size).map(chunk).collect();
    }
    let mut chunks = Vec::new();
    let (mut start, mut bytes) = (0, 0_u64);
    for (at, row) in rows.iter().enumerate() {
        let width = meter.weigh(row.offset());
        let all = bytes.saturating_add(width);
        if at > start && (all > most_bytes || at - start == most) {
            chunks.push(Chunk { rows: &rows[start..at], bytes });
            (start, bytes) = (at, width);
        } else {
            bytes = all;
        }
    }
    chunks.push(Chunk { rows: &rows[start..], bytes });
    chunks
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::lance::values::widths::{Varying, Width};

    /// The rows and the bytes of each chunk of every second row of twenty.
    fn chunks(widths: &[Width], read_bytes: usize, take_chunk_rows: usize) -> Vec<(usize, u64)> {
        let settings = StoreSettings { read_bytes, take_chunk_rows, ..StoreSettings::default() };
        let rows: Vec<Row> = (0..20).step_by(2).map(|offset| Row::new(3, offset)).collect();
        let chunks = cut(&rows, Meter::new(widths), &settings);
        let all: Vec<Row> = chunks.iter().flat_map(|chunk| chunk.rows).copied().collect();
        assert_eq!(all, rows);
        chunks.iter().map(|chunk| (chunk.rows.len(), chunk.bytes)).collect()
    }

    #[test]
    fn rows_are_cut_by_rows_and_by_what_they_weigh() {
        let fixed = Width::Fixed(8);
        assert_eq!(chunks(std::slice::from_ref(&fixed), 1000, 100), [(10, 80)]);
        assert_eq!(chunks(std::slice::from_ref(&fixed), 1000, 4), [(4, 32), (4, 32), (2, 16)]);
        assert_eq!(
            chunks(std::slice::from_ref(&fixed), 30, 100),
            [(3, 24), (3, 24), (3, 24), (1, 8)]
        );
        // Wide from the tenth row on.
        let late = Width::Varying(Arc::new(Varying::of_parts([(10, 0), (20, 1000)])));
        let both = [fixed, late];
        assert_eq!(chunks(&both, 4096, 100), [(10, 580)]);
        assert_eq!(chunks(&both, 4096, 6), [(6, 148), (4, 432)]);
        assert_eq!(chunks(&both, 220, 100), [(6, 148), (2, 216), (2, 216)]);
        let alone = [(5, 40), (1, 108), (1, 108), (1, 108), (1, 108), (1, 108)];
        assert_eq!(chunks(&both, 50, 100), alone);
        assert_eq!(chunks(&both, 1, 100), [[(1, 8); 5], [(1, 108); 5]].concat());
    }
}
