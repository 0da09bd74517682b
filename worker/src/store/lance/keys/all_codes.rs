//! The codes of all keys that a map is made of, from parts in any order and from other maps.

use std::io;

use arrow::{
    buffer::{BooleanBuffer, Buffer, NullBuffer},
    util::bit_util::{set_bit, unset_bit},
};

use super::{key_map::KeyMap, run::RunMap};

/// The codes of consecutive rows of a fragment.
pub(super) struct Codes {
    pub(super) start: u32,
    pub(super) codes: Vec<u64>,
    pub(super) nulls: Option<NullBuffer>,
    /// Whether they are those of integers.
    pub(super) exact: bool,
}

/// The codes of all rows of a run. They take most of the bytes of a map, so they are there once.
pub(super) struct AllCodes {
    codes: Vec<u64>,
    /// A bit for each row that has a key, if some has none.
    valid: Option<Vec<u8>>,
    exact: bool,
}

impl AllCodes {
    pub(super) fn new(rows: u32) -> Self {
        Self { codes: vec![0; rows as usize], valid: None, exact: true }
    }

    /// Adds a part of the fragment whose rows start here.
    pub(super) fn add(&mut self, fragment: u32, part: &Codes) {
        let start = (fragment + part.start) as usize;
        self.codes[start..start + part.codes.len()].copy_from_slice(&part.codes);
        self.exact &= part.exact;
        let Some(nulls) = &part.nulls else { return };
        let valid = self.valid();
        (0..nulls.len())
            .filter(|row| nulls.is_null(*row))
            .for_each(|row| unset_bit(valid, start + row));
    }

    /// Adds all codes of a map, whose first row is here.
    ///
    /// # Errors
    /// If the map's file cannot be read; then this is of no use any more.
    pub(super) fn add_map(&mut self, start: u32, map: &RunMap) -> io::Result<()> {
        let (start, rows) = (start as usize, map.run.rows() as usize);
        self.exact &= map.exact;
        let codes = &mut self.codes[start..start + rows];
        let mut held = 0;
        map.for_each(|code, row| {
            codes[row as usize] = code;
            held += 1;
        })?;
        if held == rows {
            return Ok(());
        }
        let valid = self.valid();
        (start..start + rows).for_each(|row| unset_bit(valid, row));
        map.for_each(|_, row| set_bit(valid, start + row as usize))
    }

    /// Their map, and whether they are those of integers.
    pub(super) fn map(self) -> (KeyMap, bool) {
        let Self { codes, valid, exact } = self;
        let nulls = valid.map(|valid| {
            let bits = BooleanBuffer::new(Buffer::from_vec(valid), 0, codes.len());
            NullBuffer::new(bits)
        });
        (KeyMap::new(codes, nulls.as_ref(), exact), exact)
    }

    fn valid(&mut self) -> &mut [u8] {
        let bytes = self.codes.len().div_ceil(8);
        self.valid.get_or_insert_with(|| vec![u8::MAX; bytes])
    }
}

#[cfg(test)]
mod tests {
    use std::{ops::Range, sync::Arc};

    use super::*;
    use crate::store::lance::{
        keys::{code_index::CodeIndex, coder::spread, run::Run},
        name::FileColumn,
    };

    fn codes(keys: Range<u64>) -> Vec<u64> {
        keys.map(spread).collect()
    }

    fn part(start: u32, keys: Range<u64>, nulls: Option<NullBuffer>, exact: bool) -> Codes {
        Codes { start, codes: codes(keys), nulls, exact }
    }

    /// Keys from 0 to 40, and the rows that hold them.
    fn matches(map: &KeyMap) -> Vec<(u32, u32)> {
        let mut matches = Vec::new();
        let wanted = CodeIndex::new(&codes(0..40), None);
        map.for_each_match(&wanted, |key, row| matches.push((key, row)));
        matches.sort_unstable();
        matches
    }

    #[test]
    fn a_map_is_the_same_whatever_the_order_of_its_parts() {
        let nulls = NullBuffer::from(vec![true, false, true, false]);
        for exact in [true, false] {
            let parts = [
                part(0, 10..16, None, exact),
                part(6, 20..24, Some(nulls.clone()), exact),
                part(0, 30..31, None, exact),
            ];
            for in_turn in [[0, 1, 2], [2, 0, 1], [1, 2, 0]] {
                let mut all = AllCodes::new(11);
                // The last one is of another fragment.
                let fragments = [0, 0, 10];
                in_turn.into_iter().for_each(|at: usize| all.add(fragments[at], &parts[at]));
                let (map, is_exact) = all.map();
                let first = (10..16).zip(0..6);
                let expected: Vec<(u32, u32)> = first.chain([(20, 6), (22, 8), (30, 10)]).collect();
                assert_eq!((matches(&map), is_exact), (expected, exact), "{in_turn:?}");
            }
        }
        let none = KeyMap::new(Vec::new(), None, true);
        assert_eq!(AllCodes::new(0).map().0.bytes(), none.bytes());
    }

    #[test]
    fn a_map_of_maps_is_that_of_their_parts() {
        let name = FileColumn {
            dataset: Arc::from("dataset"),
            file: Arc::from("file"),
            column: Arc::from("column"),
        };
        let nulls = NullBuffer::from(vec![true, false, true, false]);
        for exact in [true, false] {
            let parts = [part(0, 20..24, Some(nulls.clone()), exact), part(0, 10..16, None, exact)];
            let maps = parts.each_ref().map(|part| {
                let rows = part.codes.len() as u32;
                let mut all = AllCodes::new(rows);
                all.add(0, part);
                let (map, exact) = all.map();
                RunMap::new(Run::new([(name.clone(), rows)]), map, exact)
            });
            for in_turn in [[0_usize, 1], [1, 0]] {
                let mut all = AllCodes::new(11);
                for at in in_turn {
                    all.add_map([0, 4][at], &maps[at]).unwrap();
                }
                all.add(10, &part(0, 22..23, None, exact));
                let (map, is_exact) = all.map();
                let expected: Vec<(u32, u32)> =
                    (10..16).zip(4..10).chain([(20, 0), (22, 2), (22, 10)]).collect();
                assert_eq!((matches(&map), is_exact), (expected, exact), "{in_turn:?}");
            }
        }
    }
}
