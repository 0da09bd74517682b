//! Stores that are asked without a query answer what a query answers, embedded and on clusters.

use std::sync::Arc;

use anyhow::Result;
use arrow::{
    array::{Array, ArrayRef, AsArray, Int64Array, ListBuilder, StringArray, StringBuilder},
    compute::concat,
};
use keyloom_client::{CallOptions, ErrorKind, Function, OnError};

use crate::harness::{TestSession, batch, on_all_deployments_and_ways, strings};

on_all_deployments_and_ways! {
    answers_are_those_of_a_query,
    lists_keep_their_shape,
    missing_keys_raise_unless_null_is_wanted,
    wrong_keys_are_refused_before_anything_is_asked,
    a_memory_store_answers_after_its_alias_is_gone,
    many_keys_come_back_in_order,
}

async fn shop(session: &TestSession) -> Result<()> {
    let rows = batch([
        ("id", strings(["a", "b", "c", "d", "e"])),
        ("size", Arc::new(Int64Array::from(vec![Some(1), None, Some(3), Some(4), Some(5)])) as _),
    ]);
    session.attach_lance("items", rows.clone(), "id").await?;
    session.attach_memory("memory", rows, "id").await
}

fn null() -> CallOptions {
    CallOptions { on_error: OnError::Null, ..CallOptions::default() }
}

fn keys(keys: &[Option<&str>]) -> ArrayRef {
    Arc::new(StringArray::from(keys.to_vec()))
}

async fn answers_are_those_of_a_query(session: &TestSession) -> Result<()> {
    shop(session).await?;
    let asked = keys(&[Some("c"), Some("nope"), None, Some("b"), Some("c")]);
    let table = session.from_batches(&[batch([("k", Arc::clone(&asked))])])?;
    for alias in ["items", "memory"] {
        let store = session.open_kv(alias)?;
        let get = session.kv_get("k").source(alias).on_error(OnError::Null).build()?;
        let exists = session.kv_exists("k").source(alias).build()?;
        let query = table.clone().select(vec![get.alias("got"), exists.alias("exists")])?;
        let rows = session.submit(query).await?.collect().await?;
        let column = |at: usize| {
            let parts: Vec<&dyn Array> = rows.iter().map(|rows| rows.column(at).as_ref()).collect();
            concat(&parts)
        };
        let got = store.prepare(Function::Get, null(), None)?.answers(&asked).await?;
        assert_eq!(&got, &column(0)?);
        let exists = store.prepare(Function::Exists, null(), None)?.answers(&asked).await?;
        assert_eq!(&exists, &column(1)?);
    }
    Ok(())
}

async fn lists_keep_their_shape(session: &TestSession) -> Result<()> {
    shop(session).await?;
    let mut lists = ListBuilder::new(StringBuilder::new());
    lists.append_value([Some("a"), Some("nope"), None]);
    lists.append_null();
    lists.append_value([] as [Option<&str>; 0]);
    lists.append_value([Some("e")]);
    let lists: ArrayRef = Arc::new(lists.finish());
    let options = CallOptions { columns: Some(vec!["size".to_owned()]), ..null() };
    let lookup = session.open_kv("items")?.prepare(Function::BatchGet, options, None)?;
    let answers = lookup.answers(&lists).await?;
    let answers = answers.as_list::<i32>();
    assert_eq!(answers.offsets().as_ref(), [0, 3, 3, 3, 4]);
    assert_eq!((answers.is_null(0), answers.is_null(1), answers.is_null(2)), (false, true, false));
    let sizes = answers.values().as_struct();
    let sizes: Vec<_> = (0..sizes.len())
        .map(|at| {
            sizes
                .is_valid(at)
                .then(|| sizes.column(0).as_primitive::<arrow::datatypes::Int64Type>().value(at))
        })
        .collect();
    assert_eq!(sizes, [Some(1), None, None, Some(5)]);
    Ok(())
}

async fn missing_keys_raise_unless_null_is_wanted(session: &TestSession) -> Result<()> {
    shop(session).await?;
    let lookup = session.open_kv("items")?.prepare(Function::Get, CallOptions::default(), None)?;
    let error = lookup.answers(&keys(&[Some("a"), Some("nope")])).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert_eq!(error.message(), "Key not found in KV store 'items': nope");
    assert_eq!(lookup.answers(&keys(&[Some("a"), None])).await?.null_count(), 1);
    Ok(())
}

async fn wrong_keys_are_refused_before_anything_is_asked(session: &TestSession) -> Result<()> {
    shop(session).await?;
    let store = session.open_kv("items")?;
    let numbers: ArrayRef = Arc::new(arrow::array::Float64Array::from(vec![1.5]));
    let lookup = store.prepare(Function::Get, null(), None)?;
    assert_eq!(lookup.answers(&numbers).await.unwrap_err().kind(), ErrorKind::Invalid);
    let options = CallOptions { columns: Some(vec!["weight".to_owned()]), ..null() };
    let error = store.prepare(Function::Get, options, None).unwrap_err();
    assert_eq!(
        error.message(),
        "column 'weight' not found in KV store 'items'; it has 'id', 'size'"
    );
    Ok(())
}

async fn a_memory_store_answers_after_its_alias_is_gone(session: &TestSession) -> Result<()> {
    shop(session).await?;
    let store = session.open_kv("memory")?;
    session.detach_kv("memory")?;
    let answers = store.prepare(Function::Get, null(), None)?.answers(&keys(&[Some("d")])).await?;
    assert_eq!(answers.as_struct().column(0).as_string::<i32>().value(0), "d");
    Ok(())
}

/// So many that they are looked up in several parts.
async fn many_keys_come_back_in_order(session: &TestSession) -> Result<()> {
    const KEYS: i64 = 30_000;
    let numbers = |numbers: Vec<i64>| -> ArrayRef { Arc::new(Int64Array::from(numbers)) };
    let squares = (0..KEYS).map(|number| number * number).collect();
    let rows = batch([("n", numbers((0..KEYS).collect())), ("square", numbers(squares))]);
    let uri = session.path("squares.lance");
    crate::harness::write_lance(&uri, &[rows], 10_000).await?;
    let store = keyloom_client::load_kv("squares", session.lance(uri, "n").await?)?;
    let session = session.undivided().await?;
    let options = CallOptions { columns: Some(vec!["square".to_owned()]), ..null() };
    let lookup = session.open_store(store).await?.prepare(Function::Get, options, None)?;
    let asked: Vec<i64> = (0..KEYS).map(|at| (at * 7919) % (KEYS + 10)).collect();
    let answers = lookup.answers(&numbers(asked.clone())).await?;
    let answers = answers.as_struct();
    let found: Vec<_> =
        answers.column(0).as_primitive::<arrow::datatypes::Int64Type>().iter().collect();
    let expected = asked.into_iter().map(|key| (key < KEYS).then_some(key * key));
    assert_eq!(found, expected.collect::<Vec<_>>());
    Ok(())
}
