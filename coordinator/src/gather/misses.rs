//! The misses of a job: what the attempts that count have told of them, and when they are too many.

use std::{
    collections::BTreeMap,
    mem,
    sync::{Mutex, MutexGuard, PoisonError},
};

use arrow::array::RecordBatch;
use keyloom_common::{
    Result,
    misses::{
        FetchTally, KeySketch, LimitTally, LookupTally, MaxMisses, MissPolicy, Missed, missed_rows,
        too_many,
    },
    report::StoreStats,
};

use crate::settings::Settings;

/// How many different keys are remembered for an error.
const NAMED: usize = 6;

/// About the bytes that a row takes beside what it told.
const ROW_BYTES: u64 = 48;

/// A lookup: its stage, and its place among the nodes of the stage's fragment.
type LookupPlace = (u32, usize);

/// What becomes of a job's missing keys.
#[derive(Debug)]
pub(crate) struct JobMisses {
    policy: MissPolicy,
    /// The most bytes of hashes of a store's distinct keys.
    key_bytes: u64,
    /// The most bytes of rows that are kept.
    row_bytes: u64,
    counted: Mutex<Counted>,
}

#[derive(Debug, Default)]
struct Counted {
    stores: BTreeMap<String, OfStore>,
    /// For each fetch its limits.
    limits: BTreeMap<(LookupPlace, usize), OfFetch>,
    /// For each lookup and task how many rows it looked up.
    rows: BTreeMap<LookupPlace, BTreeMap<u32, u64>>,
    kept: Vec<Kept>,
    kept_bytes: u64,
    left_out: u64,
}

#[derive(Debug)]
struct OfStore {
    asked: u64,
    missed: u64,
    keys: KeySketch,
    missing: KeySketch,
    names: Vec<String>,
}

#[derive(Debug)]
struct OfFetch {
    store: String,
    limits: Vec<LimitTally>,
    names: Vec<String>,
}

/// A row that missed its key.
#[derive(Debug)]
struct Kept {
    lookup: LookupPlace,
    /// Whether it has a number in its input.
    is_numbered: bool,
    task: u32,
    fetch: usize,
    missed: Missed,
}

/// A task that has told of its lookups.
#[derive(Clone, Copy, Debug)]
pub(super) struct TellingTask<'a> {
    pub(super) stage: u32,
    pub(super) index: u32,
    /// The places of its nodes among those of the fragment.
    pub(super) places: &'a [usize],
    /// From which node on rows have numbers, if they do.
    pub(super) numbered_from: Option<usize>,
}

impl JobMisses {
    pub(super) fn new(policy: MissPolicy, settings: &Settings) -> Self {
        let (key_bytes, row_bytes) = (settings.distinct_key_bytes, settings.missed_row_bytes);
        Self { policy, key_bytes, row_bytes, counted: Mutex::default() }
    }

    pub(crate) fn policy(&self) -> MissPolicy {
        self.policy
    }

    /// Adds what an attempt that counts has told. It may be anything: sums stay at the largest
    /// number.
    ///
    /// # Errors
    /// `not_found` as soon as there are certainly too many.
    pub(super) fn add(&self, task: TellingTask<'_>, lookups: &[LookupTally]) -> Result<()> {
        let mut counted = self.lock();
        for told in lookups {
            let Some(&node) = task.places.get(told.node as usize) else { continue };
            let lookup = (task.stage, node);
            if self.policy.keep {
                let rows = counted.rows.entry(lookup).or_default();
                rows.insert(task.index, told.rows);
            }
            for (fetch, tally) in told.fetches.iter().enumerate() {
                counted.add_to_store(tally, self.key_bytes);
                counted.add_limits((lookup, fetch), tally);
                if self.policy.keep {
                    let is_numbered = task.numbered_from.is_some_and(|from| node >= from);
                    let kept = |missed: &Missed| {
                        let (task, missed) = (task.index, missed.clone());
                        Kept { lookup, is_numbered, task, fetch, missed }
                    };
                    counted.keep(tally.rows.iter().map(kept), self.row_bytes);
                    counted.left_out = counted.left_out.saturating_add(tally.left_out);
                }
            }
        }
        counted.check(self.policy, |max, _, missed| max.is_exceeded_already(missed))
    }

    /// Fails if there were too many, all in all.
    ///
    /// # Errors
    /// `not_found`.
    pub(crate) fn check_all(&self) -> Result<()> {
        self.lock().check(self.policy, |max, asked, missed| max.is_exceeded(missed, asked))
    }

    /// Puts what was counted over the whole job to what was counted for each store, and says how
    /// many rows are not told one by one though they were to be.
    pub(crate) fn tell(&self, stores: &mut BTreeMap<String, StoreStats>) -> u64 {
        let counted = self.lock();
        for (alias, store) in &counted.stores {
            let (keys, missing) = (store.keys.distinct(), store.missing.distinct());
            stores.entry(alias.clone()).or_default().set_job(keys, store.missed, missing);
        }
        counted.left_out
    }

    /// The rows that missed their keys, in the order of their stages and tasks, in batches of so
    /// many; they are not kept any more.
    pub(crate) fn take_rows(&self, batch_rows: usize) -> Result<Vec<RecordBatch>> {
        let mut counted = self.lock();
        let mut kept = mem::take(&mut counted.kept);
        kept.sort_by_key(|kept| (kept.lookup, kept.task, kept.missed.row, kept.fetch));
        let starts = counted.starts();
        let batches = kept.chunks(batch_rows.max(1)).map(|rows| {
            missed_rows(rows.iter().map(|row| {
                let fetch = counted.limits.get(&(row.lookup, row.fetch));
                let store = fetch.map(|fetch| fetch.store.as_str()).unwrap_or_default();
                let start = starts.get(&(row.lookup, row.task)).filter(|_| row.is_numbered);
                let number = start
                    .and_then(|start| i64::try_from(start.saturating_add(row.missed.row)).ok());
                (store, row.missed.key.as_str(), number)
            }))
        });
        batches.collect()
    }

    fn lock(&self) -> MutexGuard<'_, Counted> {
        self.counted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Counted {
    fn add_to_store(&mut self, tally: &FetchTally, key_bytes: u64) {
        let new = || OfStore {
            asked: 0,
            missed: 0,
            keys: KeySketch::new(key_bytes),
            missing: KeySketch::new(key_bytes),
            names: Vec::new(),
        };
        let store = self.stores.entry(tally.store.clone()).or_insert_with(new);
        store.asked = store.asked.saturating_add(tally.asked);
        store.missed = store.missed.saturating_add(tally.missed);
        store.keys.merge(&tally.keys);
        store.missing.merge(&tally.missing);
        add_names(&mut store.names, &tally.rows);
    }

    fn add_limits(&mut self, fetch: (LookupPlace, usize), tally: &FetchTally) {
        let new = || OfFetch {
            store: tally.store.clone(),
            limits: tally.limits.iter().map(none_of).collect(),
            names: Vec::new(),
        };
        let known = self.limits.entry(fetch).or_insert_with(new);
        for (limit, told) in known.limits.iter_mut().zip(&tally.limits) {
            limit.asked = limit.asked.saturating_add(told.asked);
            limit.missed = limit.missed.saturating_add(told.missed);
        }
        add_names(&mut known.names, &tally.rows);
    }

    fn keep(&mut self, rows: impl Iterator<Item = Kept>, most: u64) {
        for row in rows {
            let bytes = self.kept_bytes + row.missed.bytes() + ROW_BYTES;
            if bytes > most {
                self.left_out = self.left_out.saturating_add(1);
            } else {
                self.kept_bytes = bytes;
                self.kept.push(row);
            }
        }
    }

    /// Fails if any limit is exceeded, by so many that ask and miss.
    fn check(
        &self,
        policy: MissPolicy,
        is_exceeded: impl Fn(MaxMisses, u64, u64) -> bool,
    ) -> Result<()> {
        for OfFetch { store, limits, names } in self.limits.values() {
            for LimitTally { max, asked, missed } in limits {
                if is_exceeded(*max, *asked, *missed) {
                    return Err(too_many(store, (*missed, *asked), *max, strs(names)));
                }
            }
        }
        let Some(max) = policy.max else { return Ok(()) };
        for (alias, OfStore { asked, missed, names, .. }) in &self.stores {
            if is_exceeded(max, *asked, *missed) {
                return Err(too_many(alias, (*missed, *asked), max, strs(names)));
            }
        }
        Ok(())
    }

    /// How many rows came before those of each task, where all tasks before it have told.
    fn starts(&self) -> BTreeMap<(LookupPlace, u32), u64> {
        let mut starts = BTreeMap::new();
        for (lookup, tasks) in &self.rows {
            let mut start = 0_u64;
            for ((task, rows), due) in tasks.iter().zip(0..) {
                if *task != due {
                    break;
                }
                starts.insert((*lookup, *task), start);
                start = start.saturating_add(*rows);
            }
        }
        starts
    }
}

fn none_of(limit: &LimitTally) -> LimitTally {
    LimitTally { asked: 0, missed: 0, ..*limit }
}

fn add_names(names: &mut Vec<String>, rows: &[Missed]) {
    for missed in rows {
        if names.len() >= NAMED {
            return;
        }
        if !names.contains(&missed.key) {
            names.push(missed.key.clone());
        }
    }
}

fn strs(names: &[String]) -> impl Iterator<Item = &str> {
    names.iter().map(String::as_str)
}

#[cfg(test)]
mod tests {
    use arrow::{array::AsArray, datatypes::Int64Type};
    use keyloom_common::ErrorKind;

    use super::*;

    const KEEP: MissPolicy = MissPolicy { max: None, keep: true };

    /// What a task tells of one lookup: it has looked up so many rows of the store `s`, which all
    /// asked for keys of their own, and missed those of these numbers.
    fn told(rows: u64, missed: &[u64], limit: Option<MaxMisses>) -> Vec<LookupTally> {
        let mut fetch = FetchTally::new("s", limit, 1 << 20);
        (fetch.asked, fetch.missed) = (rows, missed.len() as u64);
        for limit in &mut fetch.limits {
            (limit.asked, limit.missed) = (fetch.asked, fetch.missed);
        }
        for row in missed {
            fetch.missing.add(*row);
            fetch.keep(Missed { row: *row, key: format!("k{row}") }, 1 << 20);
        }
        vec![LookupTally { node: 1, rows, fetches: vec![fetch] }]
    }

    fn task(index: u32) -> TellingTask<'static> {
        TellingTask { stage: 0, index, places: &[0, 1, 2], numbered_from: Some(1) }
    }

    fn numbers(batches: &[RecordBatch]) -> Vec<Option<i64>> {
        let columns = batches.iter().map(|batch| batch.column(2).as_primitive::<Int64Type>());
        columns.flat_map(|column| column.iter()).collect()
    }

    #[test]
    fn rows_are_numbered_over_tasks_whichever_tells_first() {
        let misses = JobMisses::new(KEEP, &Settings::default());
        for (index, missed) in [(2, [0, 3]), (0, [1, 2]), (1, [0, 9])] {
            misses.add(task(index), &told(10, &missed, None)).unwrap();
        }
        let expected = [1, 2, 10, 19, 20, 23].map(Some);
        assert_eq!(numbers(&misses.take_rows(4).unwrap()), expected);
        assert_eq!(misses.take_rows(4).unwrap().len(), 0);
    }

    #[test]
    fn rows_have_no_numbers_after_tasks_that_have_not_told() {
        let misses = JobMisses::new(KEEP, &Settings::default());
        for index in [0, 2] {
            misses.add(task(index), &told(10, &[7], None)).unwrap();
        }
        assert_eq!(numbers(&misses.take_rows(4).unwrap()), [Some(7), None]);
        let other = TellingTask { numbered_from: Some(2), ..task(0) };
        misses.add(other, &told(10, &[7], None)).unwrap();
        assert_eq!(numbers(&misses.take_rows(4).unwrap()), [None]);
    }

    #[test]
    fn rows_beyond_the_bound_are_counted() {
        let settings = Settings { missed_row_bytes: 2 * (ROW_BYTES + 18), ..Settings::default() };
        let misses = JobMisses::new(KEEP, &settings);
        misses.add(task(0), &told(10, &[1, 2, 3], None)).unwrap();
        misses.add(task(1), &told(10, &[1], None)).unwrap();
        let mut stores = BTreeMap::new();
        assert_eq!(misses.tell(&mut stores), 2);
        assert_eq!(numbers(&misses.take_rows(4).unwrap()), [Some(1), Some(2)]);
        assert_eq!((stores["s"].missed_rows, stores["s"].missed_keys), (4, 3));
    }

    #[test]
    fn figures_beyond_all_numbers_are_no_overflow() {
        let misses = JobMisses::new(KEEP, &Settings::default());
        for index in 0..2 {
            let mut told = told(u64::MAX, &[u64::MAX], Some(MaxMisses::Share(1)));
            let fetch = &mut told[0].fetches[0];
            (fetch.missed, fetch.left_out) = (u64::MAX, u64::MAX);
            fetch.limits[0].missed = u64::MAX;
            misses.add(task(index), &told).unwrap();
        }
        assert_eq!(misses.check_all().unwrap_err().kind(), ErrorKind::NotFound);
        let mut stores = BTreeMap::new();
        assert_eq!(misses.tell(&mut stores), u64::MAX);
        assert_eq!(stores["s"].missed_rows, u64::MAX);
        assert_eq!(numbers(&misses.take_rows(4).unwrap()), [None, None]);
    }

    #[test]
    fn limits_are_over_all_tasks() {
        let two = Some(MaxMisses::Count(2));
        for (of_job, of_call) in [(two, None), (None, two)] {
            let policy = MissPolicy { max: of_job, keep: false };
            let misses = JobMisses::new(policy, &Settings::default());
            misses.add(task(0), &told(10, &[1, 2], of_call)).unwrap();
            misses.check_all().unwrap();
            let error = misses.add(task(1), &told(10, &[5], of_call)).unwrap_err();
            let message = "Too many keys not found in KV store 's', 3 of 20 rows, and max_misses \
                           is 2: k1, k2, k5";
            assert_eq!((error.kind(), error.message()), (ErrorKind::NotFound, message));
        }
        let misses = JobMisses::new(MissPolicy::default(), &Settings::default());
        let share = Some(MaxMisses::Share(100_000));
        misses.add(task(0), &told(10, &[1, 2], share)).unwrap();
        assert!(misses.check_all().is_err());
        misses.add(task(1), &told(10, &[], share)).unwrap();
        misses.check_all().unwrap();
    }
}
