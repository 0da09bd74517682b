//! Rows by the codes of their keys.
//!
//! Integers that stand close together, as ids often do, need no search: a table has a place for
//! each.

use arrow::buffer::NullBuffer;

use super::{
    code_index::CodeIndex,
    coder::{integer, spread},
};

/// Rows by codes, in 13 bytes a row.
#[derive(Debug)]
pub(super) enum KeyMap {
    Index(CodeIndex),
    Table(Table),
}

/// Rows by integers of a range, each in at most one row.
#[derive(Debug)]
pub(super) struct Table {
    /// The least of the integers.
    first: i64,
    /// For each integer from there on its row, or [`NO_ROW`].
    rows: Vec<u32>,
}

/// Nothing that has a map has so many rows.
pub(super) const NO_ROW: u32 = u32::MAX;

/// The most places of a table for so many rows. An index takes as many bytes, and while a table is
/// made, the codes are there, too: together they are to take less than half as much again.
const MAX_PLACES: (u128, u128) = (14, 5);

/// To look a code up in a table costs so much less than in an index.
const TABLE_ADVANTAGE: usize = 8;

impl KeyMap {
    /// Maps the codes to their positions, which are rows; those at nulls are left out. Codes are
    /// `exact` if they are those of integers.
    pub(super) fn new(codes: Vec<u64>, nulls: Option<&NullBuffer>, exact: bool) -> Self {
        let table = exact.then(|| Table::try_new(&codes, nulls)).flatten();
        table.map_or_else(|| Self::Index(CodeIndex::consuming(codes, nulls)), Self::Table)
    }

    /// The bytes that it takes.
    pub(super) fn bytes(&self) -> u64 {
        match self {
            Self::Index(index) => index.bytes(),
            Self::Table(table) => size_of_val(table.rows.as_slice()) as u64,
        }
    }

    /// Whether no code has several rows.
    pub(super) fn is_unique(&self) -> bool {
        match self {
            Self::Index(index) => index.is_unique(),
            Self::Table(_) => true,
        }
    }

    /// The least and the greatest of its codes, which are those of integers.
    pub(super) fn bounds(&self) -> Option<(i64, i64)> {
        match self {
            Self::Index(index) => {
                let mut integers = index.iter().map(|(code, _)| integer(code));
                let first = integers.next()?;
                let bounds = (first, first);
                Some(integers.fold(bounds, |(least, last), key| (least.min(key), last.max(key))))
            }
            // Both ends of a table are held.
            Self::Table(Table { first, rows }) => {
                let last = first.wrapping_add(rows.len().saturating_sub(1) as i64);
                Some((*first, last))
            }
        }
    }

    /// Calls back with all codes and their rows.
    pub(super) fn for_each(&self, mut each: impl FnMut(u64, u32)) {
        match self {
            Self::Index(index) => index.iter().for_each(|(code, row)| each(code, row)),
            Self::Table(table) => table.iter().for_each(|(code, row)| each(code, row)),
        }
    }

    /// Calls back with the positions of each wanted code and the rows that have it.
    pub(super) fn for_each_match(&self, wanted: &CodeIndex, mut pair: impl FnMut(u32, u32)) {
        match self {
            Self::Index(index) => wanted.for_each_match(index, pair),
            Self::Table(table) if wanted.len() / TABLE_ADVANTAGE <= table.rows.len() => {
                for (code, position) in wanted.iter() {
                    table.find(code).into_iter().for_each(|row| pair(position, row));
                }
            }
            Self::Table(table) => {
                for (code, row) in table.iter() {
                    wanted.find(code).for_each(|position| pair(position, row));
                }
            }
        }
    }
}

impl Table {
    /// A table, if the integers are close together and no two are the same.
    fn try_new(codes: &[u64], nulls: Option<&NullBuffer>) -> Option<Self> {
        let valid = |row: &usize| nulls.is_none_or(|nulls| nulls.is_valid(*row));
        let integers = || (0..codes.len()).filter(valid).map(|row| (row, integer(codes[row])));
        let (mut first, mut last, mut count) = (i64::MAX, i64::MIN, 0_u64);
        for (_, integer) in integers() {
            (first, last, count) = (first.min(integer), last.max(integer), count + 1);
        }
        let (places, of_rows) = MAX_PLACES;
        let is_sparse = || u128::from(last.abs_diff(first)) * of_rows >= u128::from(count) * places;
        if count == 0 || is_sparse() {
            return None;
        }
        let mut rows = vec![NO_ROW; last.abs_diff(first) as usize + 1];
        for (row, integer) in integers() {
            let place = &mut rows[integer.abs_diff(first) as usize];
            if *place != NO_ROW {
                return None;
            }
            *place = row as u32;
        }
        Some(Self { first, rows })
    }

    /// The least of its integers.
    pub(super) fn first(&self) -> i64 {
        self.first
    }

    /// For each integer from there on its row, or [`NO_ROW`].
    pub(super) fn rows(&self) -> &[u32] {
        &self.rows
    }

    fn find(&self, code: u64) -> Option<u32> {
        // What is less than the first integer wraps to a place that no table has.
        let place = integer(code).wrapping_sub(self.first) as u64;
        self.rows.get(usize::try_from(place).ok()?).copied().filter(|row| *row != NO_ROW)
    }

    /// Codes and their rows.
    fn iter(&self) -> impl Iterator<Item = (u64, u32)> {
        let held = self.rows.iter().enumerate().filter(|(_, row)| **row != NO_ROW);
        held.map(|(place, row)| (spread(self.first.wrapping_add(place as i64) as u64), *row))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn codes(integers: &[i64]) -> Vec<u64> {
        integers.iter().map(|integer| spread(*integer as u64)).collect()
    }

    /// Pairs of a wanted integer and a row that holds it.
    fn matches(map: &KeyMap, wanted: &[i64]) -> Vec<(i64, u32)> {
        let mut matches = Vec::new();
        let index = CodeIndex::new(&codes(wanted), None);
        map.for_each_match(&index, |position, row| matches.push((wanted[position as usize], row)));
        matches.sort_unstable();
        matches
    }

    #[test]
    fn integers_close_together_have_a_table() {
        let cases: [(&[i64], bool); 8] = [
            (&[5, 3, 4], true),
            (&[-1, 0, 1], true),
            (&[i64::MAX, i64::MAX - 2], true),
            (&[i64::MIN, i64::MIN + 5], true),
            // In the middle of what u64 holds.
            (&[u64::MAX as i64, 0, u64::MAX as i64 - 1], true),
            (&[i64::MIN, i64::MAX], false),
            (&[0, 6], false),
            (&[1, 2, 1], false),
        ];
        for (integers, expected) in cases {
            let map = KeyMap::new(codes(integers), None, true);
            assert_eq!(matches!(map, KeyMap::Table(_)), expected, "{integers:?}");
            assert!(map.bytes() <= 13 * integers.len() as u64 + 12, "{integers:?}");
        }
        let hashes = KeyMap::new(codes(&[1, 2]), None, false);
        assert!(matches!(hashes, KeyMap::Index(_)));
    }

    #[test]
    fn a_table_finds_what_an_index_finds() {
        let held = [7, -3, 0, i64::MIN, 2, 9, i64::MAX];
        let nulls = NullBuffer::from(vec![true, true, true, false, true, true, false]);
        let table = KeyMap::new(codes(&held), Some(&nulls), true);
        let index = KeyMap::new(codes(&held), Some(&nulls), false);
        assert!(matches!((&table, &index), (KeyMap::Table(_), KeyMap::Index(_))));
        let few = [9, 9, -3, -4, 10, 3, i64::MIN, i64::MAX];
        // So many that the table's own rows are looked up among them.
        let many: Vec<i64> = (-500..500).collect();
        for wanted in [few.as_slice(), &many] {
            assert_eq!(matches(&table, wanted), matches(&index, wanted));
        }
        let last = KeyMap::new(codes(&[i64::MAX, i64::MAX - 1]), None, true);
        let wanted: Vec<i64> = (0..100).map(|from_last| i64::MAX - from_last).collect();
        assert_eq!(matches(&last, &wanted), [(i64::MAX - 1, 1), (i64::MAX, 0)]);
        assert_eq!(matches(&table, &few), [(-3, 1), (9, 5), (9, 5)]);
        assert_eq!(matches(&table, &many), [(-3, 1), (0, 2), (2, 4), (7, 0), (9, 5)]);
    }
}
