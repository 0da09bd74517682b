//! How the codes of a map are cut into pages, and what a page holds.
//!
//! A page of an index holds the codes of some upper bits in order, and behind them their rows. One
//! of a table holds the rows of consecutive integers.

use std::{
    io::{self, Write},
    ops::Range,
};

use keyloom_common::checksum::checksum;

use crate::store::lance::keys::{
    code_index::CodeIndex,
    coder::{integer, spread},
    key_map::{KeyMap, NO_ROW},
};

/// Codes of a page of an index, on average: about as many bytes as the system's pages have.
const CODES: u64 = 256;

/// Integers of a page of a table.
const PLACES: u64 = 1024;

/// The bytes of where a page ends, and of its checksum.
pub(super) const BYTES_A_PAGE: u64 = 12;

/// What a map is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// Rows by codes, which are in one page if all but so many lower bits are the same.
    Index { shift: u32 },
    /// Rows by integers from this one on. A place without a row holds [`NO_ROW`].
    Table { first: i64 },
}

/// Where the pages of a map end, and their checksums.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Pages {
    shape: Shape,
    /// In entries: codes with their rows, or places.
    ends: Box<[u64]>,
    checksums: Box<[u32]>,
}

/// A wanted code: where it would be, and its position among the wanted ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Asked {
    page: u32,
    /// The code, or its place in a table.
    at: u64,
    key: u32,
}

impl Asked {
    pub(super) fn page(&self) -> usize {
        self.page as usize
    }
}

impl Shape {
    fn of(map: &KeyMap) -> Self {
        match map {
            KeyMap::Index(index) => Self::Index { shift: shift_of(index) },
            KeyMap::Table(table) => Self::Table { first: table.first() },
        }
    }

    /// The bytes of an entry.
    pub(super) fn entry_bytes(self) -> u64 {
        match self {
            Self::Index { .. } => (size_of::<u64>() + size_of::<u32>()) as u64,
            Self::Table { .. } => size_of::<u32>() as u64,
        }
    }

    /// The pages of so many entries.
    fn pages(self, entries: u64) -> u64 {
        match self {
            Self::Index { shift } => page_of(u64::MAX, shift).saturating_add(1),
            Self::Table { .. } => entries.div_ceil(PLACES),
        }
    }
}

/// How many lower bits the codes of a page of an index do not share.
fn shift_of(index: &CodeIndex) -> u32 {
    let pages = (index.len() as u64 / CODES).max(1);
    u64::BITS - pages.ilog2()
}

/// The page of a code of an index.
fn page_of(code: u64, shift: u32) -> u64 {
    // All codes of a single page have no upper bits.
    code.checked_shr(shift).unwrap_or(0)
}

/// The entries of a map in memory.
fn entries(map: &KeyMap) -> u64 {
    match map {
        KeyMap::Index(index) => index.len() as u64,
        KeyMap::Table(table) => table.rows().len() as u64,
    }
}

impl Pages {
    /// How many pages a map has, and the bytes of them all.
    pub(super) fn size(map: &KeyMap) -> (u64, u64) {
        let (shape, entries) = (Shape::of(map), entries(map));
        (shape.pages(entries), entries * shape.entry_bytes())
    }

    /// Writes the pages of a map, one behind the other.
    pub(super) fn write(map: &KeyMap, out: &mut impl Write) -> io::Result<Self> {
        let mut writer = Writer { out, ends: Vec::new(), checksums: Vec::new(), bytes: Vec::new() };
        let shape = Shape::of(map);
        match map {
            KeyMap::Index(index) => writer.index(index, shift_of(index))?,
            KeyMap::Table(table) => {
                let mut pages = table.rows().chunks(PLACES as usize);
                pages.try_for_each(|rows| writer.places(rows))?;
            }
        }
        Ok(Self { shape, ends: writer.ends.into(), checksums: writer.checksums.into() })
    }

    /// What [`Pages::directory`] gave. None if it does not go together.
    pub(super) fn read(shape: Shape, entries: u64, directory: &[u8]) -> Option<Self> {
        let pages = directory.len() / BYTES_A_PAGE as usize;
        let (ends, checksums) = directory.split_at(pages * size_of::<u64>());
        let ends = ends.as_chunks::<8>().0.iter().map(|end| u64::from_le_bytes(*end));
        let checksums = checksums.as_chunks::<4>().0.iter().map(|sum| u32::from_le_bytes(*sum));
        let read = Self { shape, ends: ends.collect(), checksums: checksums.collect() };
        let is_whole = read.ends.is_sorted()
            && read.ends.last() == Some(&entries)
            && shape.pages(entries) == pages as u64
            && read.is_even();
        is_whole.then_some(read)
    }

    /// Whether the pages of a table end where the places of theirs do: a place is looked for in the
    /// page that its number says.
    fn is_even(&self) -> bool {
        let Shape::Table { .. } = self.shape else { return true };
        let due = (1..).map(|pages: u64| pages.saturating_mul(PLACES).min(self.entries()));
        self.ends.iter().copied().eq(due.take(self.ends.len()))
    }

    /// Where all pages end, and their checksums, as a file holds them.
    pub(super) fn directory(&self) -> Vec<u8> {
        let ends = self.ends.iter().flat_map(|end| end.to_le_bytes());
        ends.chain(self.checksums.iter().flat_map(|sum| sum.to_le_bytes())).collect()
    }

    pub(super) fn shape(&self) -> Shape {
        self.shape
    }

    /// The entries of all pages.
    pub(super) fn entries(&self) -> u64 {
        self.ends.last().copied().unwrap_or(0)
    }

    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    /// The bytes that this takes in memory.
    pub(super) fn bytes(&self) -> u64 {
        self.ends.len() as u64 * BYTES_A_PAGE
    }

    /// Where a page is among the bytes of all pages.
    pub(super) fn extent(&self, page: usize) -> Range<u64> {
        let entry = self.shape.entry_bytes();
        self.start(page) * entry..self.ends[page] * entry
    }

    /// Whether these are the bytes that were written.
    pub(super) fn is_sound(&self, page: usize, bytes: &[u8]) -> bool {
        checksum(bytes) == self.checksums[page]
    }

    /// Where a code is, if it may be anywhere.
    pub(super) fn asked(&self, code: u64, key: u32) -> Option<Asked> {
        let (page, at) = match self.shape {
            Shape::Index { shift } => (page_of(code, shift), code),
            Shape::Table { first } => {
                // What is less than the first integer wraps to a place that no table has.
                let place = integer(code).wrapping_sub(first) as u64;
                (place < self.entries()).then_some((place / PLACES, place))?
            }
        };
        Some(Asked { page: page as u32, at, key })
    }

    /// Calls back with the position of a wanted code and the rows that have it, in order.
    pub(super) fn find(&self, asked: &Asked, page: &[u8], pair: &mut impl FnMut(u32, u32)) {
        match self.shape {
            Shape::Index { .. } => {
                let (codes, rows) = index_page(page);
                let from = codes.partition_point(|code| u64::from_le_bytes(*code) < asked.at);
                let held = codes[from..].iter().zip(&rows[from..]);
                let same = held.take_while(|(code, _)| u64::from_le_bytes(**code) == asked.at);
                same.for_each(|(_, row)| pair(asked.key, u32::from_le_bytes(*row)));
            }
            Shape::Table { .. } => {
                let place = asked.at - self.start(asked.page());
                let row = page.as_chunks::<4>().0.get(place as usize);
                let row = row.map(|row| u32::from_le_bytes(*row));
                if let Some(row) = row.filter(|row| *row != NO_ROW) {
                    pair(asked.key, row);
                }
            }
        }
    }

    /// Calls back with all codes of a page and their rows.
    pub(super) fn for_each(&self, page: usize, bytes: &[u8], each: &mut impl FnMut(u64, u32)) {
        match self.shape {
            Shape::Index { .. } => {
                let (codes, rows) = index_page(bytes);
                for (code, row) in codes.iter().zip(rows) {
                    each(u64::from_le_bytes(*code), u32::from_le_bytes(*row));
                }
            }
            Shape::Table { first } => {
                let rows = bytes.as_chunks::<4>().0.iter().map(|row| u32::from_le_bytes(*row));
                for (place, row) in (self.start(page)..).zip(rows) {
                    if row != NO_ROW {
                        each(spread(first.wrapping_add(place as i64) as u64), row);
                    }
                }
            }
        }
    }

    /// The first entry of a page.
    fn start(&self, page: usize) -> u64 {
        page.checked_sub(1).map_or(0, |before| self.ends[before])
    }
}

/// The codes of a page of an index, and their rows.
fn index_page(bytes: &[u8]) -> (&[[u8; 8]], &[[u8; 4]]) {
    let entries = bytes.len() / (size_of::<u64>() + size_of::<u32>());
    let (codes, rows) = bytes.split_at(entries * size_of::<u64>());
    (codes.as_chunks::<8>().0, rows.as_chunks::<4>().0)
}

/// Writes pages and learns where they end.
struct Writer<'a, W> {
    out: &'a mut W,
    ends: Vec<u64>,
    checksums: Vec<u32>,
    /// Those of the page that is written.
    bytes: Vec<u8>,
}

impl<W: Write> Writer<'_, W> {
    /// An index gives its codes by their upper bits, of which a page has fewer than its groups.
    fn index(&mut self, index: &CodeIndex, shift: u32) -> io::Result<()> {
        let mut entries = Vec::new();
        for (code, row) in index.iter() {
            while page_of(code, shift) > self.ends.len() as u64 {
                self.codes(&mut entries)?;
            }
            entries.push((code, row));
        }
        while self.ends.len() as u64 <= page_of(u64::MAX, shift) {
            self.codes(&mut entries)?;
        }
        Ok(())
    }

    /// Writes a page of codes in their order. The rows of a code are in order, and stay so.
    fn codes(&mut self, entries: &mut Vec<(u64, u32)>) -> io::Result<()> {
        entries.sort_by_key(|(code, _)| *code);
        self.bytes.extend(entries.iter().flat_map(|(code, _)| code.to_le_bytes()));
        self.bytes.extend(entries.iter().flat_map(|(_, row)| row.to_le_bytes()));
        let count = entries.len();
        entries.clear();
        self.page(count)
    }

    fn places(&mut self, rows: &[u32]) -> io::Result<()> {
        self.bytes.extend(rows.iter().flat_map(|row| row.to_le_bytes()));
        self.page(rows.len())
    }

    fn page(&mut self, entries: usize) -> io::Result<()> {
        self.out.write_all(&self.bytes)?;
        self.ends.push(self.ends.last().copied().unwrap_or(0) + entries as u64);
        self.checksums.push(checksum(&self.bytes));
        self.bytes.clear();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pages_of_a_table_are_all_of_one_size() {
        let read = |ends: &[u64]| {
            let checksums = vec![0; ends.len() * size_of::<u32>()];
            let ends: Vec<u8> = ends.iter().flat_map(|end| end.to_le_bytes()).collect();
            Pages::read(Shape::Table { first: 0 }, 2_100, &[ends, checksums].concat())
        };
        assert!(read(&[1_024, 2_048, 2_100]).is_some());
        // A place of the first page would be looked for before the start of the second one.
        for ends in [[2_000, 2_048, 2_100], [0, 2_048, 2_100], [1_024, 2_100, 2_100]] {
            assert!(read(&ends).is_none(), "{ends:?}");
        }
    }
}
