//! What the lookups of a task count of their keys, for who adds it up over the tasks of a job.

use std::{
    mem,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use datafusion::physical_plan::ExecutionPlan;
use serde::{Deserialize, Serialize};

use super::{KeySketch, MaxMisses};
use crate::{
    error::{Error, ErrorCode, Result},
    lookup::{KvLookupExec, Wave},
    memory::Reserved,
};

/// The most keys that an error names.
const NAMED: usize = 5;

/// The most characters of a key in an error.
const NAME_CHARS: usize = 64;

/// What a row takes beside its key.
const ROW_BYTES: u64 = 16;

/// A row that missed its key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Missed {
    /// Its number among those that its task looked up, from 0.
    pub row: u64,
    /// The key, as messages print it.
    pub key: String,
}

impl Missed {
    /// About the bytes that it takes.
    pub fn bytes(&self) -> u64 {
        self.key.len() as u64 + ROW_BYTES
    }
}

/// What was counted for a call that has a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LimitTally {
    /// The limit.
    pub max: MaxMisses,
    /// Keys that its rows asked for.
    pub asked: u64,
    /// Those of them that they missed.
    pub missed: u64,
}

/// What one fetch has counted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FetchTally {
    /// The alias of its store.
    pub store: String,
    /// Keys that rows asked for whose misses count.
    pub asked: u64,
    /// Those of them that they missed.
    pub missed: u64,
    /// The distinct keys of all its rows.
    pub keys: KeySketch,
    /// The distinct ones of those that were missed.
    pub missing: KeySketch,
    /// Its calls that have a limit, in their order.
    pub limits: Vec<LimitTally>,
    /// Rows that missed their keys: all that there was room for, if they are kept, or a few.
    pub rows: Vec<Missed>,
    /// Rows that there was no room for, if they are kept.
    pub left_out: u64,
    /// What the rows take.
    #[serde(skip)]
    row_bytes: u64,
}

/// What the fetches of one lookup of a task have counted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LookupTally {
    /// The place of the lookup among the nodes of the task's plan, in pre-order.
    pub node: u32,
    /// Rows that it looked up.
    pub rows: u64,
    /// Its fetches, in the order of the plan.
    pub fetches: Vec<FetchTally>,
}

/// Where the fetches of one lookup count while they run.
#[derive(Debug, Default)]
pub struct Tally {
    rows: AtomicU64,
    fetches: Mutex<Vec<Counting>>,
}

/// Where one fetch counts.
#[derive(Clone, Debug)]
pub struct Counting(Arc<Counted>);

#[derive(Debug)]
struct Counted {
    tally: Mutex<FetchTally>,
    taken: Reserved,
}

impl Counting {
    /// What it has counted, for nobody else meanwhile.
    pub fn lock(&self) -> MutexGuard<'_, FetchTally> {
        self.0.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The memory that is taken for it; who counts keeps it right.
    pub fn taken(&self) -> &Reserved {
        &self.0.taken
    }
}

impl Tally {
    /// One more fetch, for what counts of which so much memory is taken.
    pub fn begin(&self, fetch: FetchTally, taken: Reserved) -> Counting {
        let counting = Counting(Arc::new(Counted { tally: Mutex::new(fetch), taken }));
        self.fetches.lock().unwrap_or_else(PoisonError::into_inner).push(counting.clone());
        counting
    }

    /// So many rows more were looked up.
    pub fn passed(&self, rows: usize) {
        self.rows.fetch_add(rows as u64, Ordering::Relaxed);
    }

    /// How many rows were looked up.
    pub fn rows(&self) -> u64 {
        self.rows.load(Ordering::Relaxed)
    }

    /// Looks at what each fetch of each partition has counted so far.
    pub fn each(&self, mut look: impl FnMut(&FetchTally)) {
        self.fetches().iter().for_each(|fetch| look(&fetch.lock()));
    }

    fn fetches(&self) -> Vec<Counting> {
        self.fetches.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The share that each fetch of a plan has of so many bytes.
pub fn share(plan: &Arc<dyn ExecutionPlan>, bytes: u64) -> u64 {
    bytes / fetches(plan).max(1)
}

fn fetches(plan: &Arc<dyn ExecutionPlan>) -> u64 {
    let of_wave = |wave: &Wave| wave.fetches.len() as u64;
    let lookup = plan.downcast_ref::<KvLookupExec>();
    let own: u64 = lookup.map_or(0, |lookup| lookup.waves().iter().map(of_wave).sum());
    own + plan.children().into_iter().map(fetches).sum::<u64>()
}

/// Takes what the lookups of a plan that has run have counted, in about so many bytes.
pub fn lookups(plan: &Arc<dyn ExecutionPlan>, bytes: u64) -> Vec<LookupTally> {
    let mut nodes = Vec::new();
    collect(plan, &mut 0, &mut nodes);
    let fetches = nodes.iter().map(|(.., fetches)| fetches.len() as u64).sum::<u64>();
    let share = bytes / fetches.max(1);
    let told = nodes.into_iter().map(|(node, rows, fetches)| {
        let fetches = fetches.iter().map(|fetch| fetch.lock().take().within(share)).collect();
        LookupTally { node, rows, fetches }
    });
    told.collect()
}

fn collect(
    plan: &Arc<dyn ExecutionPlan>,
    next: &mut u32,
    nodes: &mut Vec<(u32, u64, Vec<Counting>)>,
) {
    let node = *next;
    *next += 1;
    if let Some(lookup) = plan.downcast_ref::<KvLookupExec>() {
        let tally = lookup.tally();
        nodes.push((node, tally.rows.load(Ordering::Relaxed), tally.fetches()));
    }
    for child in plan.children() {
        collect(child, next, nodes);
    }
}

impl FetchTally {
    /// Nothing counted yet, for calls with these limits; what is kept takes about so many bytes.
    pub fn new(store: &str, limits: impl IntoIterator<Item = MaxMisses>, bytes: u64) -> Self {
        let limits = limits.into_iter().map(|max| LimitTally { max, asked: 0, missed: 0 });
        Self {
            store: store.to_owned(),
            asked: 0,
            missed: 0,
            keys: KeySketch::new(sketch_bytes(bytes)),
            missing: KeySketch::new(sketch_bytes(bytes)),
            limits: limits.collect(),
            rows: Vec::new(),
            left_out: 0,
            row_bytes: 0,
        }
    }

    /// About the bytes that it takes.
    pub fn bytes(&self) -> u64 {
        self.keys.bytes() + self.missing.bytes() + self.row_bytes
    }

    /// What it has counted, of which nothing is left here.
    fn take(&mut self) -> Self {
        let empty = Self::new(&self.store, [], 0);
        mem::replace(self, empty)
    }

    /// Adds what another fetch has counted of the same store, but for calls with limits and for rows.
    /// It may have been told by a peer, and be anything: sums stay at the largest number.
    pub fn merge(&mut self, other: &Self) {
        self.asked = self.asked.saturating_add(other.asked);
        self.missed = self.missed.saturating_add(other.missed);
        self.keys.merge(&other.keys);
        self.missing.merge(&other.missing);
    }

    /// Counts the keys that rows asked for and those of them that they missed, and both for the
    /// rows of each call that has a limit. A plan from a peer may say that a row stands for any
    /// number of them: sums stay at the largest number.
    pub fn count(&mut self, (asked, missed): (u64, u64), limits: &[(u64, u64)]) {
        self.asked = self.asked.saturating_add(asked);
        self.missed = self.missed.saturating_add(missed);
        for (limit, (asked, missed)) in self.limits.iter_mut().zip(limits) {
            limit.asked = limit.asked.saturating_add(*asked);
            limit.missed = limit.missed.saturating_add(*missed);
        }
    }

    /// Keeps a row, if so many bytes have room for it.
    pub fn keep(&mut self, row: Missed, bytes: u64) {
        let row_bytes = self.row_bytes + row.bytes();
        if row_bytes > rows_bytes(bytes) {
            self.left_out += 1;
        } else {
            self.row_bytes = row_bytes;
            self.rows.push(row);
        }
    }

    /// Keeps so many rows of all that came, of different keys: the first.
    pub fn name(&mut self, rows: Vec<Missed>, most: usize) {
        self.rows.extend(rows);
        self.rows.sort_by_key(|missed| missed.row);
        let mut named: Vec<Missed> = Vec::with_capacity(most);
        for missed in self.rows.drain(..) {
            if named.len() < most && named.iter().all(|known| known.key != missed.key) {
                named.push(missed);
            }
        }
        self.rows = named;
    }

    /// Fails as soon as there are certainly too many misses, for a call or for the job.
    ///
    /// # Errors
    /// `not_found`, as [`too_many`].
    pub fn check(&self, of_job: Option<MaxMisses>) -> Result<()> {
        let names = || self.rows.iter().map(|missed| missed.key.as_str());
        for LimitTally { max, asked, missed } in &self.limits {
            if max.is_exceeded_already(*missed) {
                return Err(too_many(&self.store, (*missed, *asked), *max, names()));
            }
        }
        match of_job.filter(|max| max.is_exceeded_already(self.missed)) {
            Some(max) => Err(too_many(&self.store, (self.missed, self.asked), max, names())),
            None => Ok(()),
        }
    }

    /// The same in about so many bytes.
    fn within(mut self, bytes: u64) -> Self {
        self.keys.shorten(sketch_bytes(bytes));
        self.missing.shorten(sketch_bytes(bytes));
        self.rows.sort_by_key(|missed| missed.row);
        let mut left = rows_bytes(bytes);
        let fits = |missed: &&Missed| {
            let fits = missed.bytes() <= left;
            left = left.saturating_sub(missed.bytes());
            fits
        };
        let kept = self.rows.iter().take_while(fits).count();
        self.left_out += (self.rows.len() - kept) as u64;
        self.rows.truncate(kept);
        self
    }
}

/// The share of a sketch: there are two.
fn sketch_bytes(bytes: u64) -> u64 {
    bytes / 4
}

/// The share of rows.
fn rows_bytes(bytes: u64) -> u64 {
    bytes / 2
}

/// What is wrong with so many misses of so many rows, a few of whose keys are these.
pub fn too_many<'a>(
    store: &str,
    (missed, asked): (u64, u64),
    max: MaxMisses,
    keys: impl Iterator<Item = &'a str>,
) -> Error {
    let mut named: Vec<String> = Vec::new();
    for key in keys.map(shown) {
        if named.len() > NAMED {
            break;
        }
        if !named.contains(&key) {
            named.push(key);
        }
    }
    let more = if named.len() > NAMED { ", …" } else { "" };
    named.truncate(NAMED);
    let names = match named.as_slice() {
        [] => String::new(),
        named => format!(": {}{more}", named.join(", ")),
    };
    let message = format!(
        "Too many keys not found in KV store '{store}', {missed} of {asked} rows, and max_misses \
         is {max}{names}"
    );
    Error::not_found(message).with_code(ErrorCode::TooManyMisses)
}

/// A key as an error shows it.
fn shown(key: &str) -> String {
    match key.char_indices().nth(NAME_CHARS) {
        Some((end, _)) => format!("{}…", &key[..end]),
        None => key.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn missed(row: u64, key: &str) -> Missed {
        Missed { row, key: key.to_owned() }
    }

    fn rows(tally: &FetchTally) -> Vec<(u64, &str)> {
        tally.rows.iter().map(|missed| (missed.row, missed.key.as_str())).collect()
    }

    #[test]
    fn errors_name_a_few_different_keys_and_cut_long_ones() {
        let check = |keys: &[&str], expected: &str| {
            let error = too_many("s", (7, 70), MaxMisses::Share(50_000), keys.iter().copied());
            let message = format!(
                "Too many keys not found in KV store 's', 7 of 70 rows, and max_misses is \
                 5%{expected}"
            );
            assert_eq!(
                (error.message(), error.code()),
                (&*message, Some(ErrorCode::TooManyMisses))
            );
        };
        check(&[], "");
        check(&["a", "b", "a"], ": a, b");
        check(&["1", "2", "3", "4", "5", "5", "6", "7"], ": 1, 2, 3, 4, 5, …");
        check(&["é".repeat(65).as_str()], &format!(": {}…", "é".repeat(64)));
    }

    #[test]
    fn the_first_rows_are_named_whichever_came_first() {
        let mut tally = FetchTally::new("s", [], 1 << 20);
        tally.name(vec![missed(8, "d"), missed(9, "e")], 3);
        tally.name(vec![missed(1, "a"), missed(2, "a"), missed(3, "b")], 3);
        assert_eq!(rows(&tally), [(1, "a"), (3, "b"), (8, "d")]);
    }

    #[test]
    fn rows_that_are_kept_have_a_bound_and_others_are_counted() {
        let mut tally = FetchTally::new("s", [], 1 << 20);
        for row in (0..10).rev() {
            tally.keep(missed(row, "1234"), 160);
        }
        assert_eq!((tally.rows.len(), tally.left_out, tally.bytes()), (4, 6, 80));
        let told = tally.take().within(80);
        assert_eq!((tally.rows.len(), tally.bytes()), (0, 0));
        assert_eq!((rows(&told), told.left_out), (vec![(6, "1234"), (7, "1234")], 8));
    }

    #[test]
    fn sums_of_what_rows_stand_for_stay_at_the_largest_number() {
        let mut tally = FetchTally::new("s", [MaxMisses::Count(2)], 1 << 10);
        tally.count((5, 2), &[(4, 1)]);
        tally.count((6, 0), &[(1, 1)]);
        let counted = |tally: &FetchTally| {
            let LimitTally { asked, missed, .. } = tally.limits[0];
            [tally.asked, tally.missed, asked, missed]
        };
        assert_eq!(counted(&tally), [11, 2, 5, 2]);
        tally.check(None).unwrap();
        tally.count((u64::MAX, u64::MAX), &[(u64::MAX, u64::MAX)]);
        assert_eq!(counted(&tally), [u64::MAX; 4]);
        assert!(tally.check(None).is_err(), "they are too many, and not a few again");
    }

    #[test]
    fn a_count_is_checked_at_once_and_a_share_is_not() {
        let mut tally = FetchTally::new("s", [MaxMisses::Share(1), MaxMisses::Count(2)], 1 << 10);
        (tally.asked, tally.missed) = (10, 10);
        tally.limits[0].missed = 10;
        tally.limits[1].missed = 2;
        tally.check(None).unwrap();
        tally.check(Some(MaxMisses::Count(10))).unwrap();
        let error = tally.check(Some(MaxMisses::Count(9))).unwrap_err();
        let of_job = "Too many keys not found in KV store 's', 10 of 10 rows, and max_misses is 9";
        assert_eq!(error, Error::not_found(of_job));
        tally.limits[1].missed = 3;
        assert!(tally.check(None).unwrap_err().message().ends_with("max_misses is 2"));
    }
}
