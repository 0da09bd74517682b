//! Which keys the rows of a fetch asked for and which they missed, as it is told over all tasks.

use std::hash::BuildHasher;

use arrow::array::ArrayRef;
use foldhash::quality::FixedState;
use keyloom_common::{
    Result,
    lookup::{Fetch, KvLookupExec},
    memory::MemoryBudget,
    misses::{Counting, FetchTally, MissPolicy, Missed},
    store::ResolvedStore,
};

use super::LookupSettings;
use crate::{memory::resize, store::Keys};

/// The same in all workers of a build: they count the same keys.
const HASHING: FixedState = FixedState::with_seed(0);

/// Where a fetch counts its misses.
#[derive(Clone, Debug)]
pub(crate) struct MissCounter {
    counting: Counting,
    policy: MissPolicy,
    /// How many of the rows are told, if they are not all.
    named: usize,
    /// About the most bytes that are told.
    bytes: u64,
    /// Tells keys of different columns apart.
    seed: u64,
}

/// What the rows of a batch asked for and missed.
#[derive(Debug, Default)]
pub(super) struct BatchMisses {
    pub(super) asked: u64,
    pub(super) missed: u64,
    /// The keys that were missed, by their codes.
    pub(super) codes: Vec<u64>,
    /// For each call that has a limit, what its rows asked for and missed.
    pub(super) limits: Vec<(u64, u64)>,
    /// The rows, as many as are wanted.
    pub(super) rows: Vec<Missed>,
}

impl MissCounter {
    /// A counter of a fetch of a node, which has its share of what the task tells. What it takes of
    /// the memory is little, so it does not wait for it.
    pub(super) fn begin(
        node: &KvLookupExec,
        fetch: &Fetch,
        policy: MissPolicy,
        settings: &LookupSettings,
        memory: &MemoryBudget,
    ) -> Self {
        let bytes = settings.key_report_bytes;
        let limits = fetch.calls.iter().filter_map(|call| call.answer.max_misses());
        let tally = FetchTally::new(&fetch.store.alias, limits, bytes);
        Self {
            counting: node.tally().begin(tally, memory.reserve()),
            policy,
            named: settings.missing_keys_named,
            bytes,
            seed: seed(&fetch.store),
        }
    }

    /// A code for each key, the same in all tasks.
    pub(super) fn codes(&self, keys: &ArrayRef) -> Result<Vec<u64>> {
        let mut codes = Keys::try_new(keys)?.codes(&HASHING);
        codes.iter_mut().for_each(|code| *code = spread(*code ^ self.seed));
        Ok(codes)
    }

    /// A code for a key that the store's type does not hold.
    pub(super) fn code_of(&self, key: &str) -> u64 {
        spread(HASHING.hash_one(key) ^ self.seed)
    }

    /// Whether all rows are told.
    pub(super) fn keeps_rows(&self) -> bool {
        self.policy.keep
    }

    /// Whether one more row of a batch is to be told, which has so many already.
    pub(super) fn wants_row(&self, told: usize) -> bool {
        self.policy.keep || told < self.named
    }

    /// Counts distinct keys.
    pub(super) fn count_keys(&self, codes: &[u64]) {
        let mut tally = self.counting.lock();
        codes.iter().for_each(|code| tally.keys.add(*code));
        resize(self.counting.taken(), tally.bytes());
    }

    /// Counts the misses of a batch.
    ///
    /// # Errors
    /// `not_found` as soon as there are certainly too many.
    pub(super) fn add(&self, batch: BatchMisses) -> Result<()> {
        let mut tally = self.counting.lock();
        tally.count((batch.asked, batch.missed), &batch.limits);
        for code in batch.codes {
            // Those that the store's type does not hold are not among its distinct keys.
            tally.keys.add(code);
            tally.missing.add(code);
        }
        if self.policy.keep {
            batch.rows.into_iter().for_each(|row| tally.keep(row, self.bytes));
        } else if !batch.rows.is_empty() {
            tally.name(batch.rows, self.named);
        }
        resize(self.counting.taken(), tally.bytes());
        tally.check(self.policy.max)
    }
}

/// A store may be looked up by several keys under one alias.
fn seed(store: &ResolvedStore) -> u64 {
    HASHING.hash_one(store.key().to_string())
}

/// Spreads codes, of which integers are their own; no two come to be one.
fn spread(code: u64) -> u64 {
    let mixed = (code ^ (code >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}
