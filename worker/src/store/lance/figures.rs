//! The figures of a snapshot by which the planner chooses a way to its rows.
//!
//! They come from the manifest, which opening the dataset has read: stores are described at every
//! job, and a look into each file would cost more than the choice gains. So the bytes of values of
//! variable length are what their files hold beside the columns of fixed width; if there are
//! several such columns, the ends of a few files say how they share. Compressed, they may be fewer
//! than in memory. Of blobs, which may be in other files, a few descriptions are read once.

mod mapped;
mod weights;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use arrow::datatypes::{Field as ArrowField, SchemaRef};
use futures::{future::join_all, try_join};
use keyloom_common::{
    Error, Result,
    store::{Figures, KeyIndex, LanceFigures},
};
use lance::{
    Dataset,
    dataset::fragment::FileFragment,
    datatypes::Field,
    index::DatasetIndexExt,
    table::format::{DataFile, Fragment, IndexMetadata},
};

use self::{mapped::mapped, weights::Weights};
use super::{
    column::fixed_width,
    error::from_lance,
    files::blobs::{self, BlobSizes},
    kept::caches::Caches,
    tasks,
};

/// Bytes of a value of variable length where the manifest does not say how large files are.
const UNKNOWN_VALUE_BYTES: u64 = 32;

/// The fewest bytes of a value of variable length: its offset and a little. Fixed columns that are
/// compressed leave too few.
const LEAST_VALUE_BYTES: u64 = 8;

/// The figures of the snapshot at a URI, with values by the columns of the schema.
///
/// # Errors
/// `store` if the manifest's list of indices cannot be read.
pub(super) async fn figures(
    dataset: Dataset,
    uri: &str,
    schema: &SchemaRef,
    caches: &Arc<Caches>,
) -> Result<Figures> {
    let (schema, caches, uri) = (schema.clone(), caches.clone(), uri.to_owned());
    let bounds = (caches.maps.most().max(caches.folder_bytes()), caches.blocks.most());
    tasks::run(async move {
        let value_bytes = async { Ok(value_bytes(&dataset, &schema, &caches).await) };
        let (rows, value_bytes, btrees) =
            try_join!(rows(&dataset), value_bytes, btrees(&dataset, &schema))?;
        let mapped = mapped(&dataset, &uri, &caches).await?;
        let figures = LanceFigures {
            rows,
            fragments: dataset.fragments().len() as u64,
            value_bytes,
            btrees,
            stable_row_ids: dataset.manifest.uses_stable_row_ids(),
            max_key_map_bytes: bounds.0,
            // The coordinator's to say.
            max_key_set_bytes: 0,
            column_cache_bytes: bounds.1,
            maps_stay: caches.folder_bytes() > 0,
            mapped: mapped.keys,
        };
        figures.described(mapped.unique)
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

/// The BTree indices on single columns, where a segment says which fragments it covers.
async fn btrees(dataset: &Dataset, schema: &SchemaRef) -> Result<BTreeMap<String, KeyIndex>> {
    let indices = dataset.load_indices().await.map_err(from_lance)?;
    let is_btree = |index: &&IndexMetadata| {
        let details = index.index_details.as_ref();
        details.is_some_and(|details| details.type_url.ends_with("BTreeIndexDetails"))
    };
    let btrees: Vec<_> = indices.iter().filter(is_btree).collect();
    let fields = dataset.schema().fields.iter();
    // It holds keys as they are stored.
    let as_stored = |field: &&Field| {
        let stored = ArrowField::from(*field);
        let answered = schema.field_with_name(&field.name);
        answered.is_ok_and(|answered| answered.data_type() == stored.data_type())
    };
    let known = fields.filter(as_stored);
    let index = |field: &Field| {
        let of_field = btrees.iter().filter(|index| index.fields == [field.id]).copied();
        let index = key_index(dataset, &of_field.collect::<Vec<_>>())?;
        Some((field.name.clone(), index))
    };
    Ok(known.filter_map(index).collect())
}

/// What the segments of an index cover, if there are any.
fn key_index(dataset: &Dataset, segments: &[&IndexMetadata]) -> Option<KeyIndex> {
    let covered = dataset.fragments().iter().filter(|fragment| {
        let bitmaps = segments.iter().filter_map(|segment| segment.fragment_bitmap.as_ref());
        u32::try_from(fragment.id).is_ok_and(|id| bitmaps.into_iter().any(|map| map.contains(id)))
    });
    let fragments = covered.count() as u64;
    (!segments.is_empty()).then_some(KeyIndex { fragments })
}

/// Bytes of an average value of each column.
async fn value_bytes(dataset: &Dataset, schema: &SchemaRef, caches: &Caches) -> Vec<u64> {
    let columns = dataset.schema().fields.iter().map(|field| Column::new(dataset, field, caches));
    let columns = join_all(columns).await;
    let averages = averages(dataset, &columns, caches).await;
    let by_name: HashMap<_, _> =
        columns.iter().zip(&averages).map(|(column, bytes)| (column.name, *bytes)).collect();
    let bytes = |name: &String| by_name.get(name.as_str()).copied().unwrap_or(UNKNOWN_VALUE_BYTES);
    schema.fields().iter().map(|field| bytes(field.name())).collect()
}

/// A column of the dataset as files name it.
struct Column<'a> {
    name: &'a str,
    /// Its field's id and those of the fields within.
    ids: Vec<i32>,
    /// The bytes of each value, if all have as many, or about those of blobs.
    known: Option<BlobSizes>,
}

impl<'a> Column<'a> {
    async fn new(dataset: &Dataset, field: &'a Field, caches: &Caches) -> Self {
        let (mut ids, mut nested) = (Vec::new(), vec![field]);
        while let Some(field) = nested.pop() {
            ids.push(field.id);
            nested.extend(&field.children);
        }
        let known = if blobs::has_described(dataset, field) {
            Some(blob_sizes(dataset, field, caches).await)
        } else {
            let width = fixed_width(&field.data_type());
            width.map(|width| BlobSizes { value: width, in_file: width })
        };
        Self { name: &field.name, ids, known }
    }
}

/// By descriptions in the first fragment that has some, which are read once.
async fn blob_sizes(dataset: &Dataset, field: &Field, caches: &Caches) -> BlobSizes {
    let fragments = dataset.get_fragments();
    let rows = |fragment: &FileFragment| fragment.metadata().physical_rows.unwrap_or_default();
    let Some(fragment) = fragments.into_iter().find(|fragment| rows(fragment) > 0) else {
        return BlobSizes::UNKNOWN;
    };
    let paths = fragment.metadata().files.iter().map(|file| file.path.as_str());
    let files = paths.collect::<Vec<_>>().join(", ");
    let name: Arc<str> =
        format!("blobs of field {} in {files} of {}", field.id, dataset.uri()).into();
    let rows = rows(&fragment).try_into().unwrap_or(u32::MAX);
    let read = async {
        let sizes = blobs::sizes(&fragment, field, rows).await?;
        let BlobSizes { value, in_file } = BlobSizes::mean(&sizes).unwrap_or(BlobSizes::UNKNOWN);
        Ok::<_, Error>(Arc::from([value, in_file]))
    };
    match caches.column_bytes.get_or_insert_async(&name, read).await.as_deref() {
        Ok(&[value, in_file]) => BlobSizes { value, in_file },
        // Whoever needs their values will say what is wrong.
        _ => BlobSizes::UNKNOWN,
    }
}

/// What a data file holds of some columns.
struct Held<'a> {
    file: &'a DataFile,
    rows: u64,
    /// The columns of variable length, in order.
    variable: Vec<usize>,
    /// Their bytes, all together.
    bytes: u64,
}

/// For each column the bytes of an average value.
async fn averages(dataset: &Dataset, columns: &[Column<'_>], caches: &Caches) -> Vec<u64> {
    let mut weights = Weights::new(dataset, caches);
    let mut totals = vec![(0_u64, 0_u64); columns.len()];
    for held in held(dataset.fragments(), columns) {
        let fields = held.variable.iter().map(|&column| columns[column].ids.as_slice());
        let shares = weights.shares(&held, &fields.collect::<Vec<_>>()).await;
        for (&column, share) in held.variable.iter().zip(shares) {
            totals[column].0 += share;
            totals[column].1 += held.rows;
        }
    }
    let average = |(column, (bytes, rows)): (&Column<'_>, (u64, u64))| match column.known {
        Some(known) => known.value,
        None if rows == 0 => UNKNOWN_VALUE_BYTES,
        None => (bytes / rows).max(LEAST_VALUE_BYTES),
    };
    columns.iter().zip(totals).map(average).collect()
}

/// The files whose size is known.
fn held<'a>(fragments: &'a [Fragment], columns: &[Column<'_>]) -> Vec<Held<'a>> {
    let ids = columns.iter().enumerate();
    let columns_by_id: HashMap<i32, usize> =
        ids.flat_map(|(index, column)| column.ids.iter().map(move |id| (*id, index))).collect();
    let held = |rows: u64, file: &'a DataFile| {
        let size = file.file_size_bytes.get()?;
        let held = file.fields.iter().filter_map(|id| columns_by_id.get(id).copied());
        let held: BTreeSet<usize> = held.collect();
        let fixed: u64 =
            held.iter().filter_map(|&index| columns[index].known.map(|known| known.in_file)).sum();
        let variable = held.into_iter().filter(|&index| columns[index].known.is_none()).collect();
        let bytes = size.get().saturating_sub(fixed.saturating_mul(rows));
        Some(Held { file, rows, variable, bytes })
    };
    let files = fragments.iter().flat_map(|fragment| {
        let rows = fragment.physical_rows.unwrap_or_default() as u64;
        fragment.files.iter().map(move |file| (rows, file))
    });
    files.filter_map(|(rows, file)| held(rows, file)).collect()
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
    use lance::dataset::{WriteMode, WriteParams};

    use super::{super::keys::coder::spread, *};
    use crate::store::{
        StoreSettings,
        contract::fixture::{batch, env, lance_spec, write_lance},
    };

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

    async fn described(uri: &str) -> LanceFigures {
        let spec = lance_spec(uri, "id").named("own_name");
        LanceFigures::of(&env().describe(&spec).await.unwrap().figures.unwrap()).unwrap()
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
        let expected = LanceFigures {
            rows: 190,
            fragments: 4,
            value_bytes,
            btrees: BTreeMap::new(),
            stable_row_ids: false,
            max_key_map_bytes: settings.max_key_map_bytes,
            max_key_set_bytes: 0,
            column_cache_bytes: settings.column_cache_bytes,
            maps_stay: false,
            mapped: BTreeSet::new(),
        };
        assert_eq!(described(&uri).await, expected);
    }

    /// Two columns of strings: of 20 letters, and of so many.
    fn texts(long: u64) -> RecordBatch {
        let noise = |length: u64, row: u64| -> String {
            let letter = |at| char::from(b'a' + (spread(row * length + at) >> 32) as u8 % 26);
            (0..length).map(letter).collect()
        };
        let texts = |length: u64| -> ArrayRef {
            Arc::new(StringArray::from_iter_values((0..200).map(|row| noise(length, row))))
        };
        let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(0..ROWS));
        batch(vec![("id", ids), ("short", texts(20)), ("long", texts(long))])
    }

    /// The first file does not tell how the columns of the second one share.
    #[tokio::test]
    async fn a_column_that_grew_is_not_taken_for_what_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let uri = dir.path().join("rows.lance").to_string_lossy().into_owned();
        write_lance(&uri, texts(20), WriteParams::default()).await;
        let append = WriteParams { mode: WriteMode::Append, ..Default::default() };
        write_lance(&uri, texts(4000), append).await;
        let bytes = described(&uri).await.value_bytes;
        assert!((8..80).contains(&bytes[1]) && bytes[2] > 400, "{bytes:?}");
    }

    #[tokio::test]
    async fn the_end_of_one_file_says_how_columns_share() {
        let dir = tempfile::tempdir().unwrap();
        let uri = dir.path().join("rows.lance").to_string_lossy().into_owned();
        let params = WriteParams { max_rows_per_file: 50, ..Default::default() };
        write_lance(&uri, texts(4000), params).await;
        let bytes = described(&uri).await.value_bytes;
        let sum = bytes[1] + bytes[2];
        // Letters are compressed: how much is Lance's affair.
        assert!((8..60).contains(&bytes[1]) && bytes[2] > 800, "{bytes:?}");

        // Of files that cannot be read, columns count alike.
        std::fs::remove_dir_all(dir.path().join("rows.lance/data")).unwrap();
        let bytes = described(&uri).await.value_bytes;
        assert_eq!(bytes[1], bytes[2]);
        assert!(bytes[1].abs_diff(sum / 2) <= 1, "{bytes:?} of {sum}");
    }

    #[tokio::test]
    async fn small_values_have_bytes_too() {
        let dir = tempfile::tempdir().unwrap();
        let uri = dir.path().join("rows.lance").to_string_lossy().into_owned();
        write_lance(&uri, rows(0), WriteParams::default()).await;
        assert!(described(&uri).await.value_bytes[4] >= LEAST_VALUE_BYTES);
    }
}
