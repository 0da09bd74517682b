//! What decides how a dataset's rows are best reached: its size, and the bounds of the cluster.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::{
    error::Result,
    rpc::bincode,
    store::{Figures, StoreKey},
};

/// Bytes of the map from keys to rows, for each row: 8 of the key's code, 4 of the row, 1 to find
/// them.
pub const KEY_MAP_BYTES_A_ROW: u64 = 13;

/// What decides which way to a dataset's rows is taken: the figures of a snapshot, estimates among
/// them, and the bounds of the worker that described it and of the coordinator that passed this on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LanceFigures {
    /// Rows that are not deleted.
    #[serde(skip)]
    pub rows: u64,
    /// Fragments.
    pub fragments: u64,
    /// Bytes of an average value, for each column of the schema: exact for types of fixed width.
    #[serde(skip)]
    pub value_bytes: Vec<u64>,
    /// The BTree indices, by their columns.
    pub btrees: BTreeMap<String, KeyIndex>,
    /// Whether row ids stay when rows move, so that they do not say where rows are.
    pub stable_row_ids: bool,
    /// The most bytes of a map from keys to rows.
    pub max_key_map_bytes: u64,
    /// The most bytes of keys that are collected before a lookup, which the coordinator says; 0 if
    /// none are.
    #[serde(skip)]
    pub max_key_set_bytes: u64,
    /// The most bytes of columns that are kept in memory.
    pub column_cache_bytes: u64,
    /// Whether maps of keys that are told by their codes stay on disk.
    pub maps_stay: bool,
    /// The keys, by their columns, whose maps are there.
    pub mapped: BTreeSet<Vec<String>>,
}

impl LanceFigures {
    /// The figures of a dataset. What stores of all kinds have is taken from what all can read: a
    /// plan may look up some of the columns only, and the coordinator says its bound there.
    ///
    /// # Errors
    /// `internal` if they are not those of a dataset.
    pub fn of(figures: &Figures) -> Result<Self> {
        let Figures { rows, value_bytes, max_key_set_bytes, own, .. } = figures;
        let own: Self = if own.is_empty() { Self::default() } else { bincode::decode(own)? };
        let (rows, max_key_set_bytes) = (*rows, *max_key_set_bytes);
        Ok(Self { rows, value_bytes: value_bytes.clone(), max_key_set_bytes, ..own })
    }

    /// The same as descriptions carry them, with the keys, by their columns, that are known to
    /// stand in one row each.
    ///
    /// # Errors
    /// `resource_exhausted` if they are too many to be carried.
    pub fn described(self, unique: BTreeSet<Vec<String>>) -> Result<Figures> {
        let own = bincode::encode(&self)?;
        let Self { rows, value_bytes, max_key_set_bytes, .. } = self;
        Ok(Figures { rows, value_bytes, unique, max_key_set_bytes, own })
    }

    /// The BTree index on the key, if it is one column and there is such an index.
    pub fn key_index(&self, key: &StoreKey) -> Option<KeyIndex> {
        match key.columns() {
            [column] => self.btrees.get(column).copied(),
            _ => None,
        }
    }

    /// Whether keys that a job collected before are of use: they are collected at all, and workers
    /// have no map to answer them from.
    pub fn uses_key_set(&self, key: &StoreKey, is_exact: bool) -> bool {
        self.max_key_set_bytes > 0 && !self.uses_map(key, is_exact)
    }

    /// Whether workers answer keys from a map of all of them, whatever a job knows of its own: they
    /// have it, or make it to stay. An exact key is told by its code.
    pub fn uses_map(&self, key: &StoreKey, is_exact: bool) -> bool {
        (is_exact && self.maps_stay) || self.mapped.contains(key.columns())
    }
}

/// A BTree index on a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct KeyIndex {
    /// The fragments whose rows it holds. Those of others must be scanned.
    pub fragments: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptions_carry_them_and_what_was_said_since() {
        let figures = LanceFigures {
            rows: 5,
            fragments: 2,
            value_bytes: vec![8, 20],
            btrees: [("id".to_owned(), KeyIndex { fragments: 1 })].into(),
            stable_row_ids: true,
            max_key_map_bytes: 100,
            max_key_set_bytes: 0,
            column_cache_bytes: 200,
            maps_stay: true,
            mapped: [vec!["id".to_owned()]].into(),
        };
        let described = figures.clone().described([vec!["id".to_owned()]].into()).unwrap();
        assert!(described.is_unique(&StoreKey::column("id")));
        assert_eq!(described.rows, 5);
        assert_eq!(described.value_bytes, [8, 20]);
        assert_eq!(LanceFigures::of(&described), Ok(figures.clone()));

        let value_bytes = vec![20];
        let since = Figures { max_key_set_bytes: 7, value_bytes: value_bytes.clone(), ..described };
        let expected = LanceFigures { max_key_set_bytes: 7, value_bytes, ..figures };
        assert_eq!(LanceFigures::of(&since), Ok(expected));
        assert_eq!(LanceFigures::of(&Figures::default()), Ok(LanceFigures::default()));
        assert!(LanceFigures::of(&Figures { own: vec![1, 2], ..Figures::default() }).is_err());
    }

    #[test]
    fn maps_are_used_where_they_are_or_will_stay() {
        let (one, pair) = (StoreKey::column("id"), StoreKey::parse(["id", "day"]).unwrap());
        let with = |maps_stay, mapped: &[&[&str]]| {
            let names = |key: &&[&str]| key.iter().map(|&name| name.to_owned()).collect();
            let mapped = mapped.iter().map(names).collect();
            let figures = LanceFigures { maps_stay, mapped, ..LanceFigures::default() };
            [(&one, true), (&one, false), (&pair, false)]
                .map(|(key, is_exact)| figures.uses_map(key, is_exact))
        };
        assert_eq!(with(false, &[]), [false, false, false]);
        assert_eq!(with(true, &[]), [true, false, false]);
        assert_eq!(with(false, &[&["id"]]), [true, true, false]);
        assert_eq!(with(false, &[&["id", "day"]]), [false, false, true]);
    }

    #[test]
    fn keys_are_collected_where_there_is_room_and_no_map() {
        let key = StoreKey::column("id");
        let uses_key_set = |max_key_set_bytes, maps_stay| {
            let figures = LanceFigures { max_key_set_bytes, maps_stay, ..LanceFigures::default() };
            figures.uses_key_set(&key, true)
        };
        assert!(uses_key_set(1, false));
        assert!(!uses_key_set(0, false) && !uses_key_set(1, true));
    }
}
