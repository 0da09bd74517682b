//! What the ways from keys to rows cost.

/// Reading a key and putting it into the map.
const KEY_MAP_NS_A_ROW: f64 = 40.0;

/// Rows of a page of a BTree index, Lance's default.
const BTREE_PAGE_ROWS: u64 = 4096;

/// Reading and searching a page.
const BTREE_NS_A_PAGE: f64 = 300_000.0;

/// How many times cheaper the index must be than the map, which later jobs find ready.
const BTREE_ADVANTAGE: f64 = 10.0;

/// Whether asking the index for so few keys, and scanning the rows that it does not hold, costs far
/// less than building the map.
pub fn prefers_index(keys: u64, rows: u64, unindexed_rows: u64) -> bool {
    let pages = rows.div_ceil(BTREE_PAGE_ROWS).min(keys) as f64;
    let index = pages * BTREE_NS_A_PAGE + unindexed_rows as f64 * KEY_MAP_NS_A_ROW;
    index * BTREE_ADVANTAGE <= rows as f64 * KEY_MAP_NS_A_ROW
}
