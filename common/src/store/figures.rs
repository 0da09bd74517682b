//! What a worker knows of a store that it has opened, beside its columns.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::StoreKey;

/// Figures of a snapshot, estimates among them, and the bounds of the coordinator that passed them
/// on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Figures {
    /// Rows that are not deleted.
    pub rows: u64,
    /// Bytes of an average value, for each column of the schema: exact for types of fixed width.
    pub value_bytes: Vec<u64>,
    /// The keys, by their columns, that are known to stand in one row each of the snapshot.
    pub unique: BTreeSet<Vec<String>>,
    /// The most bytes of keys that are collected before a lookup, which the coordinator says; 0 if
    /// none are.
    pub max_key_set_bytes: u64,
    /// What else decides which way to the rows is taken, in the bytes of the store's kind, which
    /// alone reads them.
    pub own: Vec<u8>,
}

impl Figures {
    /// Whether it is known that no key stands in several rows.
    pub fn is_unique(&self, key: &StoreKey) -> bool {
        self.unique.contains(key.columns())
    }
}
