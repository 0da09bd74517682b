//! Reading single rows, in chunks that are bounded by rows and by bytes, several at once.

use std::sync::Arc;

use keyloom_common::{Error, Result};

use super::{column::Column, handle::LanceHandle, layout::Layout, row::Row, tasks};
use crate::store::{Fetched, Place, Values, value_bytes};

/// The values at the rows, by column. `width` is about what a row takes, in bytes.
pub(super) async fn take(
    handle: &Arc<LanceHandle>,
    layout: &Layout,
    columns: &[Arc<Column>],
    rows: &[Row],
    width: u64,
) -> Result<(Vec<Values>, Fetched)> {
    let mut wanted = rows.to_vec();
    wanted.sort_unstable();
    wanted.dedup();
    let size = (handle.settings.read_bytes as u64 / width.max(1)) as usize;
    let size = size.clamp(1, handle.settings.take_chunk_rows.max(1));
    let of_fragments = wanted.chunk_by(|left, right| left.fragment() == right.fragment());
    let chunks: Vec<&[Row]> = of_fragments.flat_map(|rows| rows.chunks(size)).collect();

    let shared: Arc<[Arc<Column>]> = columns.into();
    let jobs = chunks.iter().map(|chunk| {
        let (handle, columns) = (handle.clone(), shared.clone());
        let fragment = layout.id(chunk[0].fragment());
        let offsets: Vec<u32> = chunk.iter().map(|row| row.offset()).collect();
        async move {
            let columns: Vec<&Column> = columns.iter().map(AsRef::as_ref).collect();
            handle.take_rows(&columns, fragment, &offsets).await
        }
    });
    let jobs: Vec<_> = jobs.collect();
    let taken = tasks::run_all(jobs, handle.settings.reads_in_flight).await?;

    let place = |row: &Row| {
        let piece = chunks.partition_point(|chunk| chunk[0] <= *row).checked_sub(1)?;
        let row = chunks[piece].binary_search(row).ok()?;
        Some(Place { piece: u32::try_from(piece).ok()?, row: u32::try_from(row).ok()? })
    };
    let places = rows.iter().map(place).collect::<Option<Arc<[_]>>>();
    let places = places.ok_or_else(|| Error::internal("a row was not taken"))?;
    let empty = || Values { pieces: Vec::with_capacity(chunks.len()), places: places.clone() };
    let mut values: Vec<Values> = columns.iter().map(|_| empty()).collect();
    let mut fetched = Fetched { rows_taken: wanted.len() as u64, ..Fetched::default() };
    for chunk in taken {
        for (values, piece) in values.iter_mut().zip(chunk) {
            fetched.bytes += value_bytes(&piece);
            values.pieces.push(piece);
        }
    }
    Ok((values, fetched))
}
