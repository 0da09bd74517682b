//! The rows of all keys of a job, found in one scan of the store's keys: memory by the job, not by
//! the store.

use std::sync::{Arc, atomic::Ordering};

use arrow::{array::new_empty_array, buffer::NullBuffer};
use keyloom_common::{Error, Result, store::StoreKey};

use super::{
    code_index::CodeIndex,
    scan::KeyScan,
    sieve::{Matches, Need, Wanted},
};
use crate::store::{
    KeySet, Keys, ReadStats,
    kept::Kept,
    lance::{LanceStore, column::Column, layout::Layout, name::LearnedName, row::Row, tasks},
};

/// Scans of all keys of a snapshot that cost as much as a map of them, which serves later jobs,
/// too.
const SCANS_OF_A_MAP: u32 = 3;

/// Keys, by their codes, and as many as are needed of the rows that hold them or another key of the
/// same code.
#[derive(Debug)]
pub(in crate::store::lance) struct Learned {
    keys: CodeIndex,
    /// Where the rows of each key start, and behind them where the last end.
    starts: Vec<u32>,
    rows: Vec<Row>,
}

impl Learned {
    /// Of keys with these codes, and what was found of them. Of several keys of one code, the first
    /// one has the rows.
    fn new(keys: CodeIndex, codes: &[u64], mut found: Matches) -> Self {
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
        Self { keys, starts, rows }
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

    /// The rows of the wanted codes, and which positions of them, of so many, are no keys of the
    /// set.
    pub(super) fn find(&self, wanted: &CodeIndex, count: usize) -> (Matches, Vec<bool>) {
        let (mut matches, mut is_other) = (Matches::new(), vec![true; count]);
        wanted.for_each_match(&self.keys, |position, key| {
            is_other[position as usize] = false;
            let rows = self.starts[key as usize] as usize..self.starts[key as usize + 1] as usize;
            matches.extend(self.rows[rows].iter().map(|row| (position, *row)));
        });
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
        // Each job scans where that is forced; else a map is better after some.
        let scan = self.scan(self.key_source(&columns, layout, !is_forced).await?, layout);
        if !is_forced && (scan.has_maps() || self.is_worth_a_map(layout, &columns).await?) {
            return Ok(None);
        }
        let mut stats = ReadStats::default();
        let found = learned.get_or_make(&name, self.look_for(set, &scan, &mut stats)).await?;
        Ok(Some((name, found, stats)))
    }

    /// Whether a map of all keys is better than another scan for those of a job.
    async fn is_worth_a_map(&self, layout: &Arc<Layout>, columns: &[Arc<Column>]) -> Result<bool> {
        // A map that stays on disk is worth one scan.
        if are_integers(columns) && self.fits_on_disk(columns, layout).await? {
            return Ok(true);
        }
        let scans = self.handle.key_scans.load(Ordering::Relaxed);
        Ok(scans >= SCANS_OF_A_MAP && self.fits_in_memory(layout))
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
        let need = Need::of(self.handle.spec.on_duplicate_key);
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
        self.handle.key_scans.fetch_add(u32::from(is_any), Ordering::Relaxed);
        let learned = tasks::run_blocking(move || {
            let index = Arc::into_inner(wanted).map(|wanted| wanted.codes);
            let index = index.unwrap_or_else(|| CodeIndex::new(&codes, nulls.as_ref()));
            Learned::new(index, &codes, found)
        });
        let learned = learned.await?;
        let bytes = learned.bytes();
        Ok(Kept::new(learned, bytes, room))
    }
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
    use super::*;
    use crate::store::lance::keys::coder::spread;

    fn codes(keys: &[u64]) -> Vec<u64> {
        keys.iter().map(|key| spread(*key)).collect()
    }

    /// What is found of some keys: positions and offsets of rows; and positions of unknown keys.
    fn find(learned: &Learned, keys: &[u64]) -> (Vec<(u32, Row)>, Vec<usize>) {
        let wanted = CodeIndex::new(&codes(keys), None);
        let (mut matches, is_other) = learned.find(&wanted, keys.len());
        // They come in any order.
        matches.sort_unstable();
        (matches, (0..keys.len()).filter(|key| is_other[*key]).collect())
    }

    #[test]
    fn each_key_has_its_rows() {
        let row = |offset| Row::new(3, offset);
        // The last key has the code of the first.
        let held = codes(&[7, 8, 9, 7]);
        let found = vec![(2, row(1)), (0, row(2)), (3, row(2)), (2, row(5)), (0, row(9))];
        let learned = Learned::new(CodeIndex::new(&held, None), &held, found);
        let asked = [9, 1, 7, 8, 9];
        let expected =
            vec![(0, row(1)), (0, row(5)), (2, row(2)), (2, row(9)), (4, row(1)), (4, row(5))];
        assert_eq!(find(&learned, &asked), (expected, vec![1]));
        assert_eq!(find(&learned, &[]), (vec![], vec![]));
    }

    #[test]
    fn a_set_without_keys_knows_none() {
        let learned = Learned::new(CodeIndex::new(&[], None), &[], Matches::new());
        assert_eq!(find(&learned, &[4]), (vec![], vec![0]));
    }

    #[test]
    fn what_is_known_is_not_asked_again() {
        let nulls = NullBuffer::from(vec![true, false, true]);
        let left = |nulls| all_but(&[true, true, false], nulls).iter().collect::<Vec<_>>();
        assert_eq!(left(None), [true, true, false]);
        assert_eq!(left(Some(&nulls)), [true, false, false]);
    }
}
