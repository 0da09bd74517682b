//! Fragments whose keys share one map: what it is kept by, and where its positions stand in them.

use std::{
    io,
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use super::{
    code_index::CodeIndex,
    key_map::KeyMap,
    stored::{StoredMap, Told},
};
use crate::store::lance::name::FileColumn;

/// Some fragments in storage order, known by where their keys are stored, which never changes. A
/// position counts their rows from the first one on, deleted rows among them.
#[derive(Debug)]
pub(super) struct Run {
    /// Tells its map from those of others.
    pub(super) id: u64,
    names: Vec<FileColumn>,
    /// Maps that its map is made of as far as they are kept, and takes the place of.
    pub(super) merged: Vec<Merged>,
    /// Where the rows of each fragment end.
    ends: Vec<u32>,
    /// Positions with the same upper bits share a hint.
    shift: u32,
    /// The fragment that holds the first position of each hint, and at the end the number of all.
    hints: Vec<u32>,
}

/// A map that becomes a part of another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Merged {
    /// Of its run.
    pub(super) id: u64,
    /// Its fragments, by their places in the other run.
    pub(super) fragments: Range<usize>,
}

/// The map of the keys of a run.
#[derive(Debug)]
pub(in crate::store::lance) struct RunMap {
    /// While the map is there, so is the run: others find it by that.
    pub(super) run: Arc<Run>,
    map: Held,
    /// Whether its codes are those of integers.
    pub(super) exact: bool,
    facts: KeyFacts,
}

/// What is known of all keys of a map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store::lance) struct KeyFacts {
    /// The least and the greatest of them, if they are integers and there are any.
    pub(in crate::store::lance) bounds: Option<(i64, i64)>,
    /// Whether it is known that none stands in several rows, deleted ones among them.
    pub(in crate::store::lance) is_unique: bool,
}

impl From<Told> for KeyFacts {
    fn from(told: Told) -> Self {
        Self { bounds: Some(told.bounds), is_unique: told.is_unique }
    }
}

/// Where a map is.
#[derive(Debug)]
enum Held {
    InMemory(KeyMap),
    Stored(StoredMap),
}

impl Run {
    /// Fragments and how many rows each has, which are fewer than 2^32 together.
    pub(super) fn new(fragments: impl IntoIterator<Item = (FileColumn, u32)>) -> Arc<Self> {
        Self::made_of(fragments, Vec::new())
    }

    /// The same, whose map is made of some maps.
    pub(super) fn made_of(
        fragments: impl IntoIterator<Item = (FileColumn, u32)>,
        merged: Vec<Merged>,
    ) -> Arc<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let (mut names, mut ends, mut rows) = (Vec::new(), Vec::new(), 0_u32);
        for (name, of_fragment) in fragments {
            rows += of_fragment;
            names.push(name);
            ends.push(rows);
        }
        let typical = rows.checked_div(ends.len() as u32).unwrap_or(0);
        let shift = typical.checked_ilog2().unwrap_or(0);
        let holder = |hint: u64| ends.partition_point(|end| u64::from(*end) <= hint << shift);
        let last = u64::from(rows.saturating_sub(1) >> shift);
        let mut hints: Vec<u32> = (0..=last).map(|hint| holder(hint) as u32).collect();
        hints.push(ends.len() as u32);
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        Arc::new(Self { id, names, merged, ends, shift, hints })
    }

    /// Where the keys of each fragment are stored.
    pub(super) fn names(&self) -> &[FileColumn] {
        &self.names
    }

    /// How many rows all fragments have.
    pub(super) fn rows(&self) -> u32 {
        self.ends.last().copied().unwrap_or(0)
    }

    /// The position of the first row of a fragment, by the fragment's place in the run.
    pub(super) fn start(&self, at: usize) -> u32 {
        at.checked_sub(1).map_or(0, |before| self.ends[before])
    }

    /// How many rows a fragment has.
    pub(super) fn rows_of(&self, at: usize) -> u32 {
        self.ends[at] - self.start(at)
    }

    /// The fragment that holds a position, by its place in the run, and the offset there.
    pub(super) fn locate(&self, position: u32) -> (usize, u32) {
        let hint = (position >> self.shift) as usize;
        let (from, to) = (self.hints[hint] as usize, self.hints[hint + 1] as usize);
        let at = from + self.ends[from..to].partition_point(|end| *end <= position);
        (at, position - self.start(at))
    }
}

impl RunMap {
    /// The map of a run's keys, whose codes are `exact` if they are those of integers.
    pub(super) fn new(run: Arc<Run>, map: KeyMap, exact: bool) -> Self {
        let bounds = if exact { map.bounds() } else { None };
        // Keys of different codes differ, whatever the codes are.
        let facts = KeyFacts { bounds, is_unique: map.is_unique() };
        Self { run, map: Held::InMemory(map), exact, facts }
    }

    /// The map of a run's keys, which are integers, in a file.
    pub(super) fn stored(run: Arc<Run>, map: StoredMap) -> Self {
        let map = map.within(run.rows());
        let facts = map.told().into();
        Self { run, map: Held::Stored(map), exact: true, facts }
    }

    /// The map, if it is in memory, so that a search waits for nothing.
    pub(super) fn in_memory(&self) -> Option<&KeyMap> {
        match &self.map {
            Held::InMemory(map) => Some(map),
            Held::Stored(_) => None,
        }
    }

    /// What is known of all its keys.
    pub(in crate::store::lance) fn facts(&self) -> KeyFacts {
        self.facts
    }

    /// The bytes that it takes in memory.
    pub(super) fn bytes(&self) -> u64 {
        match &self.map {
            Held::InMemory(map) => map.bytes(),
            Held::Stored(map) => map.bytes(),
        }
    }

    /// Calls back with the positions of each wanted code and the rows that have it.
    ///
    /// # Errors
    /// If its file cannot be read or is damaged; then some pairs may be missing.
    pub(super) fn for_each_match(
        &self,
        wanted: &CodeIndex,
        pair: impl FnMut(u32, u32),
    ) -> io::Result<()> {
        match &self.map {
            Held::InMemory(map) => {
                map.for_each_match(wanted, pair);
                Ok(())
            }
            Held::Stored(map) => map.for_each_match(wanted, pair),
        }
    }

    /// Calls back with all codes and their rows.
    ///
    /// # Errors
    /// As [`RunMap::for_each_match`].
    pub(super) fn for_each(&self, each: impl FnMut(u64, u32)) -> io::Result<()> {
        match &self.map {
            Held::InMemory(map) => {
                map.for_each(each);
                Ok(())
            }
            Held::Stored(map) => map.for_each(each),
        }
    }

    /// Whether no code between these, as integers, is in the map.
    pub(super) fn is_beside(&self, wanted: Option<(i64, i64)>) -> bool {
        let bounds = self.facts.bounds;
        let (Some((first, last)), Some((least, greatest))) = (wanted, bounds) else {
            return self.exact && bounds.is_none();
        };
        last < least || greatest < first
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(rows: &[u32]) -> Arc<Run> {
        let name = |at: usize| FileColumn {
            dataset: Arc::from("dataset"),
            file: format!("file {at}").into(),
            column: Arc::from("column"),
        };
        Run::new(rows.iter().enumerate().map(|(at, rows)| (name(at), *rows)))
    }

    #[test]
    fn positions_count_through_all_fragments() {
        let cases: [&[u32]; 7] = [
            &[1],
            &[10, 10, 10],
            &[0, 3, 0, 0, 5, 0],
            &[1000, 1, 1, 1, 1000],
            &[1, 1, 1, 5000],
            &[7; 300],
            &[1 << 20, 3, 1 << 10],
        ];
        for rows in cases {
            let run = run(rows);
            let mut position = 0;
            for (at, rows) in rows.iter().enumerate() {
                assert_eq!((run.start(at), run.rows_of(at)), (position, *rows));
                let offsets = (0..*rows).filter(|offset| offset % 97 == 0 || offset + 1 == *rows);
                for offset in offsets {
                    assert_eq!(run.locate(position + offset), (at, offset), "{rows}");
                }
                position += rows;
            }
            assert_eq!(run.rows(), position);
        }
        assert_eq!((run(&[]).rows(), run(&[0]).rows()), (0, 0));
    }

    #[test]
    fn as_many_rows_as_there_may_be() {
        let run = run(&[u32::MAX - 5, 5]);
        assert_eq!(run.locate(0), (0, 0));
        assert_eq!(run.locate(u32::MAX - 6), (0, u32::MAX - 6));
        assert_eq!(run.locate(u32::MAX - 5), (1, 0));
        assert_eq!(run.locate(u32::MAX - 1), (1, 4));
    }

    #[test]
    fn keys_elsewhere_are_known_to_be_elsewhere() {
        use crate::store::lance::keys::coder::spread;

        let codes = |integers: &[i64]| integers.iter().map(|key| spread(*key as u64)).collect();
        let map = |integers: &[i64], exact| {
            let map = KeyMap::new(codes(integers), None, exact);
            RunMap::new(run(&[integers.len() as u32]), map, exact)
        };
        // A table and an index.
        for held in [&[-3, -2, -1, 0][..], &[-3, 0, -2_000]] {
            let (map, least) = (map(held, true), held.iter().min().copied().unwrap());
            assert!(map.is_beside(Some((1, 9))) && map.is_beside(Some((i64::MIN, least - 1))));
            assert!(!map.is_beside(Some((0, 9))) && !map.is_beside(Some((i64::MIN, least))));
        }
        assert!(!map(&[1, 2], false).is_beside(Some((5, 6))));
        assert!(map(&[], true).is_beside(Some((5, 6))));
        assert!(!map(&[], false).is_beside(Some((5, 6))));
    }
}
