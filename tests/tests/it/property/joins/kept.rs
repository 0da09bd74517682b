//! Where the rows of a store are kept, drawn at random: in memory, where no key is null or stands
//! twice, or in a Lance dataset, where it may, which is looked up by one of its ways.

use std::{collections::BTreeSet, path::Path};

use arrow::array::RecordBatch;
use keyloom_client::{
    Error, KeyPath, KvStore, LanceOptions, MemoryOptions, OnDuplicateKey, RowPath, load_kv,
};
use proptest::{option, prelude::*, sample::select};

use super::case::Relation;
use crate::{
    harness::{index, write_lance},
    property::query::Value,
};

#[derive(Clone, Debug)]
pub(super) enum Kept {
    Memory,
    Lance { keys: Option<KeyPath>, rows: Option<RowPath>, fragment_rows: usize, indexed: bool },
}

/// A place for a store.
pub(super) fn kept() -> impl Strategy<Value = Kept> {
    let keys = option::of(select(vec![KeyPath::Map, KeyPath::Scan, KeyPath::Btree]));
    let rows = option::of(select(vec![RowPath::Take, RowPath::Scan]));
    let lance = (keys, rows, 1..4_usize, any::<bool>());
    let lance = lance.prop_map(|(keys, rows, fragment_rows, indexed)| Kept::Lance {
        keys,
        rows,
        fragment_rows,
        indexed,
    });
    prop_oneof![1 => Just(Kept::Memory), 2 => lance]
}

impl Kept {
    pub(super) fn forces_map(&self) -> bool {
        matches!(self, Self::Lance { keys: Some(KeyPath::Map), .. })
    }

    /// The rows that can be kept so.
    pub(super) fn bearable(&self, relation: Relation, rows: Vec<Vec<Value>>) -> Vec<Vec<Value>> {
        if !matches!(self, Self::Memory) {
            return rows;
        }
        let mut seen = BTreeSet::new();
        let is_bearable = |row: &Vec<Value>| {
            let key = &row[..relation.key().len()];
            !key.contains(&Value::Null) && seen.insert(key.to_vec())
        };
        rows.into_iter().filter(is_bearable).collect()
    }

    /// A store of rows; of a key's rows, `kv_get` finds the first.
    pub(super) async fn load(
        &self,
        folder: &Path,
        relation: Relation,
        rows: RecordBatch,
    ) -> Result<KvStore, Error> {
        let alias = relation.alias();
        let key: Vec<_> = relation.key().iter().map(|(column, _)| *column).collect();
        let Self::Lance { keys, rows: row_path, fragment_rows, indexed } = self else {
            return load_kv(alias, MemoryOptions::batch(rows, key));
        };
        let uri = folder.join(alias).to_string_lossy().into_owned();
        let mut dataset = write_lance(&uri, &[rows], *fragment_rows).await.unwrap();
        // There is no index on several columns.
        let key_path = keys.filter(|path| key.len() == 1 || *path != KeyPath::Btree);
        if key.len() == 1 && (*indexed || key_path == Some(KeyPath::Btree)) {
            index(&mut dataset, key[0]).await.unwrap();
        }
        let options = LanceOptions::new(uri).key(key).on_duplicate_key(OnDuplicateKey::First);
        load_kv(alias, LanceOptions { key_path, row_path: *row_path, ..options })
    }
}
