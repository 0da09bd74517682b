//! The rows of all keys of a job, found in one scan of the store's keys: memory by the job, not by
//! the store.

use std::sync::Arc;

use arrow::{array::new_empty_array, buffer::NullBuffer};
use keyloom_common::{BlobId, Error, Result, store::StoreKey};

use super::{
    code_index::CodeIndex,
    scan::KeyScan,
    sieve::{Matches, Need, Wanted},
};
use crate::store::{
    KeySet, Keys, ReadStats,
    kept::Kept,
    lance::{LanceStore, column::Column, name::LearnedName, row::Row, tasks},
};

/// Scans of all keys of a store that cost as much as a map of them, which serves later jobs, too.
const SCANS_OF_A_MAP: u32 = 3;

/// Of a store of fewer rows, the second job makes the map: that takes little time and memory, and
/// who has come back is likely to come again.
const LARGE_ROWS: u64 = 16 << 20;

/// As many rows of a key are looked for at least, so that of keys with fewer all are known: of few
/// keys, and of any number of them.
const ROWS_A_KEY: (usize, usize) = (8, 2);

/// Keys are few if they have no more rows than these together.
const ROWS_OF_FEW_KEYS: usize = 1 << 20;

/// Keys, by their codes, and of the rows that hold them or another key of the same code all, or as
/// many as were looked for.
#[derive(Debug)]
pub(in crate::store::lance) struct Learned {
    keys: CodeIndex,
    /// Where the rows of each key start, and behind them where the last end.
    starts: Vec<u32>,
    rows: Vec<Row>,
    /// A key with as many rows may have others.
    most: usize,
}

impl Learned {
    /// Of keys with these codes, and what was found of them: all of the rows of each, or as many as
    /// this, or more. Of several keys of one code, the first one has the rows.
    fn new(keys: CodeIndex, codes: &[u64], mut found: Matches, most: usize) -> Self {
        found.retain(|(key, _)| keys.find(codes[*key as usize]).next() == Some(*key));
        let mut starts = vec![0; codes.len() + 1];
        for (key, _) in &found {
            starts[*key as usize + 1] += 1;
        }
        for key in 0..codes.len() {
            starts[key + 1] += starts[key];
        }
        let mut next = starts.clone();
        let mut rows = vec![Row::new(0, 0); found.len()];
        for (key, row) in found {
            let place = &mut next[key as usize];
            rows[*place as usize] = row;
            *place += 1;
        }
        Self { keys, starts, rows, most }
    }

    /// All rows, in any order.
    pub(in crate::store::lance) fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// The bytes that it takes.
    fn bytes(&self) -> u64 {
        let rows = self.rows.len() * size_of::<Row>();
        self.keys.bytes() + (rows + self.starts.len() * size_of::<u32>()) as u64
    }

    /// The rows of the wanted codes, and which positions of them, of so many, must be looked for:
    /// they are no keys of the set, or need all of their rows while not all may be known.
    pub(super) fn find(
        &self,
        wanted: &CodeIndex,
        count: usize,
        need: Need,
    ) -> (Matches, Vec<bool>) {
        let (mut matches, mut is_other) = (Matches::new(), vec![true; count]);
        let mut may_have_others = Vec::new();
        wanted.for_each_match(&self.keys, |position, key| {
            is_other[position as usize] = false;
            let rows = self.starts[key as usize] as usize..self.starts[key as usize + 1] as usize;
            if need.is_all() && rows.len() >= self.most {
                may_have_others.push(position);
                return;
            }
            matches.extend(self.rows[rows].iter().map(|row| (position, *row)));
        });
        // Only now: another key of the same code may have come later, without a row.
        for position in may_have_others {
            is_other[position as usize] = true;
        }
        (matches, is_other)
    }
}

impl LanceStore {
    /// The rows of the keys, and what was read to find them. None if a map of all keys is there, or
    /// is worth to be made.
    ///
    /// # Errors
    /// `store` if the dataset cannot be read.
    pub(in crate::store::lance) async fn learn(
        &self,
        set: &dyn KeySet,
    ) -> Result<Option<(LearnedName, Arc<Kept<Learned>>, ReadStats)>> {
        let StoreKey::Columns(key) = &self.key else { return Ok(None) };
        let (columns, learned) = (self.key_columns(key)?, &self.handle.caches.learned);
        let names = columns.iter().map(|column| column.name().to_owned()).collect();
        let name = LearnedName { set: set.name(), handle: self.handle.id, columns: names };
        if let Some(known) = learned.get(&name) {
            return Ok(Some((name, known, ReadStats::default())));
        }
        let layout = self.handle.layout().await?;
        let is_forced = self.handle.spec.access.keys.is_some();
        let scan = self.scan(self.key_source(&columns, layout, !is_forced).await?, layout);
        // Each job scans where that is forced; else a map is better after some.
        if !is_forced && self.is_worth_a_map(set.name(), &scan, &columns).await? {
            return Ok(None);
        }
        let mut stats = ReadStats::default();
        let found = learned.get_or_make(&name, self.look_for(set, &scan, &mut stats)).await?;
        Ok(Some((name, found, stats)))
    }

    /// Whether a map of all keys is better than another scan for those of this set.
    async fn is_worth_a_map(
        &self,
        set: BlobId,
        scan: &KeyScan,
        columns: &[Arc<Column>],
    ) -> Result<bool> {
        let missing = scan.rows_without_map();
        // A map that stays on disk is worth one scan.
        if missing == 0
            || (are_integers(columns) && self.fits_on_disk(columns, &scan.layout).await?)
        {
            return Ok(true);
        }
        let rows: u64 = scan.layout.physical_rows().map(u64::from).sum();
        // What is missing of it, as after an append, may cost less than a scan.
        let is_almost_there = missing.saturating_mul(u64::from(SCANS_OF_A_MAP)) <= rows;
        let enough = if rows < LARGE_ROWS { 1 } else { SCANS_OF_A_MAP };
        let scans = self.handle.caches.scans.before(&scan.key_name(), set);
        Ok((is_almost_there || scans >= enough) && self.fits_in_memory(&scan.layout))
    }

    /// The rows of a set of keys, found in a scan of all keys, and adds what was read.
    async fn look_for(
        &self,
        set: &dyn KeySet,
        scan: &KeyScan,
        stats: &mut ReadStats,
    ) -> Result<Arc<Kept<Learned>>> {
        let keys = set.keys().await?;
        let room = self.handle.caches.room_for_learned(keys.len());
        let need = Need::of(self.handle.spec.on_duplicate_key).at_least(rows_a_key(keys.len()));
        let coder = self.handle.coder.clone();
        let wanted = tasks::run_blocking(move || {
            let keys = Keys::try_new(&keys)?;
            let (codes, nulls) = (coder.codes(&keys), keys.nulls().cloned());
            let wanted = Arc::new(Wanted::new(&codes, nulls.as_ref(), need));
            Ok::<_, Error>((codes, nulls, wanted))
        });
        let (codes, nulls, wanted) = wanted.await??;
        let is_any = wanted.codes.len() > 0;
        let (found, read) = scan.without_maps(Arc::clone(&wanted)).await?;
        stats.add(&read);
        if is_any {
            self.handle.caches.scans.add(scan.key_name(), set.name());
        }
        let learned = tasks::run_blocking(move || {
            let index = Arc::into_inner(wanted).map(|wanted| wanted.codes);
            let index = index.unwrap_or_else(|| CodeIndex::new(&codes, nulls.as_ref()));
            Learned::new(index, &codes, found, need.rows())
        });
        let learned = learned.await?;
        let bytes = learned.bytes();
        Ok(Kept::new(learned, bytes, room))
    }
}

/// How many rows of each of so many keys are looked for at least.
fn rows_a_key(keys: usize) -> usize {
    let (of_few, of_any) = ROWS_A_KEY;
    (ROWS_OF_FEW_KEYS / keys.max(1)).clamp(of_any, of_few)
}

/// Whether a key of these columns is told by its code.
fn are_integers(columns: &[Arc<Column>]) -> bool {
    let [column] = columns else { return false };
    let none = new_empty_array(column.answered().data_type());
    Keys::try_new(&none).is_ok_and(|keys| keys.is_exact())
}

/// Nulls where keys are known, or are null themselves.
pub(super) fn all_but(is_wanted: &[bool], nulls: Option<&NullBuffer>) -> NullBuffer {
    let wanted = NullBuffer::from(is_wanted);
    NullBuffer::union(Some(&wanted), nulls).unwrap_or(wanted)
}

#[cfg(test)]
mod tests {
    use keyloom_common::store::OnDuplicateKey;

    use super::*;
    use crate::store::{MostRows, lance::keys::coder::spread};

    fn codes(keys: &[u64]) -> Vec<u64> {
        keys.iter().map(|key| spread(*key)).collect()
    }

    /// Keys, and the rows that were found of each, two of them or more if there are.
    fn learned(keys: &[u64], found: &[(u32, Row)]) -> Learned {
        let held = codes(keys);
        Learned::new(CodeIndex::new(&held, None), &held, found.to_vec(), 2)
    }

    /// What is found of some keys: positions and offsets of rows; and positions of those that are
    /// to be looked for.
    fn find(learned: &Learned, keys: &[u64], need: Need) -> (Vec<(u32, Row)>, Vec<usize>) {
        let wanted = CodeIndex::new(&codes(keys), None);
        let (mut matches, is_other) = learned.find(&wanted, keys.len(), need);
        // They come in any order.
        matches.sort_unstable();
        (matches, (0..keys.len()).filter(|key| is_other[*key]).collect())
    }

    fn one() -> Need {
        Need::of(OnDuplicateKey::First)
    }

    fn all() -> Need {
        Need::all(MostRows::ANY)
    }

    fn row(offset: u32) -> Row {
        Row::new(3, offset)
    }

    #[test]
    fn each_key_has_its_rows() {
        // The last key has the code of the first.
        let found = [(2, row(1)), (0, row(2)), (3, row(2)), (2, row(5)), (0, row(9))];
        let learned = learned(&[7, 8, 9, 7], &found);
        let asked = [9, 1, 7, 8, 9];
        let expected =
            vec![(0, row(1)), (0, row(5)), (2, row(2)), (2, row(9)), (4, row(1)), (4, row(5))];
        assert_eq!(find(&learned, &asked, one()), (expected, vec![1]));
        assert_eq!(find(&learned, &[], one()), (vec![], vec![]));
    }

    #[test]
    fn a_key_that_may_have_other_rows_is_looked_for_where_all_are_needed() {
        let found = [(0, row(2)), (0, row(9)), (2, row(1)), (3, row(2)), (3, row(9))];
        // The first and the last key have one code, and more than one row.
        let learned = learned(&[7, 8, 9, 7], &found);
        let asked = [9, 7, 8, 1];
        assert_eq!(find(&learned, &asked, all()), (vec![(0, row(1))], vec![1, 3]));
        let expected = vec![(0, row(1)), (1, row(2)), (1, row(9))];
        assert_eq!(find(&learned, &asked, one()), (expected, vec![3]));
    }

    #[test]
    fn a_set_without_keys_knows_none() {
        for need in [one(), all()] {
            assert_eq!(find(&learned(&[], &[]), &[4], need), (vec![], vec![0]));
        }
    }

    #[test]
    fn of_few_keys_more_rows_are_looked_for() {
        let rows = [0, 1, 1 << 17, 1 << 18, 1 << 19, usize::MAX].map(rows_a_key);
        assert_eq!(rows, [8, 8, 8, 4, 2, 2]);
    }

    #[test]
    fn what_is_known_is_not_asked_again() {
        let nulls = NullBuffer::from(vec![true, false, true]);
        let left = |nulls| all_but(&[true, true, false], nulls).iter().collect::<Vec<_>>();
        assert_eq!(left(None), [true, true, false]);
        assert_eq!(left(Some(&nulls)), [true, false, false]);
    }
}
