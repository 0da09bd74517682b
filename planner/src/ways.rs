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

/// A fetch, and what is known of it when its way is chosen.
#[derive(Clone, Debug)]
pub(crate) struct Expected<'a> {
    /// What is asked, of which store.
    pub(crate) fetch: &'a Fetch,
    /// How many keys are expected, if that is known.
    pub(crate) keys: Option<u64>,
    /// The most keys of one request.
    pub(crate) keys_at_once: u64,
    /// Whether the job can collect all keys before it looks them up.
    pub(crate) has_key_set: bool,
}

/// A way, and the figures that decided for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Choice {
    /// The way.
    pub(crate) access: Access,
    /// Why, in words.
    pub(crate) reason: String,
}

/// The ways of a kind of stores. Every way gives the same rows.
pub(crate) trait Ways {
    /// The way to take; none where there is but one.
    fn choose(&self, expected: &Expected<'_>) -> Option<Choice>;

    /// What each way is estimated to cost, and what would help; none where there is but one.
    fn advise(&self, expected: &Expected<'_>) -> Option<Advice>;

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
