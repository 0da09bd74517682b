//! Where the rows of a store are kept, drawn at random: in memory, or in a Lance dataset that is
//! looked up by one of its ways.

use std::{path::Path, sync::Arc};

use arrow::{
    array::{ArrayRef, BooleanArray, RecordBatch},
    compute::interleave_record_batch,
    datatypes::{DataType, Field, Schema},
};
use keyloom_client::{KeyPath, KvStore, LanceOptions, MemoryOptions, RowPath, load_kv};
use lance::dataset::{WriteMode, WriteParams};
use proptest::{collection::vec, option, prelude::*, sample::select};

use crate::harness::{index, write_lance_with};

#[derive(Clone, Debug)]
pub(super) enum Stored {
    Memory,
    Lance(Layout),
}

/// How a dataset comes about, and the ways to its rows, chosen by cost where there is none.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    keys: Option<KeyPath>,
    rows: Option<RowPath>,
    fragment_rows: usize,
    /// The numbers of the keys of rows that are written among the others and deleted at last. A key
    /// may be that of a row that stays, or of several.
    pub(super) deleted: Vec<usize>,
    /// How many rows are appended when there is an index already, if there is to be one.
    appended: usize,
    /// Whether there is an index although no way needs it.
    indexed: bool,
}

/// A place for a store of so many different keys.
pub(super) fn stored(keys: usize) -> impl Strategy<Value = Stored> {
    let key_path = option::of(select(vec![KeyPath::Map, KeyPath::Scan, KeyPath::Btree]));
    let row_path = option::of(select(vec![RowPath::Take, RowPath::Scan]));
    let layout = (key_path, row_path, 1..4_usize, vec(0..keys, 0..5), 0..4_usize, any::<bool>());
    let layout = layout.prop_map(|(keys, rows, fragment_rows, deleted, appended, indexed)| {
        Layout { keys, rows, fragment_rows, deleted, appended, indexed }
    });
    prop_oneof![1 => Just(Stored::Memory), 2 => layout.prop_map(Stored::Lance)]
}

impl Stored {
    pub(super) fn forces_map(&self) -> bool {
        matches!(self, Self::Lance(Layout { keys: Some(KeyPath::Map), .. }))
    }

    /// The keys' numbers of rows that are to be written and deleted again.
    pub(super) fn deleted(&self) -> &[usize] {
        match self {
            Self::Memory => &[],
            Self::Lance(layout) => &layout.deleted,
        }
    }

    /// A store of the live rows, keyed by their column `key`.
    pub(super) async fn load(
        &self,
        uri: &Path,
        alias: &str,
        live: RecordBatch,
        deleted: RecordBatch,
    ) -> Result<KvStore, keyloom_client::Error> {
        match self {
            Self::Memory => load_kv(alias, MemoryOptions::batch(live, "key")),
            Self::Lance(layout) => {
                let uri = uri.to_string_lossy();
                layout.write(&uri, &live, &deleted).await;
                let (key_path, row_path) = (layout.keys, layout.rows);
                let options = LanceOptions::new(uri).key("key");
                load_kv(alias, LanceOptions { key_path, row_path, ..options })
            }
        }
    }
}

impl Layout {
    async fn write(&self, uri: &str, live: &RecordBatch, deleted: &RecordBatch) {
        let rows = mingled(live, deleted);
        let params = |mode| WriteParams {
            mode,
            max_rows_per_file: self.fragment_rows,
            ..Default::default()
        };
        let first = rows.num_rows().saturating_sub(self.appended);
        let written = [rows.slice(0, first)];
        let mut dataset = write_lance_with(uri, &written, params(WriteMode::Create)).await.unwrap();
        if self.indexed || self.keys == Some(KeyPath::Btree) {
            index(&mut dataset, "key").await.unwrap();
        }
        if first < rows.num_rows() {
            let appended = [rows.slice(first, rows.num_rows() - first)];
            dataset = write_lance_with(uri, &appended, params(WriteMode::Append)).await.unwrap();
        }
        if deleted.num_rows() > 0 {
            dataset.delete("deleted").await.unwrap();
        }
    }
}

/// The rows of both in turns, with a column that tells those to delete.
fn mingled(live: &RecordBatch, deleted: &RecordBatch) -> RecordBatch {
    let batches = [live, deleted].map(|batch| {
        let mark = BooleanArray::from(vec![std::ptr::eq(batch, deleted); batch.num_rows()]);
        let mut fields: Vec<_> = batch.schema().fields().iter().cloned().collect();
        fields.push(Arc::new(Field::new("deleted", DataType::Boolean, false)));
        let mut columns = batch.columns().to_vec();
        columns.push(Arc::new(mark) as ArrayRef);
        RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap()
    });
    let longest = live.num_rows().max(deleted.num_rows());
    let turns = (0..longest).flat_map(|row| [(0, row), (1, row)]);
    let turns: Vec<_> = turns.filter(|(batch, row)| *row < batches[*batch].num_rows()).collect();
    interleave_record_batch(&[&batches[0], &batches[1]], &turns).unwrap()
}
