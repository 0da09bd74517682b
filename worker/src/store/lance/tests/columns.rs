//! Blobs and JSON: what they are answered as, and how large they are taken to be.

use std::num::NonZeroUsize;

use arrow::{
    array::{LargeBinaryArray, ListArray},
    buffer::{NullBuffer, OffsetBuffer},
};
use lance::blob::{BlobArrayBuilder, BlobFieldOptions, blob_field_with_options};

use super::*;

type Bytes = Option<Vec<u8>>;

/// Blobs within the data file, in a file with others, and in a file of their own, an empty one and
/// nulls.
fn blobs(rows: usize) -> Vec<Bytes> {
    let blob = |row: usize| match row % 5 {
        0 => None,
        1 => Some(Vec::new()),
        2 => Some(vec![row as u8; 6]),
        3 => Some(vec![row as u8; 100]),
        _ => Some(vec![row as u8; 1000]),
    };
    (0..rows).map(blob).collect()
}

fn as_bytes(blobs: &[Bytes]) -> LargeBinaryArray {
    blobs.iter().map(Option::as_deref).collect()
}

/// Blobs as Lance keeps them beside its data files.
fn described(name: &str, blobs: &[Bytes]) -> (Field, ArrayRef) {
    let options = BlobFieldOptions::default()
        .with_inline_size_threshold(20)
        .with_dedicated_size_threshold(NonZeroUsize::new(500).unwrap());
    let mut builder = BlobArrayBuilder::new(blobs.len());
    for blob in blobs {
        match blob {
            Some(blob) => builder.push_bytes(blob).unwrap(),
            None => builder.push_null().unwrap(),
        }
    }
    (blob_field_with_options(name, true, options), builder.finish().unwrap())
}

/// Blobs as older versions of Lance keep them in their data files.
fn marked(name: &str, blobs: &[Bytes]) -> (Field, ArrayRef) {
    let metadata = HashMap::from([("lance-encoding:blob".to_owned(), "true".to_owned())]);
    let field = Field::new(name, DataType::LargeBinary, true).with_metadata(metadata);
    (field, Arc::new(as_bytes(blobs)))
}

fn json(name: &str, documents: &[Option<&str>]) -> (Field, ArrayRef) {
    let metadata = HashMap::from([("ARROW:extension:name".to_owned(), "arrow.json".to_owned())]);
    let field = Field::new(name, DataType::Utf8, true).with_metadata(metadata);
    (field, Arc::new(StringArray::from(documents.to_vec())))
}

/// The columns behind ids from 0.
fn with_ids(columns: Vec<(Field, ArrayRef)>) -> RecordBatch {
    let ids = Int64Array::from_iter_values(0..columns[0].1.len() as i64);
    let id = (Field::new("id", DataType::Int64, true), Arc::new(ids) as ArrayRef);
    let (fields, columns): (Vec<_>, Vec<_>) = [id].into_iter().chain(columns).unzip();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap()
}

async fn write_in(version: &str, columns: Vec<(Field, ArrayRef)>) -> StoredRows {
    let params = WriteParams {
        max_rows_per_file: 20,
        data_storage_version: Some(version.parse().unwrap()),
        ..Default::default()
    };
    write(with_ids(columns), params).await
}

/// The column at the ids, by every way.
async fn at(rows: &StoredRows, ids: &[i64], column: usize) -> ArrayRef {
    let found = ask(&rows.open("id").await, Int64Array::from(ids.to_vec()), &[column]).await;
    values(&found.unwrap(), 0)
}

async fn columns(rows: &StoredRows) -> Vec<Field> {
    let resolved = describe(&env(), rows.spec("id")).await.unwrap();
    resolved.schema().fields().iter().map(|field| field.as_ref().clone()).collect()
}

#[tokio::test]
async fn blobs_are_bytes_wherever_they_are_kept() {
    let all = blobs(50);
    let mut wanted: Vec<i64> = (0..50).step_by(3).chain([99]).collect();
    wanted.reverse();
    let expected = |version: &str, gone: &[i64]| -> LargeBinaryArray {
        let held = |id: &i64| (!gone.contains(id)).then(|| all.get(*id as usize)?.as_deref());
        // The first version does not tell what is empty from what is null.
        let told = |blob: &&[u8]| version != "legacy" || !blob.is_empty();
        wanted.iter().map(|id| held(id).flatten().filter(told)).collect()
    };
    for (version, column) in [
        ("legacy", marked("image", &all)),
        ("2.0", marked("image", &all)),
        ("2.1", marked("image", &all)),
        ("2.2", marked("image", &all)),
        ("2.2", described("image", &all)),
    ] {
        let mut rows = write_in(version, vec![column]).await;
        let image = Field::new("image", DataType::LargeBinary, true);
        assert_eq!(columns(&rows).await[1], image, "{version}");
        assert_eq!(at(&rows, &wanted, 1).await.as_ref(), &expected(version, &[]), "{version}");
        rows.delete("id = 3 OR id BETWEEN 20 AND 39").await;
        let gone: Vec<i64> = (20..40).chain([3]).collect();
        assert_eq!(at(&rows, &wanted, 1).await.as_ref(), &expected(version, &gone), "{version}");
        rows.compact().await;
        assert_eq!(at(&rows, &wanted, 1).await.as_ref(), &expected(version, &gone), "{version}");
    }
}

#[tokio::test]
async fn blobs_within_structs_are_bytes() {
    let all = blobs(30);
    let nulls: NullBuffer = (0..30).map(|row| row % 7 > 0).collect();
    let plain = Field::new("blob", DataType::LargeBinary, true);
    let bytes: ArrayRef = Arc::new(as_bytes(&all));
    let expected = StructArray::new(vec![plain].into(), vec![bytes], Some(nulls.clone()));
    for (version, (field, blobs)) in [
        ("2.1", marked("blob", &all)),
        ("2.2", marked("blob", &all)),
        ("2.2", described("blob", &all)),
    ] {
        let part = StructArray::new(vec![field].into(), vec![blobs], Some(nulls.clone()));
        let field = Field::new("part", part.data_type().clone(), true);
        let rows = write_in(version, vec![(field, Arc::new(part))]).await;
        let wanted: Vec<i64> = (0..30).collect();
        assert_eq!(at(&rows, &wanted, 1).await.as_ref(), &expected, "{version}");
    }
}

/// Lists of blobs of several lengths.
fn lists((field, blobs): (Field, ArrayRef)) -> (Field, ArrayRef) {
    let lengths = [0, 2, 3, 0, 1].into_iter().cycle().take(25);
    let lengths = OffsetBuffer::from_lengths(lengths);
    let list = ListArray::new(Arc::new(field.with_name("item")), lengths, blobs, None);
    (Field::new("list", list.data_type().clone(), true), Arc::new(list))
}

#[tokio::test]
async fn blobs_within_lists_are_bytes() {
    let all = blobs(30);
    let plain = Field::new("item", DataType::LargeBinary, true);
    let (_, expected) = lists((plain, Arc::new(as_bytes(&all))));
    for column in [marked("blob", &all), described("blob", &all)] {
        let rows = write_in("2.2", vec![lists(column)]).await;
        let wanted: Vec<i64> = (0..25).collect();
        assert_eq!(&at(&rows, &wanted, 1).await, &expected);
    }
}

#[tokio::test]
async fn blobs_that_lost_their_lists_are_refused_by_name() {
    let full: Vec<Bytes> = (0..30).map(|_| Some(vec![1])).collect();
    let rows = write_in("2.1", vec![lists(marked("blob", &full))]).await;
    let store = open(rows.spec("id")).await.unwrap();
    let error = ask(&store, Int64Array::from(vec![1]), &[1]).await.unwrap_err();
    let message = "KV store 'emb' cannot be read: column 'list' holds blobs within lists in files \
                   that do not say which blob is in which list; Lance keeps these from data \
                   storage version 2.2 on";
    assert_eq!(error, Error::invalid(message));
    // Who does not ask for the column does not mind.
    let found = ask(&store, Int64Array::from(vec![1]), &[0]).await.unwrap();
    assert_eq!(values(&found, 0).as_ref(), &Int64Array::from(vec![1]));
}

#[tokio::test]
async fn blobs_in_files_of_several_versions_are_one_column() {
    let all = blobs(20);
    let mut rows = write_in("2.1", vec![marked("image", &all)]).await;
    let more = with_ids(vec![marked("image", &all)]);
    let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(20..40));
    let more = RecordBatch::try_new(more.schema(), vec![ids, more.column(1).clone()]).unwrap();
    rows.append(more).await;
    let wanted = [39, 4, 22, 20, 21, 1, 0];
    let expected: LargeBinaryArray =
        wanted.iter().map(|id| all[*id as usize % 20].as_deref()).collect();
    assert_eq!(at(&rows, &wanted, 1).await.as_ref(), &expected);
}

#[tokio::test]
async fn json_is_text() {
    let documents = [Some(r#"{"n":[1,2]}"#), None, Some("null"), Some(r#""ü""#), Some("{}")];
    let part = |field: Field, documents: ArrayRef| {
        let part = StructArray::new(vec![Arc::new(field)].into(), vec![documents], None);
        (Field::new("part", part.data_type().clone(), true), Arc::new(part) as ArrayRef)
    };
    for version in ["legacy", "2.0", "2.1", "2.2"] {
        let (field, array) = json("doc", &documents);
        let columns = vec![(field.clone(), array.clone()), part(field, array)];
        let rows = write_in(version, columns).await;
        let doc = Field::new("doc", DataType::Utf8, true);
        let described = self::columns(&rows).await;
        assert_eq!(described[1], doc, "{version}");
        assert_eq!(described[2].data_type(), &DataType::Struct(vec![doc].into()), "{version}");
        let expected = StringArray::from(vec![documents[4], None, documents[0], documents[2]]);
        let found = at(&rows, &[4, 1, 0, 2], 1).await;
        assert_eq!(found.as_ref(), &expected, "{version}");
        let found = at(&rows, &[4, 1, 0, 2], 2).await;
        assert_eq!(found.as_struct().column(0).as_ref(), &expected, "{version}");
        // Spaces are not kept, so that they do not tell keys apart.
        let keys = StringArray::from(vec![r#"{"n":[1,2]}"#, r#"{"n": [1,2]}"#, "{}"]);
        let found = ask(&rows.open("doc").await, keys, &[0]).await.unwrap();
        let expected = Int64Array::from(vec![Some(0), None, Some(4)]);
        assert_eq!(values(&found, 0).as_ref(), &expected, "{version}");
    }
}

#[tokio::test]
async fn fields_are_answered_without_the_hints_of_lance() {
    let noted = |name: &str, key: &str, value: &str| {
        let metadata = HashMap::from([(key.to_owned(), value.to_owned())]);
        Field::new(name, DataType::Utf8, true).with_metadata(metadata)
    };
    let column = || Arc::new(StringArray::from(vec!["a"])) as ArrayRef;
    let inner = noted("inner", "lance-encoding:compression", "none");
    let part = StructArray::new(vec![Arc::new(inner)].into(), vec![column()], None);
    let rows = write_in(
        "2.2",
        vec![
            (noted("hinted", "lance-encoding:compression", "none"), column()),
            (noted("noted", "unit", "m"), column()),
            (Field::new("part", part.data_type().clone(), true), Arc::new(part)),
        ],
    )
    .await;
    let inner = Field::new("inner", DataType::Utf8, true);
    let expected = [
        Field::new("id", DataType::Int64, true),
        Field::new("hinted", DataType::Utf8, true),
        noted("noted", "unit", "m"),
        Field::new("part", DataType::Struct(vec![inner].into()), true),
    ];
    assert_eq!(columns(&rows).await, expected);
    for (column, field) in expected.iter().enumerate() {
        assert_eq!(at(&rows, &[0], column).await.data_type(), field.data_type());
    }
}

/// Bytes of an average value of each column, as a plan has them and as a request does.
async fn value_bytes(rows: &StoredRows) -> Vec<(u64, u64)> {
    let env = env();
    let resolved = describe(&env, rows.spec("id")).await.unwrap();
    let store = env.open(&resolved).await.unwrap();
    let planned = resolved.description.figures.clone().unwrap().value_bytes;
    let mut bytes = Vec::new();
    for (column, planned) in planned.into_iter().enumerate() {
        bytes.push((planned, store.row_bytes(&[column]).await.unwrap()));
    }
    bytes
}

#[tokio::test]
async fn the_figures_of_blobs_are_of_their_bytes() {
    let blobs: Vec<Bytes> = (0..20).map(|_| Some(vec![7; 50_000])).collect();
    let words = || {
        let words = StringArray::from_iter_values((0..20).map(word));
        (Field::new("word", DataType::Utf8, true), Arc::new(words) as ArrayRef)
    };
    for (version, column) in [
        ("2.0", marked("image", &blobs)),
        ("2.1", marked("image", &blobs)),
        ("2.2", marked("image", &blobs)),
        ("2.2", described("image", &blobs)),
    ] {
        let rows = write_in(version, vec![column, words()]).await;
        let bytes = value_bytes(&rows).await;
        let (planned, asked) = bytes[1];
        assert_eq!(planned, asked, "{version}");
        assert!((50_000..50_100).contains(&planned), "{version}: {planned}");
        // The blobs are not taken for bytes of the words beside them.
        assert!(bytes[2].0 < 1000, "{version}: {bytes:?}");
    }
}

/// Bytes of blobs whose descriptions cannot be read are a guess.
#[tokio::test]
async fn blobs_of_files_that_are_gone_are_taken_to_be_large() {
    let rows = write_in("2.2", vec![described("image", &blobs(20))]).await;
    std::fs::remove_dir_all(format!("{}/data", rows.uri)).unwrap();
    let described = describe(&env(), rows.spec("id")).await.unwrap();
    assert_eq!(described.description.figures.clone().unwrap().value_bytes, [8, 64 * 1024]);
}
