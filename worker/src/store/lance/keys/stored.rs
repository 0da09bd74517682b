//! A map of integer keys in a file, of which a search reads what it needs.
//!
//! A map that was made takes all of its bytes in memory, whoever asks. In a file its codes are cut
//! into [`Pages`] of some kibibytes by their upper bits, and in memory is where each page ends and
//! its checksum: a few hundredths of a byte a key. A search reads the pages of the wanted codes,
//! which the system's page cache keeps, for all processes together and as long as nobody else needs
//! the memory.
//!
//! Pages are read and not mapped. The bytes that a checksum held for are those that are searched,
//! while mapped ones may change underneath; a disk that fails is an error, and not the end of the
//! process; and of a mapped file the system counts all that lies around each page that was touched:
//! 700 MB for 1,000 keys of 1.3 GB, where reading takes 1 MB and less time.

mod file;
pub(in crate::store::lance) mod folder;
pub(super) mod fuzzing;
mod known;
mod pages;
#[cfg(test)]
mod tests;
mod warned;

use std::{fs::File, io, os::unix::fs::FileExt};

use self::pages::{Asked, Pages};
use super::code_index::CodeIndex;

/// Wanted codes that are put in order together, in 16 bytes each.
const ASKED_AT_ONCE: usize = 1 << 18;

/// About the most bytes that are read together.
const SPAN_BYTES: u64 = 1 << 20;

/// Pages are read together if no more than this lies between them.
const MAX_GAP: u64 = 4096;

/// What a file tells of all keys of its map before any of its pages is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Told {
    /// The least and the greatest of them.
    pub(super) bounds: (i64, i64),
    /// Whether none stands in several rows, deleted ones among them.
    pub(super) is_unique: bool,
}

/// A map in a file that is open.
#[derive(Debug)]
pub(super) struct StoredMap {
    file: File,
    /// Where the first page starts.
    body: u64,
    pages: Pages,
    told: Told,
    /// What it is of has so many rows.
    rows: u32,
}

impl StoredMap {
    /// The map of so many rows. If its file has others, it is damaged.
    pub(super) fn within(self, rows: u32) -> Self {
        Self { rows, ..self }
    }

    /// The bytes that it takes in memory.
    pub(super) fn bytes(&self) -> u64 {
        self.pages.bytes()
    }

    /// What is known of all its keys.
    pub(super) fn told(&self) -> Told {
        self.told
    }

    /// Calls back with the positions of each wanted code and the rows that have it, those of one
    /// code in order.
    ///
    /// # Errors
    /// If the file cannot be read, or is damaged where it was read; then some pairs may be missing.
    pub(super) fn for_each_match(
        &self,
        wanted: &CodeIndex,
        mut pair: impl FnMut(u32, u32),
    ) -> io::Result<()> {
        let mut is_beyond = false;
        self.matches(wanted, &mut |key: u32, row: u32| {
            if row < self.rows { pair(key, row) } else { is_beyond = true }
        })?;
        within_rows(is_beyond)
    }

    fn matches(&self, wanted: &CodeIndex, pair: &mut impl FnMut(u32, u32)) -> io::Result<()> {
        let (mut asked, mut buffer) = (Vec::new(), Vec::new());
        let mut held = wanted.iter().filter_map(|(code, key)| self.pages.asked(code, key));
        loop {
            asked.extend(held.by_ref().take(ASKED_AT_ONCE));
            if asked.is_empty() {
                return Ok(());
            }
            asked.sort_unstable();
            self.find(&asked, &mut buffer, pair)?;
            asked.clear();
        }
    }

    /// Calls back with all codes and their rows.
    ///
    /// # Errors
    /// As [`StoredMap::for_each_match`].
    pub(super) fn for_each(&self, mut each: impl FnMut(u64, u32)) -> io::Result<()> {
        let mut is_beyond = false;
        let mut each = |code: u64, row: u32| {
            if row < self.rows { each(code, row) } else { is_beyond = true }
        };
        let (mut first, mut buffer) = (0, Vec::new());
        while first < self.pages.len() {
            let rest = first..self.pages.len();
            let start = self.pages.extent(first).start;
            let fits = |page: &usize| self.pages.extent(*page).end - start <= SPAN_BYTES;
            let last = rest.take_while(fits).last().unwrap_or(first);
            self.read(first, last, &mut buffer)?;
            for page in first..=last {
                self.pages.for_each(page, self.page(page, first, &buffer)?, &mut each);
            }
            first = last + 1;
        }
        within_rows(is_beyond)
    }

    /// Finds codes that are in the order of their pages.
    fn find(
        &self,
        mut asked: &[Asked],
        buffer: &mut Vec<u8>,
        pair: &mut impl FnMut(u32, u32),
    ) -> io::Result<()> {
        while let Some(first) = asked.first().map(Asked::page) {
            let (together, last) = self.span(asked);
            self.read(first, last, buffer)?;
            for of_page in asked[..together].chunk_by(|one, next| one.page() == next.page()) {
                let Some(page) = of_page.first().map(Asked::page) else { continue };
                let bytes = self.page(page, first, buffer)?;
                for asked in of_page {
                    self.pages.find(asked, bytes, pair);
                }
            }
            asked = &asked[together..];
        }
        Ok(())
    }

    /// How many of the wanted codes are in pages that are read together, and the last such page.
    fn span(&self, asked: &[Asked]) -> (usize, usize) {
        let first = asked.first().map_or(0, Asked::page);
        let (start, mut last) = (self.pages.extent(first).start, first);
        for (count, page) in asked.iter().map(Asked::page).enumerate() {
            let (before, extent) = (self.pages.extent(last), self.pages.extent(page));
            let is_apart = extent.start.saturating_sub(before.end) > MAX_GAP;
            if page != last && (is_apart || extent.end - start > SPAN_BYTES) {
                return (count, last);
            }
            last = page;
        }
        (asked.len(), last)
    }

    /// Reads consecutive pages.
    fn read(&self, first: usize, last: usize, buffer: &mut Vec<u8>) -> io::Result<()> {
        let (start, end) = (self.pages.extent(first).start, self.pages.extent(last).end);
        buffer.resize((end - start) as usize, 0);
        self.file.read_exact_at(buffer, self.body + start)
    }

    /// The bytes of a page among those that were read from the first one on.
    ///
    /// # Errors
    /// If they are not those that were written.
    fn page<'a>(&self, page: usize, first: usize, read: &'a [u8]) -> io::Result<&'a [u8]> {
        let (extent, start) = (self.pages.extent(page), self.pages.extent(first).start);
        let bytes = &read[(extent.start - start) as usize..(extent.end - start) as usize];
        if self.pages.is_sound(page, bytes) { Ok(bytes) } else { Err(file::damaged("a page")) }
    }
}

/// What becomes of a search that may have met rows that there are not: whoever used them would look
/// beyond all fragments.
fn within_rows(is_beyond: bool) -> io::Result<()> {
    if is_beyond { Err(file::damaged("a row")) } else { Ok(()) }
}
