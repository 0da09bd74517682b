//! The ways to the rows of stores, of which each kind that has several knows its own.
//!
//! The rules know that a fetch has a way, what is expected of the fetch, and where its plan leaves
//! the choice. Which ways there are, what they cost and what would help is a kind's business: it is
//! found by the kind's word, and what it chooses travels in bytes that nobody else reads
//! ([`Access`]).

mod lance;

use keyloom_common::{
    lookup::Fetch,
    report::{Advice, StoreRun},
    store::{Access, LANCE, ResolvedStore},
};

/// The kinds with several ways. The rows of others are reached as their workers see fit.
const KINDS: [(&str, &dyn Ways); 1] = [(LANCE, &lance::Lance)];

/// The most keys that workers look up together: those of a task, of the default size.
const KEYS_AT_ONCE: u64 = 32_768;

/// The bytes of answers of such a task.
const ANSWER_BYTES_AT_ONCE: u64 = 32 << 20;

/// The most keys of one request, whose answers take so many bytes each.
pub(crate) fn keys_at_once(answer_bytes: u64) -> u64 {
    (ANSWER_BYTES_AT_ONCE / answer_bytes.max(1)).clamp(1, KEYS_AT_ONCE)
}

/// What is asked, and what is known of it when its way is chosen.
#[derive(Clone, Debug)]
pub(crate) struct Expected<'a> {
    /// Which store is asked.
    pub(crate) store: &'a ResolvedStore,
    /// The columns that are answered, by their places; none if only existence is asked for.
    pub(crate) columns: Vec<usize>,
    /// How many keys are expected, if that is known.
    pub(crate) keys: Option<u64>,
    /// The most keys of one request.
    pub(crate) keys_at_once: u64,
    /// Whether the job can collect all keys before it looks them up.
    pub(crate) has_key_set: bool,
    /// Whether all rows of a key are wanted, as by joins.
    pub(crate) wants_all: bool,
}

/// A way, and the figures that decided for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Choice {
    /// The way.
    pub(crate) access: Access,
    /// Why, in words.
    pub(crate) reason: String,
}

/// What it costs to read what a join needs of a store, in nanoseconds of one worker that makes all
/// requests one after the other.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Reading {
    /// To make what finds the keys of this job and of later ones, too, if it is not there.
    pub(crate) made: f64,
    /// To find the keys' rows beside that and read their values, on the way that is chosen.
    pub(crate) looked_up: f64,
    /// To read the columns and the key of all rows from end to end.
    pub(crate) scanned: f64,
}

/// The ways of a kind of stores. Every way gives the same rows.
pub(crate) trait Ways {
    /// The way to take; none where there is but one.
    fn choose(&self, expected: &Expected<'_>) -> Option<Choice>;

    /// What each way is estimated to cost, and what would help; none where there is but one.
    fn advise(&self, expected: &Expected<'_>) -> Option<Advice>;

    /// What reading for a join costs; none where that is not known.
    fn reading(&self, expected: &Expected<'_>) -> Option<Reading>;

    /// Whether workers make use of all keys of the job, if these are collected before, on the way
    /// that was chosen.
    fn wants_key_set(&self, access: &Access) -> bool;

    /// Adds to the report of a store the way that a fetch took, and the figures that bear on it.
    fn report(&self, fetch: &Fetch, run: &mut StoreRun);
}

/// The ways of a store's kind, if it has several.
pub(crate) fn of(store: &ResolvedStore) -> Option<&'static dyn Ways> {
    KINDS.into_iter().find(|(kind, _)| *kind == store.spec.kind).map(|(_, ways)| ways)
}

/// Adds to the report of a store the way that a fetch took, and the figures that bear on it, if its
/// kind has several ways.
pub fn report_way(fetch: &Fetch, run: &mut StoreRun) {
    if let Some(ways) = of(&fetch.store) {
        ways.report(fetch, run);
    }
}
