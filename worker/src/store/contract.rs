//! What every store must do, run against each implementation.
//!
//! A case makes a store from rows, asks it, and compares values exactly.

pub(super) mod fixture;
pub(super) mod generate;

use std::{collections::HashMap, sync::Arc};

use arrow::{
    array::{
        Array, ArrayRef, BinaryArray, BooleanArray, Date32Array, Date64Array, Decimal128Array,
        FixedSizeBinaryArray, FixedSizeListArray, Float32Array, Int32Array, Int64Array,
        LargeBinaryArray, LargeStringArray, ListArray, RecordBatch, StringArray, StructArray,
        Time32MillisecondArray, Time64NanosecondArray, TimestampMicrosecondArray,
        TimestampMillisecondArray, TimestampNanosecondArray, TimestampSecondArray, UInt8Array,
        UInt64Array,
    },
    buffer::NullBuffer,
    compute::{cast, take},
    datatypes::{DataType, Field, Fields, Float32Type, Int32Type, Schema},
};
use bytes::Bytes;
use keyloom_common::{
    BlobId, Error, ErrorKind,
    store::{
        Access, AttachedStore, KeyColumns, ResolvedStore, StoreDescription, StoreKey, StoreSpec,
    },
};

use self::{
    fixture::{
        Blobs, Fixture, array, batch, env, held, ipc, memory_spec, open, toy_spec, toy_with, values,
    },
    generate::{Dice, Mood, common_columns, values as generated},
};
use super::{KeyRows, OpenStores, Place, Request, StoreEnv, StoreSettings};

fn three_columns() -> RecordBatch {
    batch(vec![
        ("id", array(Int64Array::from(vec![30, 10, -5, 20, i64::MAX, i64::MIN, 0]))),
        (
            "name",
            array(StringArray::from(vec![
                Some("c"),
                Some("a"),
                None,
                Some("b"),
                Some("x"),
                Some("y"),
                Some(""),
            ])),
        ),
        ("score", array(Float32Array::from(vec![3.0, 1.0, -0.5, 2.0, f32::MAX, f32::MIN, 0.0]))),
    ])
}

async fn found_and_missing(make: impl AsyncFn(RecordBatch, &str) -> Fixture) {
    let fixture = make(three_columns(), "id").await;
    let keys = array(Int64Array::from(vec![20, 99, -5, i64::MIN, 30, -99]));
    let found = fixture.ask(keys, &["name"]).await;
    assert_eq!(held(&found), [true, false, true, true, true, false]);
    let expected = StringArray::from(vec![Some("b"), None, None, Some("y"), Some("c"), None]);
    assert_eq!(values(&found, 0).as_ref(), &expected);
    assert!(found.stats.rows_taken + found.stats.rows_scanned >= 4);
    assert!(found.stats.bytes > 0);
}

async fn columns_come_in_the_order_asked(make: impl AsyncFn(RecordBatch, &str) -> Fixture) {
    let fixture = make(three_columns(), "id").await;
    let keys = array(Int64Array::from(vec![10, 0]));
    let found = fixture.ask(keys.clone(), &["score", "id"]).await;
    assert_eq!(found.columns.len(), 2);
    assert_eq!(values(&found, 0).as_ref(), &Float32Array::from(vec![1.0, 0.0]));
    assert_eq!(values(&found, 1).as_ref(), keys.as_ref());
    let all = fixture.ask(keys, &["id", "name", "score"]).await;
    let types: Vec<_> = (0..3).map(|column| values(&all, column).data_type().clone()).collect();
    let expected: Vec<_> = fixture.schema.fields().iter().map(|f| f.data_type().clone()).collect();
    assert_eq!(types, expected);
}

async fn existence_reads_no_values(make: impl AsyncFn(RecordBatch, &str) -> Fixture) {
    let fixture = make(three_columns(), "id").await;
    let found = fixture.ask(array(Int64Array::from(vec![1, 10, 30])), &[]).await;
    assert_eq!(held(&found), [false, true, true]);
    assert!(found.columns.is_empty());
    assert_eq!((found.stats.bytes, found.stats.rows_taken, found.stats.rows_scanned), (0, 0, 0));
}

async fn no_keys_give_no_rows(make: impl AsyncFn(RecordBatch, &str) -> Fixture) {
    let fixture = make(three_columns(), "id").await;
    for columns in [&["score", "name"][..], &[]] {
        let found = fixture.ask(array(Int64Array::from(Vec::<i64>::new())), columns).await;
        assert!(held(&found).is_empty());
        assert_eq!(found.columns.len(), columns.len());
        assert!(found.columns.iter().all(|values| values.places.is_empty()));
    }
    let found = fixture.ask(array(Int64Array::from(vec![7, 8])), &["name"]).await;
    assert_eq!(held(&found), [false, false]);
    assert_eq!(found.columns[0].places.as_ref(), [Place::NONE; 2]);
}

async fn keys_of_every_type(make: impl AsyncFn(RecordBatch, &str) -> Fixture) {
    let bytes: Vec<&[u8]> = vec![b"\x00\xff", b"", b"it's", b"a key longer than twelve bytes"];
    let words = vec!["plain", "", "it's \"quoted\"", "ключ, longer than twelve bytes"];
    let columns = [
        array(UInt8Array::from(vec![0, 255, 7, 128])),
        array(Int32Array::from(vec![0, -1, i32::MAX, i32::MIN])),
        array(UInt64Array::from(vec![0, u64::MAX, 1 << 63, 7])),
        array(StringArray::from(words.clone())),
        array(LargeStringArray::from(words)),
        array(BinaryArray::from(bytes.clone())),
        array(LargeBinaryArray::from(bytes)),
        array(
            FixedSizeBinaryArray::try_from_iter([b"aa", b"ab", b"ba", b"\0\0"].into_iter())
                .unwrap(),
        ),
        array(Date32Array::from(vec![0, -1, 20_000, i32::MAX])),
        array(Date64Array::from(vec![0, -86_400_000, 86_400_000, 1 << 50])),
        array(Time32MillisecondArray::from(vec![0, 1, 86_399_999, 5])),
        array(Time64NanosecondArray::from(vec![0, 1, 86_399_999_999_999, 5])),
        array(TimestampSecondArray::from(vec![0, -1, 1 << 40, 7])),
        array(TimestampMillisecondArray::from(vec![0, -1, 1 << 50, 7]).with_timezone("UTC")),
        array(TimestampMicrosecondArray::from(vec![0, -1, i64::MAX, i64::MIN])),
        array(TimestampNanosecondArray::from(vec![0, -1, i64::MAX, i64::MIN + 1])),
        decimals(&[0, -1, 99_999, 12_345], 5, 2),
        decimals(&[0, -1, 10_i128.pow(38) - 1, 1 << 64], 38, 10),
    ];
    for keys in columns {
        let rows =
            batch(vec![("v", array(Int32Array::from(vec![0, 1, 2, 3]))), ("k", keys.clone())]);
        // The last row's key is asked for, too, but its row is not there.
        let fixture = make(rows.slice(0, 3), "k").await;
        let order = UInt64Array::from(vec![2, 3, 0, 1]);
        let wanted = take(&keys, &order, None).unwrap();
        let found = fixture.ask(wanted.clone(), &["v"]).await;
        let expected = Int32Array::from(vec![Some(2), None, Some(0), Some(1)]);
        assert_eq!(values(&found, 0).as_ref(), &expected, "{}", keys.data_type());
        let found = fixture.ask(wanted, &[]).await;
        assert_eq!(held(&found), [true, false, true, true], "{}", keys.data_type());
    }
}

fn decimals(values: &[i128], precision: u8, scale: i8) -> ArrayRef {
    let values = Decimal128Array::from_iter_values(values.iter().copied());
    array(values.with_precision_and_scale(precision, scale).unwrap())
}

async fn keys_that_are_booleans(make: impl AsyncFn(RecordBatch, &str) -> Fixture) {
    let keys = |keys: &[bool]| array(BooleanArray::from(keys.to_vec()));
    let rows = batch(vec![("k", keys(&[false, true])), ("v", array(Int32Array::from(vec![0, 1])))]);
    let both = make(rows.clone(), "k").await;
    let found = both.ask(keys(&[true, false]), &["v"]).await;
    assert_eq!(values(&found, 0).as_ref(), &Int32Array::from(vec![1, 0]));
    let one = make(rows.slice(0, 1), "k").await;
    assert_eq!(held(&one.ask(keys(&[true, false]), &[]).await), [false, true]);
}

async fn keys_of_several_columns(make: impl AsyncFn(RecordBatch, &str) -> Fixture) {
    let cities = ["a", "ab", "a", "ab", "", "a name longer than twelve bytes"];
    let days = [1, 1, 2, 2, 1, -7];
    let rows = batch(vec![
        ("day", array(Date32Array::from(days.to_vec()))),
        ("v", array(Int32Array::from(vec![0, 1, 2, 3, 4, 5]))),
        ("city", array(StringArray::from(cities.to_vec()))),
    ]);
    let fixture = make(rows, "city,day").await;
    let keys = |keys: &[(&str, i32)]| {
        let (cities, days): (Vec<_>, Vec<_>) = keys.iter().copied().unzip();
        let part = |name, part: ArrayRef| {
            (Arc::new(Field::new(name, part.data_type().clone(), true)), part)
        };
        array(StructArray::from(vec![
            part("city", array(StringArray::from(cities))),
            part("day", array(Date32Array::from(days))),
        ]))
    };
    let asked = keys(&[("ab", 2), ("a", 3), ("", 1), ("b", 1), (cities[5], -7), ("a", 1)]);
    let found = fixture.ask(asked.clone(), &["v", "city"]).await;
    let expected = Int32Array::from(vec![Some(3), None, Some(4), None, Some(5), Some(0)]);
    assert_eq!(values(&found, 0).as_ref(), &expected);
    let expected =
        StringArray::from(vec![Some("ab"), None, Some(""), None, Some(cities[5]), Some("a")]);
    assert_eq!(values(&found, 1).as_ref(), &expected);
    let found = fixture.ask(asked, &[]).await;
    assert_eq!(held(&found), [true, false, true, false, true, true]);
    let none = fixture.ask(keys(&[]), &["v"]).await;
    assert!(held(&none).is_empty());
}

async fn many_keys_of_several_columns(make: impl AsyncFn(RecordBatch, &str) -> Fixture) {
    const ROWS: i64 = 5_000;
    let numbers = array(Int64Array::from_iter_values((0..ROWS).map(|row| row % 70)));
    let words = (0..ROWS).map(|row| format!("word {}", row / 70));
    let words = array(StringArray::from_iter_values(words));
    let rows = batch(vec![
        ("number", numbers.clone()),
        ("word", words.clone()),
        ("row", array(Int64Array::from_iter_values(0..ROWS))),
    ]);
    let fixture = make(rows.clone(), "number,word").await;
    let part =
        |name, part: ArrayRef| (Arc::new(Field::new(name, part.data_type().clone(), true)), part);
    let keys = StructArray::from(vec![part("number", numbers), part("word", words)]);
    let found = fixture.ask(array(keys), &["row"]).await;
    assert_eq!(&values(&found, 0), rows.column(2));
}

async fn keys_of_a_dictionary(make: impl AsyncFn(RecordBatch, &str) -> Fixture) {
    let dictionary = DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8));
    let keys = |words: Vec<&str>| cast(&array(StringArray::from(words)), &dictionary).unwrap();
    let rows = batch(vec![
        ("k", keys(vec!["a", "b", "c", "d"])),
        ("v", array(Int32Array::from(vec![0, 1, 2, 3]))),
    ]);
    let fixture = make(rows, "k").await;
    let found = fixture.ask(keys(vec!["d", "x", "a"]), &["v"]).await;
    assert_eq!(values(&found, 0).as_ref(), &Int32Array::from(vec![Some(3), None, Some(0)]));
}

/// Values of every shape, with nulls at each level.
fn shapes() -> RecordBatch {
    let vectors = FixedSizeListArray::from_iter_primitive::<Float32Type, _, _>(
        [
            Some(vec![Some(1.0), Some(2.0)]),
            None,
            Some(vec![Some(5.0), Some(6.0)]),
            Some(vec![Some(7.0), Some(8.0)]),
        ],
        2,
    );
    let lists = ListArray::from_iter_primitive::<Int32Type, _, _>([
        Some(vec![Some(1), None]),
        Some(vec![]),
        None,
        Some(vec![Some(4)]),
    ]);
    let inner = StructArray::from(vec![(
        Arc::new(Field::new("deep", DataType::Utf8, true)),
        array(StringArray::from(vec![Some("p"), None, Some("q"), Some("r")])),
    )]);
    let fields = Fields::from(vec![
        Field::new("number", DataType::Int32, true),
        Field::new("inner", inner.data_type().clone(), true),
    ]);
    let structs = StructArray::new(
        fields,
        vec![array(Int32Array::from(vec![Some(1), None, Some(3), Some(4)])), array(inner)],
        Some(NullBuffer::from(vec![true, true, true, false])),
    );
    batch(vec![
        ("k", array(StringArray::from(vec!["a", "b", "c", "d"]))),
        ("vector", array(vectors)),
        ("list", array(lists)),
        ("struct", array(structs)),
        (
            "large",
            array(StringArray::from(vec![
                "x".repeat(100_000),
                "y".repeat(300),
                String::new(),
                "z".into(),
            ])),
        ),
        ("null", array(Int64Array::from(vec![None, None, None, None]))),
    ])
}

async fn values_of_every_shape(make: impl AsyncFn(RecordBatch, &str) -> Fixture) {
    let rows = shapes();
    let fixture = make(rows.clone(), "k").await;
    let keys = array(StringArray::from(vec!["d", "c", "none", "b", "a"]));
    let order = UInt64Array::from(vec![Some(3), Some(2), None, Some(1), Some(0)]);
    let names: Vec<_> = rows.schema().fields().iter().map(|field| field.name().clone()).collect();
    for columns in
        [vec!["large", "struct"], vec!["vector"], names.iter().map(String::as_str).collect()]
    {
        let found = fixture.ask(keys.clone(), &columns).await;
        for (column, name) in columns.into_iter().enumerate() {
            let expected = take(rows.column_by_name(name).unwrap(), &order, None).unwrap();
            assert_eq!(&values(&found, column), &expected, "{name}");
        }
    }
}

async fn values_of_every_type(make: impl AsyncFn(RecordBatch, &str) -> Fixture) {
    const ROWS: usize = 40;
    const SEED: u64 = 5;
    println!("seed {SEED}");
    let (fields, mut dice) = (common_columns(), Dice::new(SEED));
    let mut columns = vec![array(Int64Array::from_iter_values(0..ROWS as i64))];
    columns.extend(fields.iter().map(|field| generated(field, ROWS, Mood::Mixed, &mut dice)));
    let names: Vec<_> = fields.iter().map(|field| field.name().clone()).collect();
    let key = Field::new("k", DataType::Int64, true);
    let schema = Arc::new(Schema::new([vec![key], fields].concat()));
    let rows = RecordBatch::try_new(schema, columns).unwrap();

    let fixture = make(rows.clone(), "k").await;
    let keys = Int64Array::from_iter_values((0..ROWS as i64 + 5).rev().step_by(2));
    let places = keys.iter().flatten().map(|key| u64::try_from(key).ok());
    let places = places.map(|place| place.filter(|place| *place < ROWS as u64));
    let places: UInt64Array = places.collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    let found = fixture.ask(array(keys), &names).await;
    for (column, name) in names.into_iter().enumerate() {
        let values = values(&found, column);
        // A store may have another type for the same values.
        let stored = cast(&rows[name], values.data_type()).unwrap();
        assert_eq!(&values, &take(&stored, &places, None).unwrap(), "{name}");
    }
}

async fn many_keys(make: impl AsyncFn(RecordBatch, &str) -> Fixture) {
    const ROWS: i64 = 10_000;
    // 7919 is prime to ROWS, so this is a permutation.
    let ids: Vec<i64> = (0..ROWS).map(|row| row * 7919 % ROWS * 2).collect();
    let words = StringArray::from_iter_values(ids.iter().map(|id| format!("word {id}")));
    let rows = batch(vec![("id", array(Int64Array::from(ids))), ("word", array(words.clone()))]);
    let by_id = make(rows.clone(), "id").await;
    let keys = array(Int64Array::from_iter_values(0..2 * ROWS));
    let found = by_id.ask(keys, &["word"]).await;
    let expected: StringArray =
        (0..2 * ROWS).map(|id| (id % 2 == 0).then(|| format!("word {id}"))).collect();
    assert_eq!(values(&found, 0).as_ref(), &expected);

    let by_word = make(rows.clone(), "word").await;
    let found = by_word.ask(array(words), &["id"]).await;
    assert_eq!(&values(&found, 0), rows.column(0));
}

/// Runs every case against an implementation.
macro_rules! contract {
    ($module:ident, $make:path) => {
        contract!($module, $make: found_and_missing, columns_come_in_the_order_asked,
            existence_reads_no_values, no_keys_give_no_rows, keys_of_every_type,
            keys_that_are_booleans, keys_of_several_columns, many_keys_of_several_columns,
            keys_of_a_dictionary, values_of_every_shape, values_of_every_type, many_keys);
    };
    ($module:ident, $make:path: $($case:ident),*) => {
        mod $module {
            $(
                #[tokio::test]
                async fn $case() {
                    super::$case($make).await;
                }
            )*
        }
    };
}

contract!(on_memory, super::fixture::memory);
contract!(on_lance, super::fixture::lance);
contract!(on_toy, super::fixture::toy);
contract!(on_toy_in_batches, super::fixture::toy_in_batches);
contract!(on_toy_in_turn, super::fixture::toy_in_turn);
contract!(on_toy_with_faults, super::fixture::toy_with_faults);
contract!(on_toy_kept, super::fixture::toy_kept);

#[tokio::test]
async fn bad_content_is_an_error() {
    let good = ipc(&shapes());
    for bytes in
        [Bytes::new(), Bytes::from_static(b"not arrow at all"), good.slice(..good.len() / 2)]
    {
        let content = BlobId::of(&bytes);
        let env = StoreEnv::new(
            StoreSettings::default(),
            Arc::new(Blobs(HashMap::from([(content, bytes)]))),
        );
        let error = open(env, memory_spec("own_name", content, "k")).await.err().unwrap();
        assert!(error.message().contains("cannot be opened: its contents"), "{error}");
    }
}

#[tokio::test]
async fn content_with_a_key_twice_is_refused() {
    let rows = batch(vec![("k", array(Int64Array::from(vec![1, 2, 1])))]);
    let bytes = ipc(&rows);
    let content = BlobId::of(&bytes);
    let env =
        StoreEnv::new(StoreSettings::default(), Arc::new(Blobs(HashMap::from([(content, bytes)]))));
    let error = open(env, memory_spec("own_name", content, "k")).await.err().unwrap();
    assert_eq!(
        error,
        Error::invalid(
            "store 'alias' cannot be opened: its contents hold the key 1 more than once"
        )
    );
}

#[tokio::test]
async fn a_store_of_another_kind_that_fails_is_named() {
    let fixture = toy_with(three_columns(), "id", &[("fails_every", "1")]).await;
    let keys = array(Int64Array::from(vec![10]));
    let (access, rows) = (Access::default(), KeyRows::One);
    let request = Request { keys, columns: Vec::new(), access, rows };
    let error = fixture.store.lookup(request).await.unwrap_err();
    let expected = "KV store 'alias' cannot be read: request 1 was lost";
    assert_eq!(error, Error::unavailable(expected));
}

#[tokio::test]
async fn options_that_a_kind_does_not_take_are_refused_with_those_that_it_takes() {
    let check = async |option: &str, value: &str, expected: &str| {
        let error = open(env(), toy_spec("/none", "id", &[(option, value)])).await.err().unwrap();
        let expected = format!("store 'own_name' cannot be opened: {expected}");
        assert_eq!(error, Error::invalid(expected));
    };
    check(
        "rows",
        "1",
        "'rows' is no option of a toy store; the options are 'key', 'fails_every', \
         'keeps_answers', 'keys_at_once', 'never', 'batch_keys', 'requests_in_flight', \
         'request_timeout_ms', 'request_attempts'",
    )
    .await;
    check("batch_keys", "0", "batch_keys is a whole number of at least 1, not '0'").await;
    check("keys_at_once", "0", "keys_at_once is a number of at least 1, not '0'").await;
    check("never", "close", "never is describe or open, not 'close'").await;
}

#[tokio::test]
async fn a_key_that_a_kind_does_not_have_is_refused_when_the_store_is_described() {
    let error = open(env(), toy_spec("/none", "_rowid", &[])).await.err().unwrap();
    let expected = "a toy store is keyed by columns, not by _rowid";
    assert_eq!(error, Error::invalid(format!("store 'own_name' cannot be opened: {expected}")));
}

/// Rows in a file that two keys find, each another one, and the open stores of a worker.
fn toy_by_two_keys() -> (tempfile::TempDir, StoreSpec, OpenStores) {
    let rows = batch(vec![
        ("a", array(Int64Array::from(vec![1, 2]))),
        ("b", array(Int64Array::from(vec![2, 1]))),
        ("v", array(StringArray::from(vec!["of 1, 2", "of 2, 1"]))),
    ]);
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("rows.arrow");
    std::fs::write(&file, ipc(&rows)).unwrap();
    let options = [("keeps_answers", ""), ("keys_at_once", "10")];
    let spec = StoreSpec { key: None, ..toy_spec(&file.to_string_lossy(), "a", &options) };
    (dir, spec, OpenStores::new(env()))
}

#[tokio::test]
async fn answers_that_are_kept_are_those_of_the_key_and_the_columns_that_are_meant() {
    let (_dir, spec, stores) = toy_by_two_keys();
    let described = stores.describe(&spec).await.unwrap();
    let attached = AttachedStore::try_new("alias", spec, described.clone()).unwrap();
    let by = |key: &str| attached.resolve(Some(&KeyColumns::one(key))).unwrap();
    let ask = async |store: &Arc<ResolvedStore>, column: usize| {
        let store = stores.get(store).await.unwrap();
        let keys = array(Int64Array::from(vec![1]));
        let (access, rows) = (Access::default(), KeyRows::One);
        let request = Request { keys, columns: vec![column], access, rows };
        values(&store.lookup(request).await.unwrap(), 0)
    };
    // Fewer columns, as a job lists them that needs no others.
    let schema = Arc::new(described.schema.project(&[0, 2]).unwrap());
    let fewer = by("a").described(StoreDescription { schema, ..described }).unwrap();
    for _ in 0..2 {
        assert_eq!(ask(&by("a"), 2).await.as_ref(), &StringArray::from(vec!["of 1, 2"]));
        assert_eq!(ask(&by("b"), 2).await.as_ref(), &StringArray::from(vec!["of 2, 1"]));
        assert_eq!(ask(&by("a"), 1).await.as_ref(), &Int64Array::from(vec![2]));
        assert_eq!(ask(&by("b"), 1).await.as_ref(), &Int64Array::from(vec![1]));
        assert_eq!(ask(&fewer, 1).await.as_ref(), &StringArray::from(vec!["of 1, 2"]));
    }
}

#[tokio::test]
async fn a_store_of_another_kind_that_never_opens_is_a_timeout() {
    let (_dir, spec, _) = toy_by_two_keys();
    for (step, name) in [("describe", "own_name"), ("open", "alias")] {
        let mut spec = StoreSpec { key: Some(StoreKey::column("a")), ..spec.clone() };
        spec.options.set("never", Some(step));
        let settings = StoreSettings { answer_timeout_ms: 500, ..StoreSettings::default() };
        let env = StoreEnv::new(settings, Arc::new(Blobs::default()));
        let error = open(env, spec).await.err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Timeout);
        let expected = format!("store '{name}' cannot be opened: no answer in 500 ms, ");
        assert!(error.message().starts_with(&expected), "{step}: {error}");
    }
}
