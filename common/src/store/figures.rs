//! What decides how a store's rows are best reached: its size, and the bounds of its worker.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::StoreKey;

/// Bytes of the map from keys to rows, for each row: 8 of the key's code, 4 of the row, 1 to find
/// them.
pub const KEY_MAP_BYTES_A_ROW: u64 = 13;

/// Figures of a snapshot, estimates among them, and the bounds of the worker that described it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Figures {
    /// Rows that are not deleted.
    pub rows: u64,
    /// Fragments.
    pub fragments: u64,
    /// Bytes of an average value, for each column of the schema: exact for types of fixed width.
    pub value_bytes: Vec<u64>,
    /// The BTree indices, by their columns.
    pub btrees: BTreeMap<String, KeyIndex>,
    /// Whether row ids stay when rows move, so that they do not say where rows are.
    pub stable_row_ids: bool,
    /// The most bytes of a map from keys to rows.
    pub max_key_map_bytes: u64,
    /// The most bytes of columns that are kept in memory.
    pub column_cache_bytes: u64,
}

impl Figures {
    /// The BTree index on the key, if it is one column and there is such an index.
    pub fn key_index(&self, key: &StoreKey) -> Option<KeyIndex> {
        match key.columns() {
            [column] => self.btrees.get(column).copied(),
            _ => None,
        }
    }
}

/// A BTree index on a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct KeyIndex {
    /// The fragments whose rows it holds. Those of others must be scanned.
    pub fragments: u64,
}
