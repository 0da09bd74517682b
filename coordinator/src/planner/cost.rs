//! What reading a store costs, in nanoseconds of one lookup's wall time: the model behind the choice
//! of a way to its rows.
//!
//! Only the order of costs matters. The figures were measured with Lance 14 on two cores, warm page
//! cache, columns of 512-byte vectors: 50,000 of 5 M rows are taken in 0.3 s, 125,000 of 1 M in
//! 0.3 s, 640,000 of 1 M in 0.14 s. The three differ by how many reads Lance merges, as here. Of
//! columns of short strings, 50,000 of 5 M rows are taken in 0.07 s; the model says so of batches.

use keyloom_common::store::KEY_MAP_BYTES_A_ROW;

/// Reading a key and putting it into the map.
const KEY_MAP_NS_A_ROW: f64 = 40.0;

/// Rows of a page of a BTree index, Lance's default.
const BTREE_PAGE_ROWS: u64 = 4096;

/// Reading and searching a page.
const BTREE_NS_A_PAGE: f64 = 300_000.0;

/// How many times cheaper the index must be than the map, which later jobs find ready.
const BTREE_ADVANTAGE: f64 = 10.0;

/// Scanning or gathering a value, beside its bytes.
const NS_A_VALUE: f64 = 25.0;

/// Lance reads and decodes smaller values in blocks of `BLOCK_BYTES`, larger ones one by one.
const SMALL_VALUE_BYTES: f64 = 256.0;

/// A block of small values.
const BLOCK_BYTES: f64 = 8192.0;

/// Where a dataset is stored.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Storage {
    /// Lance merges reads with at most so many bytes between them.
    merged_gap: f64,
    /// A read of a value, while others are in flight.
    read_ns: f64,
    /// A read of a block of small values.
    read_ns_a_block: f64,
    /// A byte of a column read from end to end.
    scan_ns_a_byte: f64,
    /// A byte of a value that is read by itself.
    take_ns_a_byte: f64,
}

impl Storage {
    /// Local disks.
    pub(super) const LOCAL: Self = Self {
        merged_gap: 4096.0,
        read_ns: 6_000.0,
        read_ns_a_block: 1_000.0,
        scan_ns_a_byte: 0.1,
        take_ns_a_byte: 0.4,
    };

    /// Object stores: answers after some 50 ms, 64 in flight, a gigabyte a second. Not measured.
    pub(super) const REMOTE: Self = Self {
        merged_gap: 65_536.0,
        read_ns: 800_000.0,
        read_ns_a_block: 800_000.0,
        scan_ns_a_byte: 1.0,
        take_ns_a_byte: 1.0,
    };

    /// What stores the dataset at a URI.
    pub(super) fn of(uri: &str) -> Self {
        match uri.split_once("://") {
            Some((scheme, _)) if !scheme.starts_with("file") => Self::REMOTE,
            _ => Self::LOCAL,
        }
    }
}

/// Keys that come in requests of a bounded size.
#[derive(Clone, Copy, Debug)]
pub(super) struct Keys {
    /// How many there are.
    pub(super) count: u64,
    /// How many come at once. Only reads of one request are merged.
    pub(super) at_once: u64,
}

/// Reading all values of a column with so many rows, of so many bytes each.
pub(super) fn scan(rows: u64, value_bytes: u64, storage: Storage) -> f64 {
    let rows = rows as f64;
    rows * (value_bytes as f64 * storage.scan_ns_a_byte + NS_A_VALUE)
}

/// Reading the values of the keys' rows from that column, if the keys are spread evenly.
pub(super) fn take(keys: Keys, rows: u64, value_bytes: u64, storage: Storage) -> f64 {
    if keys.count == 0 || rows == 0 {
        return 0.0;
    }
    let (rows, bytes) = (rows as f64, value_bytes.max(1) as f64);
    let at_once = keys.at_once.clamp(1, keys.count) as f64;
    let requests = keys.count as f64 / at_once;
    let wanted = rows * -(-at_once / rows).exp_m1();
    let share = wanted / rows;
    // A row is read together with the next wanted one, unless the gap between them is too wide.
    let reads = wanted * (1.0 - share).powf(storage.merged_gap / bytes);
    let reads = reads.max(1.0);
    let read = if bytes < SMALL_VALUE_BYTES {
        let decoded = rows * bytes * (1.0 - (1.0 - share).powf(BLOCK_BYTES / bytes));
        reads * storage.read_ns_a_block + decoded * storage.scan_ns_a_byte
    } else {
        reads * storage.read_ns + wanted * bytes * storage.take_ns_a_byte
    };
    requests * (read + wanted * NS_A_VALUE)
}

/// The bytes of the map from keys to rows.
pub(super) fn key_map_bytes(rows: u64) -> u64 {
    rows.saturating_mul(KEY_MAP_BYTES_A_ROW)
}

/// Whether asking the index for so few keys, and scanning the rows that it does not hold, costs far
/// less than building the map.
pub(super) fn prefers_index(keys: u64, rows: u64, unindexed_rows: u64) -> bool {
    let pages = rows.div_ceil(BTREE_PAGE_ROWS).min(keys) as f64;
    let index = pages * BTREE_NS_A_PAGE + unindexed_rows as f64 * KEY_MAP_NS_A_ROW;
    index * BTREE_ADVANTAGE <= rows as f64 * KEY_MAP_NS_A_ROW
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Hundredths of a second that a take of vectors costs, all at once.
    fn vectors(count: u64, rows: u64) -> f64 {
        let keys = Keys { count, at_once: count };
        (take(keys, rows, 512, Storage::LOCAL) / 1e7).round()
    }

    #[test]
    fn takes_cost_what_was_measured() {
        assert_eq!(vectors(50_000, 5_000_000), 29.0);
        // Of a million rows, 133,500 keys ask for 125,000 and a million keys for 632,000.
        assert_eq!(vectors(133_500, 1_000_000), 29.0);
        assert_eq!(vectors(1_000_000, 1_000_000), 15.0);
        let batches = Keys { count: 50_000, at_once: 8192 };
        let strings = take(batches, 5_000_000, 20, Storage::LOCAL) / 1e7;
        assert_eq!(strings.round(), 7.0);
    }

    #[test]
    fn many_small_requests_cost_more_than_a_large_one() {
        let keys = |at_once| Keys { count: 1_000_000, at_once };
        let cost = |at_once| take(keys(at_once), 1_000_000, 512, Storage::LOCAL);
        assert!(cost(8_192) > 10.0 * cost(1_000_000));
    }

    #[test]
    fn nothing_costs_nothing() {
        let keys = |count| Keys { count, at_once: 8192 };
        assert_eq!(take(keys(0), 1000, 8, Storage::LOCAL), 0.0);
        assert_eq!(take(keys(10), 0, 8, Storage::LOCAL), 0.0);
        assert_eq!(scan(0, 8, Storage::LOCAL), 0.0);
    }

    #[test]
    fn an_index_is_for_few_keys_and_covers_most_rows() {
        assert!(prefers_index(60, 5_000_000, 0));
        assert!(!prefers_index(70, 5_000_000, 0));
        assert!(!prefers_index(60, 5_000_000, 500_000));
        assert!(prefers_index(1, 100_000, 0));
        assert!(!prefers_index(1, 10_000, 0));
    }

    #[test]
    fn a_scheme_says_where_a_dataset_is() {
        assert_eq!(Storage::of("/data/a.lance"), Storage::LOCAL);
        assert_eq!(Storage::of("file:///data/a.lance"), Storage::LOCAL);
        assert_eq!(Storage::of("s3://bucket/a.lance"), Storage::REMOTE);
    }
}
