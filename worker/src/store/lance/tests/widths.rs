//! Columns that are narrow in one fragment and wide in the next: whatever is read is cut by what
//! its own rows weigh.

use lance::dataset::NewColumnTransform;

use super::*;
use crate::store::{lance::keys::coder::spread, value_bytes};

/// Rows whose documents are small.
const NARROW: i64 = 1000;

/// Rows behind them whose documents are large.
const WIDE: i64 = 60;

/// Bytes of a large document.
const LENGTH: usize = 40_000;

/// What a read is to bring: two large documents.
const READ_BYTES: usize = 100_000;

/// Ids of a range, each with a document.
fn documents(ids: Range<i64>, document: impl Fn(i64) -> Option<String>) -> RecordBatch {
    let documents: StringArray = ids.clone().map(document).collect();
    batch(vec![
        ("id", Arc::new(Int64Array::from_iter_values(ids)) as ArrayRef),
        ("doc", Arc::new(documents) as ArrayRef),
    ])
}

fn none(_id: i64) -> Option<String> {
    None
}

fn small(id: i64) -> Option<String> {
    Some(format!("{id}"))
}

/// Hardly to be compressed.
fn noise(id: i64) -> Option<String> {
    let letter =
        |at: usize| char::from(b'a' + (spread(id as u64 * 1_000_003 + at as u64) >> 32) as u8 % 26);
    Some((0..LENGTH).map(letter).collect())
}

/// Each a few bytes in its file.
fn compressible(id: i64) -> Option<String> {
    Some(format!("{id:x>LENGTH$}"))
}

/// All together a few bytes in their file.
fn same(_id: i64) -> Option<String> {
    Some("x".repeat(LENGTH))
}

/// An environment with room for a part of the large documents.
fn small_reads() -> StoreEnv {
    let settings = StoreSettings {
        read_bytes: READ_BYTES,
        column_cache_bytes: 10 * READ_BYTES as u64,
        ..StoreSettings::default()
    };
    StoreEnv::new(settings, Arc::new(Blobs::default()))
}

/// Asks for all documents by each way to rows, twice, and checks them and the arrays in which they
/// are.
async fn check(rows: &StoredRows, expected: impl Fn(i64) -> Option<String>, case: &str) {
    let mut ids: Vec<i64> = (0..NARROW + WIDE).collect();
    ids.sort_by_key(|id| spread(*id as u64));
    let expected: StringArray = ids.iter().map(|id| expected(*id)).collect();
    for path in [RowPath::Take, RowPath::Scan] {
        let env = small_reads();
        let access = ForcedAccess { keys: None, rows: Some(path) };
        let spec = LanceSpec { access, ..rows.spec("id") };
        let store = env.open(&describe(&env, spec).await.unwrap()).await.unwrap();
        for _ in 0..2 {
            let found = ask(&store, Int64Array::from(ids.clone()), &[1]).await.unwrap();
            let largest = found.columns[0].pieces.iter().map(value_bytes).max().unwrap();
            assert!(largest <= 2 * READ_BYTES as u64, "{case} by {path:?}: {largest} bytes");
            assert_eq!(values(&found, 0).as_ref(), &expected, "{case} by {path:?}");
        }
        // What is to hold answers has room for large ones, wherever they stand.
        let bytes = store.row_bytes(&[1]).await.unwrap();
        assert!((LENGTH as u64 / 2..4 * LENGTH as u64).contains(&bytes), "{case}: {bytes}");
    }
}

/// A way to make documents, by its name.
type Documents = (&'static str, fn(i64) -> Option<String>);

#[tokio::test]
async fn large_values_behind_small_ones_are_read_a_few_at_once() {
    let narrow: [Documents; 2] = [("none", none), ("small", small)];
    let wide: [Documents; 3] = [("noise", noise), ("compressible", compressible), ("same", same)];
    for version in ["legacy", "2.0", "2.1", "2.2"] {
        for ((before, narrow), (after, wide)) in
            narrow.iter().zip(&wide).chain([(&narrow[0], &wide[2])])
        {
            let data_storage_version = Some(version.parse().unwrap());
            let params = WriteParams { data_storage_version, ..Default::default() };
            let mut rows = write(documents(0..NARROW, narrow), params).await;
            rows.append(documents(NARROW..NARROW + WIDE, wide)).await;
            assert_eq!(rows.dataset.get_fragments().len(), 2);
            let expected = |id| if id < NARROW { narrow(id) } else { wide(id) };
            check(&rows, expected, &format!("{before}, then {after} in {version}")).await;
        }
    }
}

#[tokio::test]
async fn a_column_that_was_added_later_is_read_a_few_rows_at_once() {
    let wide: [Documents; 2] = [("noise", noise), ("same", same)];
    for (name, wide) in wide {
        let ids = Arc::new(Int64Array::from_iter_values(0..NARROW)) as ArrayRef;
        let mut rows = write(batch(vec![("id", ids)]), WriteParams::default()).await;
        let added = Schema::new(vec![Field::new("doc", DataType::Utf8, true)]);
        let added = NewColumnTransform::AllNulls(Arc::new(added));
        rows.dataset.add_columns(added, None, None).await.unwrap();
        rows.append(documents(NARROW..NARROW + WIDE, wide)).await;
        let expected = |id| if id < NARROW { None } else { wide(id) };
        check(&rows, expected, name).await;
    }
}

#[tokio::test]
async fn keys_of_several_columns_that_are_cut_differently_are_found() {
    let ids = NARROW - 20..NARROW + 20;
    let mut rows = write(documents(ids.start..NARROW, small), WriteParams::default()).await;
    rows.append(documents(NARROW..ids.end, compressible)).await;
    let all = |id| if id < NARROW { small(id) } else { compressible(id) };
    let asked: Vec<i64> = ids.rev().step_by(3).collect();
    let documents: StringArray = asked.iter().map(|id| all(*id)).collect();
    let keys = StructArray::from(vec![
        (
            Arc::new(Field::new("doc", DataType::Utf8, true)),
            Arc::new(documents.clone()) as ArrayRef,
        ),
        (
            Arc::new(Field::new("id", DataType::Int64, true)),
            Arc::new(Int64Array::from(asked.clone())) as ArrayRef,
        ),
    ]);
    for column_cache_bytes in [0, 1 << 30] {
        let settings =
            StoreSettings { read_bytes: READ_BYTES, column_cache_bytes, ..Default::default() };
        let env = StoreEnv::new(settings, Arc::new(Blobs::default()));
        let spec = rows.spec("doc,id");
        let store = env.open(&describe(&env, spec).await.unwrap()).await.unwrap();
        let found = ask(&store, keys.clone(), &[0, 1]).await.unwrap();
        assert_eq!(values(&found, 0).as_ref(), &Int64Array::from(asked.clone()));
        assert_eq!(values(&found, 1).as_ref(), &documents);
    }
}
