//! Lookups by store: by its alias, of which the first so many are told apart, and its kind.
//!
//! Users choose aliases, and may choose any number of them: what nobody bounds would make of each
//! scrape a list of all names that there ever were.

use std::{
    collections::{BTreeMap, HashSet},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use keyloom_common::{
    lookup::KvLookupExec,
    metrics::{registered, times},
    report::{PlanMetrics, counter},
};
use prometheus_client::{
    metrics::{counter::Counter, family::Family, histogram::Histogram},
    registry::Registry,
};

/// The alias under which all are counted that are not counted apart.
const OTHER: &str = "other";

/// The most bytes of an alias that is counted apart: each scrape repeats it some twenty times.
const ALIAS_BYTES: usize = 128;

/// What lookups count, by their own names: under which name it is told, and what it is.
const COUNTED: [(&str, &str, &str); 11] = [
    (counter::KEYS, "lookup_keys", "Keys that rows asked for"),
    (counter::DISTINCT, "lookup_distinct_keys", "Distinct keys among them, window by window"),
    (counter::HITS, "lookup_hits", "Distinct keys that the store holds"),
    (counter::MISSES, "lookup_misses", "Distinct keys that the store does not hold"),
    (counter::REQUESTS, "lookup_requests", "Requests of lookups"),
    (counter::REQUESTS_MADE, "lookup_requests_made", "Requests that reached stores of other kinds"),
    (counter::RETRIES, "lookup_retries", "Requests among them that were made again"),
    (counter::BYTES_FETCHED, "lookup_bytes", "Bytes of values that were read, decoded"),
    (counter::ANSWER_HITS, "lookup_answer_hits", "Keys whose answers were kept from before"),
    (counter::BLOCKS, "lookup_blocks", "Blocks of columns that were needed"),
    (counter::BLOCK_HITS, "lookup_block_hits", "Blocks among them that were in memory"),
];

/// An alias and a kind.
type StoreLabels = [(&'static str, Arc<str>); 2];

type ByStore<M> = Family<StoreLabels, M>;

/// What lookups count, by store.
#[derive(Debug)]
pub(crate) struct Lookups {
    /// The aliases that are counted apart, at most so many.
    apart: Mutex<HashSet<Arc<str>>>,
    most: usize,
    counted: [ByStore<Counter>; COUNTED.len()],
    failures: ByStore<Counter>,
    times: ByStore<Histogram>,
}

/// How long the requests to one store take, and how many fail.
#[derive(Clone, Debug)]
pub(crate) struct Timing {
    times: Histogram,
    failures: Counter,
}

impl Timing {
    /// A request has ended after so long.
    pub(crate) fn count(&self, took: Duration, is_failure: bool) {
        self.times.observe(took.as_secs_f64());
        if is_failure {
            self.failures.inc();
        }
    }
}

impl Lookups {
    pub(super) fn new(registry: &mut Registry, most: usize) -> Self {
        let counted = COUNTED.map(|(_, name, help)| registered(registry, name, help));
        let failures = registered(registry, "lookup_failures", "Requests of lookups that failed");
        let times: ByStore<Histogram> = ByStore::new_with_constructor(times);
        let help = "Seconds that lookups waited for the answer to a request";
        registry.register("lookup_request_duration_seconds", help, times.clone());
        Self { apart: Mutex::default(), most, counted, failures, times }
    }

    /// Where the requests to a store are timed.
    pub(crate) fn timing(&self, alias: &str, kind: &str) -> Timing {
        let store = self.store(alias, kind);
        let times = self.times.get_or_create_owned(&store);
        Timing { times, failures: self.failures.get_or_create_owned(&store) }
    }

    /// Adds what a node of a plan has counted.
    pub(super) fn count(&self, lookup: &KvLookupExec) {
        let mut stores = BTreeMap::<&str, [u64; COUNTED.len()]>::new();
        let metrics = PlanMetrics::of_node(lookup);
        for (alias, metric) in metrics.of_stores() {
            if let Some(at) = COUNTED.iter().position(|(name, ..)| *name == metric.name) {
                stores.entry(alias).or_default()[at] += metric.value;
            }
        }
        let kind = |alias: &str| {
            let mut fetches = lookup.waves().iter().flat_map(|wave| &wave.fetches);
            let fetch = fetches.find(|fetch| fetch.store.alias == alias);
            fetch.map_or_else(String::new, |fetch| fetch.store.spec.kind.clone())
        };
        // Of a store that could not be opened there is nothing, and its kind may be any word.
        let asked = stores.into_iter().filter(|(_, counts)| counts.iter().any(|count| *count > 0));
        for (alias, counts) in asked {
            self.add(&self.store(alias, &kind(alias)), counts);
        }
    }

    fn add(&self, store: &StoreLabels, counts: [u64; COUNTED.len()]) {
        for (counter, count) in self.counted.iter().zip(counts) {
            counter.get_or_create(store).inc_by(count);
        }
    }

    /// The labels of a store.
    fn store(&self, alias: &str, kind: &str) -> StoreLabels {
        [("store", self.alias(alias)), ("kind", Arc::from(kind))]
    }

    /// An alias, if it is one of those that are counted apart, or becomes one of them.
    fn alias(&self, alias: &str) -> Arc<str> {
        let mut apart = self.apart.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = apart.get(alias) {
            return Arc::clone(known);
        }
        if apart.len() >= self.most || alias.len() > ALIAS_BYTES {
            return Arc::from(OTHER);
        }
        let new: Arc<str> = Arc::from(alias);
        apart.insert(Arc::clone(&new));
        new
    }
}

#[cfg(test)]
mod tests {
    use keyloom_common::metrics::text;

    use super::*;

    fn lines(registry: &Registry, name: &str) -> Vec<String> {
        let text = text(registry);
        let mut lines: Vec<_> =
            text.lines().filter(|line| line.starts_with(name)).map(ToOwned::to_owned).collect();
        lines.sort_unstable();
        lines
    }

    #[test]
    fn aliases_beyond_the_first_are_counted_together() {
        let mut registry = Registry::default();
        let lookups = Lookups::new(&mut registry, 2);
        for alias in ["a", "b", "c", "d", "a", "c"] {
            lookups.add(&lookups.store(alias, "memory"), [1; COUNTED.len()]);
        }
        let expected = [
            "lookup_keys_total{store=\"a\",kind=\"memory\"} 2",
            "lookup_keys_total{store=\"b\",kind=\"memory\"} 1",
            "lookup_keys_total{store=\"other\",kind=\"memory\"} 3",
        ];
        assert_eq!(lines(&registry, "lookup_keys_total"), expected);
        assert_eq!(lines(&registry, "lookup_block_hits_total").len(), 3);
    }

    #[test]
    fn an_alias_of_any_length_is_no_label() {
        let mut registry = Registry::default();
        let lookups = Lookups::new(&mut registry, 2);
        for length in [ALIAS_BYTES, ALIAS_BYTES + 1, 1 << 20] {
            lookups.add(&lookups.store(&"a".repeat(length), "memory"), [1; COUNTED.len()]);
        }
        let expected = [
            format!("lookup_keys_total{{store=\"{}\",kind=\"memory\"}} 1", "a".repeat(ALIAS_BYTES)),
            "lookup_keys_total{store=\"other\",kind=\"memory\"} 2".to_owned(),
        ];
        assert_eq!(lines(&registry, "lookup_keys_total"), expected);
    }

    #[test]
    fn an_alias_of_any_characters_is_one_label() {
        let mut registry = Registry::default();
        let lookups = Lookups::new(&mut registry, 2);
        lookups.add(&lookups.store("a\"} 1\n\\b", "memory"), [1; COUNTED.len()]);
        let expected = ["lookup_hits_total{store=\"a\\\"} 1\\n\\\\b\",kind=\"memory\"} 1"];
        assert_eq!(lines(&registry, "lookup_hits_total"), expected);
    }

    #[test]
    fn requests_are_timed_and_failures_counted() {
        let mut registry = Registry::default();
        let timing = Lookups::new(&mut registry, 2).timing("a", "lance");
        timing.count(Duration::from_millis(3), false);
        timing.count(Duration::from_millis(30), true);
        let buckets = lines(&registry, "lookup_request_duration_seconds_bucket{le=\"0.016\"");
        let expected = "lookup_request_duration_seconds_bucket{le=\"0.016\",store=\"a\",\
                        kind=\"lance\"} 1";
        assert_eq!(buckets, [expected]);
        let failures = ["lookup_failures_total{store=\"a\",kind=\"lance\"} 1"];
        assert_eq!(lines(&registry, "lookup_failures_total"), failures);
    }
}
