//! The figures of a snapshot by which the planner chooses a way to its rows.
//!
//! They come from the manifest alone, which opening the dataset has read: stores are described at
//! every job, and a look into each file would cost more than the choice gains. So the bytes of
//! values of variable length are what their files hold beside the columns of fixed width, in equal
//! shares. Compressed, they may be fewer than in memory.

use std::collections::{BTreeSet, HashMap};

use arrow::datatypes::SchemaRef;
use keyloom_common::{
    Result,
    store::{Figures, KeyIndex, LanceKey},
};
use lance::{
    Dataset,
    datatypes::Field,
    index::DatasetIndexExt,
    table::format::{Fragment, IndexMetadata},
};

use super::{column::fixed_width, error::from_lance, tasks};
use crate::store::StoreSettings;

/// Bytes of a value of variable length where the manifest does not say how large files are.
const UNKNOWN_VALUE_BYTES: u64 = 32;

/// The fewest bytes of a value of variable length: its offset and a little. Fixed columns that are
/// compressed leave too few.
const LEAST_VALUE_BYTES: u64 = 8;

/// The figures of the snapshot, with values by the columns of the schema.
///
/// # Errors
/// `store` if the manifest's list of indices cannot be read.
pub(super) async fn figures(
    dataset: Dataset,
    key: &LanceKey,
    schema: &SchemaRef,
    settings: &StoreSettings,
) -> Result<Figures> {
    let (key, schema) = (key.clone(), schema.clone());
    let bounds = (settings.max_key_map_bytes, settings.column_cache_bytes);
    tasks::run(async move {
        let figures = Figures {
            rows: rows(&dataset).await?,
            fragments: dataset.fragments().len() as u64,
            value_bytes: value_bytes(&dataset, &schema),
            key_index: key_index(&dataset, &key).await?,
            stable_row_ids: dataset.manifest.uses_stable_row_ids(),
            max_key_map_bytes: bounds.0,
            column_cache_bytes: bounds.1,
        };
        Ok(figures)
    })
    .await
}

/// The live rows. Manifests of old versions of Lance do not say.
async fn rows(dataset: &Dataset) -> Result<u64> {
    let known: Option<usize> = dataset.fragments().iter().map(Fragment::num_rows).sum();
    let rows = match known {
        Some(rows) => rows,
        None => dataset.count_rows(None).await.map_err(from_lance)?,
    };
    Ok(rows as u64)
}

/// The BTree index on the key column, if any of its segments says which fragments it covers.
async fn key_index(dataset: &Dataset, key: &LanceKey) -> Result<Option<KeyIndex>> {
    let LanceKey::Column(column) = key else { return Ok(None) };
    let Some(field) = dataset.schema().field(column) else { return Ok(None) };
    let is_btree = |index: &&IndexMetadata| {
        let details = index.index_details.as_ref();
        index.fields == [field.id]
            && details.is_some_and(|details| details.type_url.ends_with("BTreeIndexDetails"))
    };
    let indices = dataset.load_indices().await.map_err(from_lance)?;
    let segments: Vec<_> = indices.iter().filter(is_btree).collect();
    let covered = dataset.fragments().iter().filter(|fragment| {
        let bitmaps = segments.iter().filter_map(|segment| segment.fragment_bitmap.as_ref());
        u32::try_from(fragment.id).is_ok_and(|id| bitmaps.into_iter().any(|map| map.contains(id)))
    });
    let fragments = covered.count() as u64;
    Ok((!segments.is_empty()).then_some(KeyIndex { fragments }))
}

/// Bytes of an average value of each column.
fn value_bytes(dataset: &Dataset, schema: &SchemaRef) -> Vec<u64> {
    let columns: Vec<_> = dataset.schema().fields.iter().map(Column::new).collect();
    let shares = shares(dataset.fragments(), &columns);
    let by_name: HashMap<_, _> =
        columns.iter().zip(&shares).map(|(column, bytes)| (column.name, *bytes)).collect();
    let bytes = |name: &String| by_name.get(name.as_str()).copied().unwrap_or(UNKNOWN_VALUE_BYTES);
    schema.fields().iter().map(|field| bytes(field.name())).collect()
}

/// A column of the dataset as files name it.
struct Column<'a> {
    name: &'a str,
    /// Its field's id and those of the fields within.
    ids: Vec<i32>,
    /// The bytes of each value, if all have as many.
    width: Option<u64>,
}

impl<'a> Column<'a> {
    fn new(field: &'a Field) -> Self {
        let (mut ids, mut nested) = (Vec::new(), vec![field]);
        while let Some(field) = nested.pop() {
            ids.push(field.id);
            nested.extend(&field.children);
        }
        Self { name: &field.name, ids, width: fixed_width(&field.data_type()) }
    }
}

/// For each column the bytes of an average value.
fn shares(fragments: &[Fragment], columns: &[Column<'_>]) -> Vec<u64> {
    /// What the files that hold a column give it.
    #[derive(Clone, Default)]
    struct Share {
        bytes: u64,
        rows: u64,
    }
    let columns_by_id: HashMap<i32, usize> = columns
        .iter()
        .enumerate()
        .flat_map(|(index, column)| column.ids.iter().map(move |id| (*id, index)))
        .collect();
    let mut shares = vec![Share::default(); columns.len()];
    for fragment in fragments {
        let rows = fragment.physical_rows.unwrap_or_default() as u64;
        for file in &fragment.files {
            let Some(size) = file.file_size_bytes.get() else { continue };
            let held = file.fields.iter().filter_map(|id| columns_by_id.get(id).copied());
            let held: BTreeSet<usize> = held.collect();
            let fixed: u64 = held.iter().filter_map(|&index| columns[index].width).sum();
            let variable: Vec<_> =
                held.into_iter().filter(|&index| columns[index].width.is_none()).collect();
            let rest = size.get().saturating_sub(fixed.saturating_mul(rows));
            for &index in &variable {
                shares[index].bytes += rest / variable.len() as u64;
                shares[index].rows += rows;
            }
        }
    }
    let bytes = columns.iter().zip(shares).map(|(column, share)| match column.width {
        Some(width) => width,
        None if share.rows == 0 => UNKNOWN_VALUE_BYTES,
        None => (share.bytes / share.rows).max(LEAST_VALUE_BYTES),
    });
    bytes.collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::{
        array::{
            ArrayRef, BooleanArray, FixedSizeListArray, Int64Array, RecordBatch, StringArray,
            StructArray,
        },
        datatypes::Float32Type,
    };
    use keyloom_common::store::{StoreKind, StoreSpec};
    use lance::dataset::WriteParams;

    use super::*;
    use crate::store::contract::fixture::{batch, env, lance_spec, write_lance};

    const ROWS: i64 = 200;

    /// Columns of fixed width beside one of strings of `length` bytes.
    fn rows(length: usize) -> RecordBatch {
        let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(0..ROWS));
        let vector = |id| Some((0..4).map(move |element| Some((id + element) as f32)));
        let vectors =
            FixedSizeListArray::from_iter_primitive::<Float32Type, _, _>((0..ROWS).map(vector), 4);
        let flags: ArrayRef = Arc::new(BooleanArray::from_iter((0..ROWS).map(|id| Some(id > 3))));
        let both = StructArray::try_from(vec![("a", ids.clone()), ("b", flags.clone())]).unwrap();
        let word = |id| format!("{id:0length$}");
        batch(vec![
            ("id", ids),
            ("vector", Arc::new(vectors)),
            ("flag", flags),
            ("both", Arc::new(both)),
            ("word", Arc::new(StringArray::from_iter_values((0..ROWS).map(word)))),
        ])
    }

    async fn described(uri: &str) -> Figures {
        let kind = StoreKind::Lance(lance_spec(uri, "id"));
        let spec = StoreSpec { name: "own_name".to_owned(), kind };
        env().describe(&spec).await.unwrap().figures.unwrap()
    }

    #[tokio::test]
    async fn figures_come_from_the_manifest() {
        let dir = tempfile::tempdir().unwrap();
        let uri = dir.path().join("rows.lance").to_string_lossy().into_owned();
        let params = WriteParams { max_rows_per_file: 50, ..Default::default() };
        let mut dataset = write_lance(&uri, rows(2000), params).await;
        dataset.delete("id < 10").await.unwrap();
        let files = std::fs::read_dir(dir.path().join("rows.lance/data")).unwrap();
        let stored: u64 = files.map(|file| file.unwrap().metadata().unwrap().len()).sum();
        // Nothing more is read of the files.
        std::fs::remove_dir_all(dir.path().join("rows.lance/data")).unwrap();

        let fixed = [8, 16, 1, 9];
        let rest = stored - 200 * fixed.iter().sum::<u64>();
        let value_bytes = [fixed.as_slice(), &[rest / 200]].concat();
        let settings = StoreSettings::default();
        let expected = Figures {
            rows: 190,
            fragments: 4,
            value_bytes,
            key_index: None,
            stable_row_ids: false,
            max_key_map_bytes: settings.max_key_map_bytes,
            column_cache_bytes: settings.column_cache_bytes,
        };
        assert_eq!(described(&uri).await, expected);
    }

    #[tokio::test]
    async fn small_values_have_bytes_too() {
        let dir = tempfile::tempdir().unwrap();
        let uri = dir.path().join("rows.lance").to_string_lossy().into_owned();
        write_lance(&uri, rows(0), WriteParams::default()).await;
        assert!(described(&uri).await.value_bytes[4] >= LEAST_VALUE_BYTES);
    }
}
