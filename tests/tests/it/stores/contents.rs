//! Contents of stores: values of every type, large ones, none.

use std::sync::Arc;

use anyhow::{Context, Result};
use arrow::{
    array::{
        ArrayRef, BinaryArray, DictionaryArray, FixedSizeListArray, Float32Array, Float64Array,
        ListArray, RecordBatch, StructArray, TimestampMillisecondArray,
    },
    datatypes::{Field, Float32Type, Int32Type, Int64Type},
};
use keyloom_client::{ErrorKind, KvStore, MemoryOptions, Result as KeyloomResult, load_kv};

use crate::harness::{
    TestSession, batch, column, ints, on_all_deployments, on_all_deployments_and_ways, products,
    strings,
};

on_all_deployments! {
    a_batch_is_keyed_by_any_of_its_columns,
    contents_of_another_session_do_not_matter,
    a_store_larger_than_a_message,
    an_empty_store_holds_nothing,
    null_keys_are_refused,
}

on_all_deployments_and_ways!(values_of_every_type);

async fn a_batch_is_keyed_by_any_of_its_columns(session: &TestSession) -> Result<()> {
    session.attach_memory("by_name", products(), "name").await?;
    session.attach_memory("by_id", products(), "id").await?;
    session.register_batches("t", &[batch([("k", strings(["cherry", "a"]))])])?;
    session
        .check(
            "SELECT kv_get(k, source => 'by_name', on_error => 'null'), \
             kv_get(k, source => 'by_id', on_error => 'null') FROM t",
            &[
                "{id: c, name: cherry, price: NULL, next: x} | NULL",
                "NULL | {id: a, name: apple, price: 10, next: b}",
            ],
        )
        .await
}

/// A row of every kind of value under `full`, and a row of nulls under `bare`.
fn values() -> RecordBatch {
    let numbers = |values: Option<[i64; 2]>| values.map(|values| values.map(Some));
    let inner: ArrayRef = Arc::new(Float64Array::from(vec![Some(0.5), None]));
    let point = StructArray::new(
        vec![Field::new("x", arrow::datatypes::DataType::Float64, true)].into(),
        vec![inner],
        Some(vec![true, false].into()),
    );
    let vector = FixedSizeListArray::from_iter_primitive::<Float32Type, _, _>(
        [Some([Some(0.25), Some(-1.0), None]), None],
        3,
    );
    let list = ListArray::from_iter_primitive::<Int64Type, _, _>([numbers(Some([1, 2])), None]);
    let word: DictionaryArray<Int32Type> = [Some("red"), None].into_iter().collect();
    let time = TimestampMillisecondArray::from(vec![Some(0), None]).with_timezone("UTC");
    batch([
        ("id", strings(["full", "bare"])),
        ("point", column(point)),
        ("vector", column(vector)),
        ("list", column(list)),
        ("word", column(word)),
        ("bytes", column(BinaryArray::from_opt_vec(vec![Some(&[0, 255]), None]))),
        ("time", column(time)),
        ("ratio", column(Float32Array::from(vec![Some(1.5), None]))),
        ("flag", column(arrow::array::BooleanArray::from(vec![Some(true), None]))),
    ])
}

async fn values_of_every_type(session: &TestSession) -> Result<()> {
    session.attach_memory("memory", values(), "id").await?;
    session.attach_lance("lance", values(), "id").await?;
    session.register_batches("t", &[batch([("k", strings(["bare", "none", "full", "bare"]))])])?;
    let bare = "{id: bare, point: NULL, vector: NULL, list: NULL, word: NULL, bytes: NULL, \
                time: NULL, ratio: NULL, flag: NULL}";
    let full = "{id: full, point: {x: 0.5}, vector: [0.25, -1.0, NULL], list: [1, 2], word: red, \
                bytes: 00ff, time: 1970-01-01T00:00:00Z, ratio: 1.5, flag: true}";
    for store in ["memory", "lance"] {
        let sql = format!("SELECT kv_get(k, source => '{store}', on_error => 'null') FROM t");
        session.check(&sql, &[bare, "NULL", full, bare]).await?;
        let sql = format!(
            "SELECT v['point']['x'], v['vector'][2], v['list'][1] FROM (SELECT kv_get(k, source \
             => '{store}', on_error => 'null') AS v FROM t)"
        );
        let nulls = "NULL | NULL | NULL";
        session.check(&sql, &[nulls, nulls, "0.5 | -1.0 | 1", nulls]).await?;
    }
    Ok(())
}

async fn contents_of_another_session_do_not_matter(session: &TestSession) -> Result<()> {
    // The same contents, so the same name among the coordinator's blobs.
    let other = session.deployment().session().await?;
    for session in [session, &other] {
        session.attach_memory("m", products(), "id").await?;
        session.register_batches("t", &[batch([("k", strings(["a"]))])])?;
    }
    let sql = "SELECT kv_get(k, source => 'm')['name'] FROM t";
    other.check(sql, &["apple"]).await?;
    drop(other);
    session.check(sql, &["apple"]).await
}

async fn a_store_larger_than_a_message(session: &TestSession) -> Result<()> {
    const ROWS: i64 = 2500;
    // 20 MB in messages of at most 2.
    let text = |id: i64| format!("{id:06}").repeat(1400);
    let texts: Vec<_> = (0..ROWS).map(text).collect();
    let rows = batch([("id", ints(0..ROWS)), ("text", strings(texts.iter().map(String::as_str)))]);
    session.attach_memory("large", rows, "id").await?;
    session.register_batches("t", &[batch([("k", ints([ROWS - 1, 0, 1234, ROWS]))])])?;
    let expected = [ROWS - 1, 0, 1234].map(text);
    let rows = session
        .rows("SELECT kv_get(k, source => 'large', on_error => 'null')['text'] FROM t")
        .await?;
    assert_eq!(rows, [expected[0].as_str(), &expected[1], &expected[2], "NULL"]);
    Ok(())
}

async fn an_empty_store_holds_nothing(session: &TestSession) -> Result<()> {
    session.attach_memory("empty", products().slice(0, 0), "id").await?;
    session.register_batches("t", &[batch([("k", strings([Some("a"), None]))])])?;
    session
        .check(
            "SELECT kv_exists(k, source => 'empty'), \
             kv_get(k, source => 'empty', on_error => 'null') FROM t",
            &["false | NULL", "NULL | NULL"],
        )
        .await
}

fn check_refusal(loaded: KeyloomResult<KvStore>, message: &str) -> Result<()> {
    let error = loaded.err().context("loaded")?;
    assert_eq!((error.kind(), error.message()), (ErrorKind::Invalid, message));
    Ok(())
}

async fn null_keys_are_refused(_: &TestSession) -> Result<()> {
    let rows = batch([("id", ints([Some(1), None]))]);
    let message = "KV store 'm': key column 'id' holds nulls";
    check_refusal(load_kv("m", MemoryOptions::batch(rows, "id")), message)?;
    let pairs = MemoryOptions::pairs([(Some("a"), 1), (None, 2)]);
    check_refusal(load_kv("m", pairs), "KV store 'm': key column 'key' holds nulls")
}
