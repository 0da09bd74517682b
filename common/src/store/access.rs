//! How a store's rows are reached: which way leads from keys to rows, and which from rows to values.
//!
//! The planner chooses by cost from a store's figures, unless the store's options force a way.
//! Every way gives the same rows; they differ in what they read and keep.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The way from keys to rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KeyPath {
    /// Keys are row ids or offsets and say where the rows are.
    Direct,
    /// A map of all keys, read once and kept by fragment.
    #[default]
    Map,
    /// The key column is scanned for the wanted keys; nothing is kept.
    Scan,
    /// The dataset's own BTree index on the key column.
    Btree,
}

/// The way from rows to values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RowPath {
    /// The wanted rows alone are read.
    #[default]
    Take,
    /// Columns are read block by block and kept while the workers' settings allow; rows are
    /// gathered from the blocks.
    Scan,
}

/// The ways that a store's options force; the planner chooses where there is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ForcedAccess {
    /// From keys to rows. Ignored by stores keyed by row ids or offsets.
    pub keys: Option<KeyPath>,
    /// From rows to values.
    pub rows: Option<RowPath>,
}

/// The ways that a fetch takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Access {
    /// From keys to rows.
    pub keys: KeyPath,
    /// From rows to values. A worker may scan what it was to take, once takes have cost as much.
    pub rows: RowPath,
    /// Keys that the job is expected to look up in all, if the planner knows.
    pub expected_keys: Option<u64>,
}

impl fmt::Display for KeyPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Direct => "direct",
            Self::Map => "map",
            Self::Scan => "scan",
            Self::Btree => "btree",
        })
    }
}

impl fmt::Display for RowPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Take => "take",
            Self::Scan => "scan",
        })
    }
}
