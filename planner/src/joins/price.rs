//! What a join with a store costs as a lookup, and as a scan of the store that DataFusion joins.
//!
//! Both read of the store what the kind's own model says. Beyond that, a lookup works for each key,
//! on the workers. A scan is a stage of its own: all rows that pass go to the coordinator, as those
//! that ask do, and one of its threads joins them. Which side its hash table is made of nobody
//! chooses by size: it is the left one.

use std::fmt;

use keyloom_common::{report::words, store::ResolvedStore};

use crate::{
    estimate::passing,
    ways::{self, Expected, Reading, keys_at_once},
};

/// Looking one key up: its place among the distinct ones, and the row that answers it. Fits joins
/// of 10,000 to 4,000,000 keys with stores of 10,000 to 10,000,000 rows whose maps were there.
const LOOKUP_NS_A_KEY: f64 = 130.0;

/// A list of the rows of one key, and its end: what keys take that may stand in several rows. Fits
/// the same joins where the map was not there yet.
const LIST_NS_A_KEY: f64 = 70.0;

/// What a job is charged of a map that it makes: later ones find it there.
const SHARE_OF_MADE: f64 = 0.5;

/// How much more than a scan a lookup may cost: workers share it, however many there are, and keep
/// what they read.
const GRACE: f64 = 1.1;

/// The tasks of a scan. Not measured.
const SCAN_NS: f64 = 1_000_000.0;

/// Sending a row from a worker to the coordinator, or back. Not measured.
const SEND_NS_A_ROW: f64 = 15.0;

/// A byte of a store's row on that way. Not measured.
const SEND_NS_A_BYTE: f64 = 0.5;

/// A row of the join's left side, of which DataFusion makes the hash table: 90 of few keys, up to
/// 270 of millions that stand in many rows.
const BUILD_NS_A_ROW: f64 = 170.0;

/// A row of its right side. Measured on one thread.
const PROBE_NS_A_ROW: f64 = 12.0;

/// What a join asks of a store.
#[derive(Clone, Debug)]
pub(super) struct Asked<'a> {
    pub(super) store: &'a ResolvedStore,
    /// The columns that are read of its rows, by their names; none if a key's existence will do.
    pub(super) columns: Vec<String>,
    /// How many keys are expected, if that is known.
    pub(super) keys: Option<u64>,
    /// Whether the coordinator has the rows that ask.
    pub(super) are_gathered: bool,
    /// Whether the store is the right side of the join.
    pub(super) store_is_right: bool,
    /// Whether the store's rows have conditions of their own, which those of a scan pass first.
    pub(super) is_filtered: bool,
    /// Whether no key stands in several rows.
    pub(super) is_unique: bool,
}

/// What a join costs either way, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Prices {
    lookup: f64,
    scan: f64,
}

impl Prices {
    /// The prices of a join, if it is known how many keys it asks for, of how many rows.
    pub(super) fn of(asked: &Asked<'_>) -> Option<Self> {
        let (store, keys) = (asked.store, asked.keys?);
        let figures = store.description.figures.as_ref()?;
        let place = |name: &String| store.schema().index_of(name).ok();
        let columns: Vec<usize> = asked.columns.iter().filter_map(place).collect();
        let bytes = |&column: &usize| figures.value_bytes.get(column).copied().unwrap_or_default();
        let row_bytes: u64 = columns.iter().map(bytes).sum();
        let keys_at_once = keys_at_once(row_bytes);
        let expected = Expected {
            store,
            columns,
            keys: Some(keys),
            keys_at_once,
            has_key_set: false,
            wants_all: true,
        };
        // Where nothing is known of what is read, the work decides.
        let reading = ways::of(store).and_then(|ways| ways.reading(&expected)).unwrap_or_default();
        let rows = if asked.is_filtered { passing(figures.rows) } else { figures.rows };
        let is_unique = asked.is_unique || figures.is_unique(store.key());
        Some(Self {
            lookup: lookup(asked, reading, keys, is_unique),
            scan: scan(asked, reading, (keys, rows), row_bytes),
        })
    }

    /// Whether to look the keys up.
    pub(super) fn is_lookup(self) -> bool {
        self.lookup <= self.scan * GRACE
    }
}

fn lookup(asked: &Asked<'_>, reading: Reading, keys: u64, is_unique: bool) -> f64 {
    let list = if is_unique { 0.0 } else { LIST_NS_A_KEY };
    // Rows that are the coordinator's go to the workers and come back.
    let sent = if asked.are_gathered { 2.0 * SEND_NS_A_ROW } else { 0.0 };
    let a_key = LOOKUP_NS_A_KEY + list + sent;
    reading.made * SHARE_OF_MADE + reading.looked_up + keys as f64 * a_key
}

/// With so many keys, and so many rows of the store that pass and have so many bytes.
fn scan(asked: &Asked<'_>, reading: Reading, (keys, rows): (u64, u64), row_bytes: u64) -> f64 {
    let (keys, rows) = (keys as f64, rows as f64);
    let sent = if asked.are_gathered { rows } else { rows + keys };
    let sent = sent * SEND_NS_A_ROW + rows * row_bytes as f64 * SEND_NS_A_BYTE;
    let (built, probed) = if asked.store_is_right { (keys, rows) } else { (rows, keys) };
    SCAN_NS + reading.scanned + sent + built * BUILD_NS_A_ROW + probed * PROBE_NS_A_ROW
}

impl fmt::Display for Prices {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = |nanoseconds: f64| words::time(nanoseconds / 1e9);
        write!(f, "lookup {}, scan {}", time(self.lookup), time(self.scan))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::joins::samples::{attached, store};

    fn held(rows: u64) -> Arc<ResolvedStore> {
        attached(store("s", &["id"]), Some(rows), &[]).resolve(None).unwrap()
    }

    /// A join of rows of the workers with a store on its right, of which a name is read.
    fn asked(store: &ResolvedStore, keys: u64) -> Asked<'_> {
        Asked {
            store,
            columns: vec!["name".to_owned()],
            keys: Some(keys),
            are_gathered: false,
            store_is_right: true,
            is_filtered: false,
            is_unique: false,
        }
    }

    fn prices(asked: &Asked<'_>) -> Prices {
        Prices::of(asked).unwrap()
    }

    #[test]
    fn few_keys_of_many_rows_cost_less_and_many_of_few_more() {
        let (large, small) = (held(5_000_000), held(1_000));
        let few = prices(&asked(&large, 50_000));
        assert!(few.is_lookup() && few.lookup < few.scan, "{few}");
        let store_first = |keys| Asked { store_is_right: false, ..asked(&small, keys) };
        assert!(prices(&store_first(1_000)).is_lookup());
        assert!(!prices(&store_first(1_000_000)).is_lookup());
        // The rows that ask are dear to build a table of.
        assert!(prices(&asked(&small, 1_000_000)).scan > prices(&store_first(1_000_000)).scan);
    }

    #[test]
    fn what_is_where_it_is_needed_costs_less() {
        let store = held(100_000);
        let plain = asked(&store, 100_000);
        let gathered = Asked { are_gathered: true, ..plain.clone() };
        assert!(prices(&gathered).scan < prices(&plain).scan);
        assert!(prices(&gathered).lookup > prices(&plain).lookup);
        let filtered = Asked { is_filtered: true, ..plain.clone() };
        assert!(prices(&filtered).scan < prices(&plain).scan);
        let unique = Asked { is_unique: true, ..plain.clone() };
        assert!(prices(&unique).lookup < prices(&plain).lookup);
        let nothing = Asked { columns: Vec::new(), ..plain.clone() };
        assert!(prices(&nothing).lookup < prices(&plain).lookup);
        assert!(prices(&nothing).scan < prices(&plain).scan);
    }
}
