//! What the pages of a fragment's files hold of a column.

use std::sync::Arc;

use keyloom_common::Result;
use lance_encoding::{
    decoder::{ColumnInfo, PageEncoding},
    format::metadata::{
        CompressiveEncoding, compressive_encoding::Compression, page_layout::Layout as PageLayout,
    },
};

use super::share;
use crate::store::lance::{column::Column, files::direct::known_version, handle::LanceHandle};

/// Consecutive rows of a fragment, and what is known of their values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Part {
    /// The row behind them.
    pub(super) end: u32,
    /// About their bytes, as far as they are known.
    pub(super) bytes: u64,
    /// Whether what is stored of them is not far from what they are. Otherwise a few stored bytes
    /// may stand for any number.
    pub(super) is_plain: bool,
}

/// Parts into which a fragment is cut of which nothing is known.
const UNKNOWN_PARTS: u32 = 8;

impl Part {
    /// The parts of a fragment of which nothing is known.
    pub(super) fn unknown(rows: u32) -> Vec<Self> {
        let ends = (1..=UNKNOWN_PARTS).map(|part| share(rows.into(), part, UNKNOWN_PARTS) as u32);
        let mut ends: Vec<u32> = ends.filter(|end| *end > 0).collect();
        ends.dedup();
        ends.into_iter().map(|end| Self { end, bytes: 0, is_plain: false }).collect()
    }
}

/// Whether any file of a fragment holds some of the column. One that was added later is in none.
pub(super) fn is_held(handle: &LanceHandle, column: &Column, id: u32) -> bool {
    let Some(fragment) = handle.stored_fragment(id) else { return false };
    let mut fields = fragment.files.iter().flat_map(|file| file.fields.iter());
    !fragment.overlays.is_empty() || fields.any(|field| column.ids().contains(field))
}

/// The parts of a fragment by the pages of a column. `None` if its files are not such that their
/// pages are known, or if values may be in other files.
pub(super) async fn parts(
    handle: &LanceHandle,
    column: &Column,
    id: u32,
    rows: u32,
) -> Result<Option<Vec<Part>>> {
    let Some(fragment) = handle.stored_fragment(id) else { return Ok(None) };
    if !fragment.overlays.is_empty() {
        return Ok(None);
    }
    let mut leaves = Vec::new();
    for file in &fragment.files {
        if !file.fields.iter().any(|field| column.ids().contains(field)) {
            continue;
        }
        if file.base_id.is_some() || known_version(file).is_none() {
            return Ok(None);
        }
        let columns = file.fields.iter().zip(file.column_indices.iter());
        let held = columns.filter(|(field, _)| column.ids().contains(field));
        // Of a field that has others in it, only those have columns.
        let held: Vec<usize> = held.filter_map(|(_, at)| usize::try_from(*at).ok()).collect();
        let file = handle.watch.read(handle.columns_of(file)).await?;
        let infos = held.into_iter().filter_map(|at| file.column_infos.get(at));
        leaves.extend(infos.map(|info| leaf(info, rows)));
    }
    Ok(Some(merge(&leaves, rows)))
}

/// The pages of a column of a file.
fn leaf(info: &Arc<ColumnInfo>, rows: u32) -> Vec<Part> {
    let mut parts: Vec<Part> = Vec::with_capacity(info.page_infos.len());
    let mut end = 0_u64;
    for page in info.page_infos.iter() {
        let stored: u64 = page.buffer_offsets_and_sizes.iter().map(|(_, size)| size).sum();
        let expansion = expansion(&page.encoding, stored);
        end = end.saturating_add(page.num_rows);
        parts.push(Part {
            end: u32::try_from(end).unwrap_or(u32::MAX),
            bytes: stored.saturating_mul(expansion.unwrap_or(1)),
            is_plain: expansion.is_some(),
        });
    }
    if end == u64::from(rows) {
        return parts;
    }
    // Pages of elements count these, and not the rows.
    let bytes = parts.iter().map(|part| part.bytes).fold(0, u64::saturating_add);
    vec![Part { end: rows, bytes, is_plain: parts.iter().all(|part| part.is_plain) }]
}

/// The parts of several columns as those of one.
fn merge(leaves: &[Vec<Part>], rows: u32) -> Vec<Part> {
    let mut ends: Vec<u32> = leaves.iter().flatten().map(|part| part.end).collect();
    ends.extend((rows > 0).then_some(rows));
    ends.sort_unstable();
    ends.dedup();
    let mut start = 0;
    let mut merged = Vec::with_capacity(ends.len());
    for end in ends.into_iter().filter(|end| *end > 0) {
        let mut part = Part { end, bytes: 0, is_plain: true };
        for leaf in leaves {
            let at = leaf.partition_point(|part| part.end <= start);
            let Some(whole) = leaf.get(at) else { continue };
            let first = at.checked_sub(1).map_or(0, |before| leaf[before].end);
            let bytes = share(whole.bytes, end - start, whole.end - first);
            part.bytes = part.bytes.saturating_add(bytes);
            part.is_plain &= whole.is_plain;
        }
        merged.push(part);
        start = end;
    }
    merged
}

/// About how many times as many bytes values have as are stored of them, if that is known.
fn expansion(page: &PageEncoding, stored: u64) -> Option<u64> {
    // What the first of these versions wrote says less of itself.
    let PageEncoding::Structural(page) = page else { return None };
    match page.layout.as_ref()? {
        PageLayout::MiniBlockLayout(blocks) if blocks.dictionary.is_none() => {
            compressed(blocks.value_compression.as_ref())
        }
        PageLayout::FullZipLayout(values) => compressed(values.value_compression.as_ref()),
        // Without a value, all are null. One that is large is stored beside.
        PageLayout::ConstantLayout(constant) if constant.inline_value.is_none() && stored == 0 => {
            Some(1)
        }
        _ => None,
    }
}

fn compressed(values: Option<&CompressiveEncoding>) -> Option<u64> {
    match values.and_then(|values| values.compression.as_ref()) {
        None
        | Some(
            Compression::Flat(_)
            | Compression::Variable(_)
            | Compression::InlineBitpacking(_)
            | Compression::OutOfLineBitpacking(_)
            | Compression::FixedSizeList(_),
        ) => Some(1),
        // Text becomes about half as long.
        Some(Compression::Fsst(_)) => Some(2),
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(end: u32, bytes: u64, is_plain: bool) -> Part {
        Part { end, bytes, is_plain }
    }

    #[test]
    fn columns_of_different_pages_are_one() {
        let one = vec![part(10, 100, true), part(30, 400, true)];
        let other = vec![part(20, 40, true), part(30, 1000, false)];
        assert_eq!(merge(std::slice::from_ref(&one), 30), one);
        let both = merge(&[one, other], 30);
        assert_eq!(both, [part(10, 120, true), part(20, 220, true), part(30, 1200, false)]);
    }

    #[test]
    fn a_column_in_no_file_has_nothing_stored() {
        assert_eq!(merge(&[], 7), [part(7, 0, true)]);
        assert_eq!(merge(&[vec![part(0, 9, true), part(7, 70, true)]], 7), [part(7, 70, true)]);
        assert!(merge(&[], 0).is_empty());
    }

    #[test]
    fn what_is_unknown_is_cut_into_parts() {
        let ends = |rows| Part::unknown(rows).iter().map(|part| part.end).collect::<Vec<_>>();
        assert_eq!(ends(16), [2, 4, 6, 8, 10, 12, 14, 16]);
        assert_eq!(ends(3), [1, 2, 3]);
        assert_eq!(ends(u32::MAX).last(), Some(&u32::MAX));
    }
}
