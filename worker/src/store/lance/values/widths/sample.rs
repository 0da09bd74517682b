//! Some values of a fragment, read because what is stored does not tell all of what they weigh: a
//! few bytes may stand for a large value many times, or for much that is alike.

use std::ops::Range;

use arrow::array::{Array, ArrayRef};
use keyloom_common::{Error, Result, store::cost::Storage};

use super::{Part, share};
use crate::store::{
    lance::{column::Column, handle::LanceHandle, layout::Layout, row::Row},
    value_bytes,
};

/// For so many rows of a fragment one is read, so that values of one kind that stand together are
/// not passed over where they are so many that they would weigh.
const ROWS_A_VALUE: u32 = 16 * 1024;

/// The fewest values that are read of a local fragment.
const FEWEST: u32 = 16;

/// The most values that are read of a local fragment.
const MOST: u32 = 64;

/// Values that are read of a remote fragment, where each costs a request.
const REMOTE: u32 = 4;

/// Values that are read together where they are plain.
const PLAIN: u32 = 64;

/// Values that are read first, to learn how many more may be.
const FIRST: usize = 4;

/// Values that were read of a part, and their bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Tally {
    rows: u32,
    bytes: u64,
}

/// Corrects what is known of the parts of a fragment.
///
/// # Errors
/// `store` if their values cannot be read.
pub(super) async fn weigh(
    handle: &LanceHandle,
    layout: &Layout,
    column: &Column,
    fragment: usize,
    parts: &mut [Part],
) -> Result<()> {
    let local = handle.storage == Storage::LOCAL;
    // A request is too much for what is known within a factor of two.
    if local && let Some((rows, stored)) = plainest(parts) {
        let id = layout.id(fragment);
        let values = handle.read_range(column, id, rows, stored).await?;
        scale(parts, value_bytes(&values), stored);
    }
    let count =
        if local { (layout.physical(fragment) / ROWS_A_VALUE).clamp(FEWEST, MOST) } else { REMOTE };
    let mut rows = choose(parts, count);
    rows.retain(|row| layout.is_live(Row::new(fragment, *row)));
    if rows.is_empty() {
        return Ok(());
    }
    let mut tallies = vec![Tally::default(); parts.len()];
    let step = (rows.len() / FIRST).max(1);
    let first: Vec<u32> = rows.iter().copied().step_by(step).collect();
    count_bytes(handle, layout, column, fragment, &first, parts, &mut tallies).await?;

    let bytes: u64 = tallies.iter().map(|tally| tally.bytes).sum();
    let affordable = handle.settings.read_bytes as u64 * first.len() as u64 / bytes.max(1);
    rows.retain(|row| !first.contains(row));
    let affordable = usize::try_from(affordable).unwrap_or(usize::MAX);
    let step = rows.len().div_ceil(affordable.max(1)).max(1);
    let more = if affordable == 0 { Vec::new() } else { rows.into_iter().step_by(step).collect() };
    count_bytes(handle, layout, column, fragment, &more, parts, &mut tallies).await?;
    correct(parts, &tallies);
    Ok(())
}

/// A few rows in the middle of the plain part of which most is stored, and about how many bytes
/// these are.
fn plainest(parts: &[Part]) -> Option<(Range<u32>, u64)> {
    let starts = std::iter::once(0).chain(parts.iter().map(|part| part.end));
    let plain = starts.zip(parts).filter(|(start, part)| part.is_plain && *start < part.end);
    let (start, part) = plain.max_by_key(|(_, part)| part.bytes)?;
    let rows = part.end - start;
    let wanted = rows.min(PLAIN);
    let first = start + (rows - wanted) / 2;
    let stored = share(part.bytes, wanted, rows);
    (stored > 0).then_some((first..first + wanted, stored))
}

/// Takes plain parts to weigh as much more or less than what is stored of them as some values do.
/// It is never much less, and what is told of values that differ much would mislead.
fn scale(parts: &mut [Part], read: u64, stored: u64) {
    let read = u128::from(read.clamp(stored / 2, stored.saturating_mul(8)));
    for part in parts.iter_mut().filter(|part| part.is_plain) {
        let bytes = u128::from(part.bytes) * read / u128::from(stored.max(1));
        part.bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
    }
}

/// Reads values and adds what they weigh to those of their parts.
async fn count_bytes(
    handle: &LanceHandle,
    layout: &Layout,
    column: &Column,
    fragment: usize,
    rows: &[u32],
    parts: &[Part],
    tallies: &mut [Tally],
) -> Result<()> {
    if rows.is_empty() {
        return Ok(());
    }
    let bytes = handle.settings.read_bytes as u64;
    let values = handle.take_rows(&[column], layout.id(fragment), rows, bytes).await?;
    let values: &ArrayRef =
        values.first().ok_or_else(|| Error::internal("a column was not read"))?;
    let part_of = |row: u32| parts.partition_point(|part| part.end <= row);
    let mut at = 0;
    for rows in rows.chunk_by(|left, right| part_of(*left) == part_of(*right)) {
        if let Some(tally) = tallies.get_mut(part_of(rows[0])) {
            tally.rows += rows.len() as u32;
            tally.bytes += value_bytes(&values.slice(at, rows.len()));
        }
        at += rows.len();
    }
    Ok(())
}

/// Rows of the parts that are not plain, in order: half of them at even distances, and half of them
/// from parts at even distances, for values that are large fill parts of few rows.
fn choose(parts: &[Part], count: u32) -> Vec<u32> {
    let starts = std::iter::once(0).chain(parts.iter().map(|part| part.end));
    let ranges = starts.zip(parts).filter(|(start, part)| !part.is_plain && *start < part.end);
    let ranges: Vec<Range<u32>> = ranges.map(|(start, part)| start..part.end).collect();
    let all: u64 = ranges.iter().map(|range| range.len() as u64).sum();
    if all == 0 {
        return Vec::new();
    }
    let half = count.div_ceil(2).max(1);
    let mut rows = Vec::with_capacity(2 * half as usize);
    for nth in 0..half {
        // In the middle of each of so many equal stretches.
        let middle = |of: u64| of * (2 * u64::from(nth) + 1) / (2 * u64::from(half));
        rows.extend(row_at(&ranges, middle(all)));
        let range = &ranges[middle(ranges.len() as u64) as usize];
        rows.push(range.start + (range.end - range.start) / 2);
    }
    rows.sort_unstable();
    rows.dedup();
    rows
}

/// The row at a place in all ranges together.
fn row_at(ranges: &[Range<u32>], mut place: u64) -> Option<u32> {
    for range in ranges {
        let rows = range.len() as u64;
        if place < rows {
            return Some(range.start + place as u32);
        }
        place -= rows;
    }
    None
}

/// A part weighs what is stored of it, at least. One of which no value was read is taken for like
/// those of which some were.
fn correct(parts: &mut [Part], tallies: &[Tally]) {
    let (mut start, mut rows, mut read, mut stored) = (0, 0_u64, 0_u64, 0_u64);
    for (part, tally) in parts.iter().zip(tallies) {
        rows += u64::from(tally.rows);
        read += tally.bytes;
        stored += share(part.bytes, tally.rows, part.end - start);
        start = part.end;
    }
    let like_others = |part: &Part, of_part: u32| {
        if stored == 0 {
            return share(read, of_part, rows);
        }
        let bytes = u128::from(part.bytes) * u128::from(read) / u128::from(stored);
        u64::try_from(bytes).unwrap_or(u64::MAX)
    };
    let mut start = 0;
    for (part, tally) in parts.iter_mut().zip(tallies) {
        let of_part = part.end - std::mem::replace(&mut start, part.end);
        let bytes = match tally.rows {
            0 if part.is_plain => 0,
            0 => like_others(part, of_part),
            rows => share(tally.bytes, of_part, rows),
        };
        part.bytes = part.bytes.max(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(end: u32, bytes: u64, is_plain: bool) -> Part {
        Part { end, bytes, is_plain }
    }

    #[test]
    fn values_are_read_from_all_stretches_and_parts_that_are_not_plain() {
        assert_eq!(choose(&[part(800, 0, false)], 16).len(), 9);
        let parts = [part(1000, 0, false), part(5000, 0, true), part(6000, 0, false)];
        let rows = choose(&parts, 8);
        assert_eq!(rows, [250, 500, 750, 5250, 5500, 5750]);
        assert!(choose(&parts[1..2], 8).is_empty());
        // Of one long part and many short ones, values of the short ones are among them.
        let mut parts = vec![part(1_000_000, 0, false)];
        parts.extend((1..=100).map(|at| part(1_000_000 + at * 10, 0, false)));
        let short = choose(&parts, 16).into_iter().filter(|row| *row > 1_000_000).count();
        assert!(short >= 7, "{short}");
        assert_eq!(choose(&[part(2, 0, false)], 64), [0, 1]);
    }

    #[test]
    fn plain_parts_weigh_as_some_of_their_values_do() {
        let mut parts = [part(100, 1000, true), part(300, 4000, true), part(310, 7, false)];
        assert_eq!(plainest(&parts), Some((168..232, 1280)));
        scale(&mut parts, 1408, 1280);
        assert_eq!(parts.map(|part| part.bytes), [1100, 4400, 7]);
        // Where values differ, some do not tell of all.
        scale(&mut parts, 1 << 40, 10);
        assert_eq!(parts.map(|part| part.bytes), [8800, 35_200, 7]);
        scale(&mut parts, 0, 10);
        assert_eq!(parts.map(|part| part.bytes), [4400, 17_600, 7]);
        assert_eq!(plainest(&[part(3, 30, true)]), Some((0..3, 30)));
        assert_eq!(plainest(&[part(3, 0, true), part(9, 30, false)]), None);
    }

    #[test]
    fn parts_weigh_what_their_values_do() {
        let mut parts = [
            part(100, 50, false),
            part(200, 4000, true),
            part(300, 10, false),
            part(400, 90_000, false),
        ];
        let tally = |rows, bytes| Tally { rows, bytes };
        correct(&mut parts, &[tally(2, 2000), tally(0, 0), tally(0, 0), tally(1, 8)]);
        // What was read had 2008 bytes, and this much was stored of it.
        let stored = 50 * 2 / 100 + 90_000 / 100;
        assert_eq!(parts[0].bytes, 100_000);
        assert_eq!(parts[1].bytes, 4000);
        assert_eq!(parts[2].bytes, 10 * 2008 / stored);
        assert_eq!(parts[3].bytes, 90_000);
    }

    #[test]
    fn parts_of_which_nothing_is_known_weigh_what_others_do() {
        let mut parts = [part(10, 0, false), part(30, 0, false), part(60, 0, false)];
        let tally = |rows, bytes| Tally { rows, bytes };
        correct(&mut parts, &[tally(1, 100), tally(3, 900), tally(0, 0)]);
        assert_eq!(parts.map(|part| part.bytes), [1000, 6000, 7500]);
        correct(&mut parts, &[Tally::default(); 3]);
        assert_eq!(parts.map(|part| part.bytes), [1000, 6000, 7500]);
    }
}
