//! What the ways from keys to rows cost.
//!
//! A map of 10^8 keys takes 1.3 GB and, on two cores, about 1.5 s; reading so many keys once, to
//! find the rows of a few, a third of the time and memory for the few alone.

/// Reading a key and putting it into the map.
const KEY_MAP_NS_A_ROW: f64 = 40.0;

/// Rows of a page of a BTree index, Lance's default.
const BTREE_PAGE_ROWS: u64 = 4096;

/// Reading and searching a page.
const BTREE_NS_A_PAGE: f64 = 300_000.0;

/// A smaller map is made for all keys at once, in about the time that collecting the keys of a job
/// and reading those of the store takes: later jobs find it ready.
const LEAST_ROWS_FOR_A_KEY_SET: u64 = 16 << 20;

/// So many rows has the store for a key, if the job's keys are collected first and all of the
/// store's are read once, for these alone. To collect a key costs as much as 30 to 55 rows of a map
/// cost more than reading their keys.
const ROWS_A_KEY: u64 = 64;

/// How many times cheaper the index must be than the map, which later jobs find ready.
const BTREE_ADVANTAGE: f64 = 10.0;

/// Whether asking the index for so few keys, and scanning the rows that it does not hold, costs far
/// less than building the map.
pub(super) fn prefers_index(keys: u64, rows: u64, unindexed_rows: u64) -> bool {
    by_index(keys, rows, unindexed_rows) * BTREE_ADVANTAGE <= key_map(rows)
}

/// Asking the index for so many keys, and scanning the rows that it does not hold.
pub(super) fn by_index(keys: u64, rows: u64, unindexed_rows: u64) -> f64 {
    let pages = rows.div_ceil(BTREE_PAGE_ROWS).min(keys) as f64;
    pages * BTREE_NS_A_PAGE + key_map(unindexed_rows)
}

/// Building the map of so many keys.
pub(super) fn key_map(rows: u64) -> f64 {
    rows as f64 * KEY_MAP_NS_A_ROW
}

/// Whether so few keys are asked of so many rows that a map of all costs more than it brings, at
/// least for one job.
pub(super) fn prefers_key_set(keys: u64, rows: u64) -> bool {
    rows >= LEAST_ROWS_FOR_A_KEY_SET && keys.saturating_mul(ROWS_A_KEY) <= rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_is_for_few_keys_and_covers_most_rows() {
        assert!(prefers_index(60, 5_000_000, 0));
        assert!(!prefers_index(70, 5_000_000, 0));
        assert!(!prefers_index(60, 5_000_000, 500_000));
        assert!(prefers_index(1, 100_000, 0));
        assert!(!prefers_index(1, 10_000, 0));
    }

    #[test]
    fn keys_are_collected_where_they_are_few_of_many() {
        assert!(prefers_key_set(312_500, 20_000_000));
        assert!(!prefers_key_set(312_501, 20_000_000));
        assert!(!prefers_key_set(1, 5_000_000));
    }
}
