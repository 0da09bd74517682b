//! `kv_batch_get`: lists of keys in, lists of answers of the same shape out.

use anyhow::Result;
use arrow::{
    array::{ArrayRef, FixedSizeListBuilder, ListBuilder, RecordBatch, StringBuilder},
    compute::cast,
    datatypes::{DataType, Field},
};
use keyloom_client::ErrorKind;

use super::{check, undivided_shop};
use crate::harness::{
    TestSession, batch, column, ints, on_all_deployments_and_ways, open_shop, rows, strings,
};

on_all_deployments_and_ways! {
    lists_keep_their_length_and_order_under_null,
    lists_of_found_and_null_keys_pass_under_raise,
    a_missing_element_fails_the_job_under_raise,
    every_kind_of_list_gives_the_same,
    sliced_lists_keep_their_rows,
    keys_below_a_null_list_are_not_asked,
    a_scalar_key_gives_what_get_gives,
    literal_lists_are_keys,
    answers_can_be_unnested,
    batch_size_is_the_most_keys_of_a_request,
    batch_size_does_not_change_the_answer,
    elements_of_all_lists_are_fetched_once,
    get_and_exists_refuse_lists,
}

type Row = Option<Vec<Option<&'static str>>>;

/// Every shape of a list, with and without the missing key `x`.
fn shapes() -> Vec<Row> {
    vec![
        Some(vec![Some("a"), Some("b")]),
        None,
        Some(vec![]),
        Some(vec![Some("c"), None]),
        Some(vec![Some("b"), Some("x"), Some("b")]),
        Some(vec![None]),
    ]
}

/// What the shapes give for the column `name`, missing keys null.
const NAMES: [&str; 6] = [
    "[{name: apple}, {name: banana}]",
    "NULL",
    "[]",
    "[{name: cherry}, NULL]",
    "[{name: banana}, NULL, {name: banana}]",
    "[NULL]",
];

fn lists(rows: Vec<Row>) -> ArrayRef {
    let mut builder = ListBuilder::new(StringBuilder::new());
    for row in rows {
        match row {
            Some(keys) => builder.append_value(keys),
            None => builder.append_null(),
        }
    }
    column(builder.finish())
}

fn list_table(rows: Vec<Row>) -> RecordBatch {
    let count = i64::try_from(rows.len()).expect("few rows");
    batch([("n", ints(1..=count)), ("ks", lists(rows))])
}

async fn lists_keep_their_length_and_order_under_null(session: &TestSession) -> Result<()> {
    open_shop(session).await?;
    session.register_batches("l", &[list_table(shapes())])?;
    check(
        session,
        "SELECT kv_batch_get(ks, source => 'STORE', columns => ['name'], on_error => 'null') FROM l",
        &NAMES,
    )
    .await?;
    check(
        session,
        "SELECT n, kv_batch_get(ks, source => 'STORE') FROM l WHERE n < 3",
        &[
            "1 | [{id: a, name: apple, price: 10, next: b}, \
             {id: b, name: banana, price: 20, next: c}]",
            "2 | NULL",
        ],
    )
    .await
}

async fn lists_of_found_and_null_keys_pass_under_raise(session: &TestSession) -> Result<()> {
    open_shop(session).await?;
    session.register_batches("l", &[list_table(shapes())])?;
    check(
        session,
        "SELECT kv_batch_get(ks, source => 'STORE', columns => ['name']) FROM l WHERE n <> 5",
        &[NAMES[0], NAMES[1], NAMES[2], NAMES[3], NAMES[5]],
    )
    .await
}

async fn a_missing_element_fails_the_job_under_raise(session: &TestSession) -> Result<()> {
    open_shop(session).await?;
    session.register_batches("l", &[list_table(shapes())])?;
    for store in ["lance", "memory"] {
        session
            .check_failure(
                &format!("SELECT kv_batch_get(ks, source => '{store}') FROM l"),
                ErrorKind::NotFound,
                &format!("Key not found in KV store '{store}': x"),
            )
            .await?;
    }
    Ok(())
}

async fn every_kind_of_list_gives_the_same(session: &TestSession) -> Result<()> {
    open_shop(session).await?;
    let item = || Field::new_list_field(DataType::Utf8, true).into();
    let kinds = [
        DataType::List(item()),
        DataType::LargeList(item()),
        DataType::ListView(item()),
        DataType::LargeListView(item()),
    ];
    for (index, kind) in kinds.iter().enumerate() {
        let table = format!("kind_{index}");
        session.register_batches(&table, &[batch([("ks", cast(&lists(shapes()), kind)?)])])?;
        let sql = format!(
            "SELECT kv_batch_get(ks, source => 'STORE', columns => ['name'], on_error => 'null') \
             FROM {table}"
        );
        check(session, &sql, &NAMES).await?;
    }

    let mut sized = FixedSizeListBuilder::new(StringBuilder::new(), 2);
    for (keys, valid) in [(["a", "b"], true), (["x", "x"], false), (["x", "c"], true)] {
        keys.iter().for_each(|key| sized.values().append_value(key));
        sized.append(valid);
    }
    session.register_batches("sized", &[batch([("ks", column(sized.finish()))])])?;
    check(
        session,
        "SELECT kv_batch_get(ks, source => 'STORE', columns => ['name'], on_error => 'null') \
         FROM sized",
        &["[{name: apple}, {name: banana}]", "NULL", "[NULL, {name: cherry}]"],
    )
    .await
}

async fn sliced_lists_keep_their_rows(session: &TestSession) -> Result<()> {
    open_shop(session).await?;
    session.register_batches("l", &[list_table(shapes()).slice(2, 3)])?;
    check(
        session,
        "SELECT n, kv_batch_get(ks, source => 'STORE', columns => ['name'], on_error => 'null') \
         FROM l",
        &[&format!("3 | {}", NAMES[2]), &format!("4 | {}", NAMES[3]), &format!("5 | {}", NAMES[4])],
    )
    .await
}

async fn keys_below_a_null_list_are_not_asked(session: &TestSession) -> Result<()> {
    let session = undivided_shop(session).await?;
    let mut sized = FixedSizeListBuilder::new(StringBuilder::new(), 2);
    for (keys, valid) in [(["x", "a"], false), (["b", "b"], true)] {
        keys.iter().for_each(|key| sized.values().append_value(key));
        sized.append(valid);
    }
    session.register_batches("l", &[batch([("ks", column(sized.finish()))])])?;
    let sql = "SELECT kv_batch_get(ks, source => 'lance', columns => ['id']) FROM l";
    session.check(sql, &["NULL", "[{id: b}, {id: b}]"]).await?;
    let counted = session.counted(sql, "lance").await?;
    assert_eq!((counted.keys, counted.distinct), (2, 1));
    Ok(())
}

async fn a_scalar_key_gives_what_get_gives(session: &TestSession) -> Result<()> {
    open_shop(session).await?;
    check(
        session,
        "SELECT kv_batch_get(k, source => 'STORE', on_error => 'null') FROM t WHERE n < 5",
        &[
            "{id: a, name: apple, price: 10, next: b}",
            "NULL",
            "NULL",
            "{id: b, name: banana, price: 20, next: c}",
        ],
    )
    .await?;
    session
        .check_failure(
            "SELECT kv_batch_get(k, source => 'memory') FROM t",
            ErrorKind::NotFound,
            "Key not found in KV store 'memory': x",
        )
        .await
}

async fn literal_lists_are_keys(session: &TestSession) -> Result<()> {
    open_shop(session).await?;
    check(
        session,
        "SELECT n, kv_batch_get(['c', 'a'], source => 'STORE', columns => ['id']), \
         kv_batch_get([k, 'b'], source => 'STORE', columns => ['id'], on_error => 'null') FROM t \
         WHERE n < 4",
        &[
            "1 | [{id: c}, {id: a}] | [{id: a}, {id: b}]",
            "2 | [{id: c}, {id: a}] | [NULL, {id: b}]",
            "3 | [{id: c}, {id: a}] | [NULL, {id: b}]",
        ],
    )
    .await
}

async fn answers_can_be_unnested(session: &TestSession) -> Result<()> {
    open_shop(session).await?;
    session.register_batches("l", &[list_table(shapes())])?;
    check(
        session,
        "SELECT n, v['name'] FROM (SELECT n, unnest(kv_batch_get(ks, source => 'STORE', \
         on_error => 'null')) AS v FROM l)",
        &[
            "1 | apple",
            "1 | banana",
            "4 | cherry",
            "4 | NULL",
            "5 | banana",
            "5 | NULL",
            "5 | banana",
            "6 | NULL",
        ],
    )
    .await
}

async fn batch_size_is_the_most_keys_of_a_request(session: &TestSession) -> Result<()> {
    let session = session.undivided().await?;
    let rows = batch([("id", ints(0..2500)), ("n", ints((0..2500).map(|id| id * 2)))]);
    session.attach_lance("lance", rows.slice(0, 30), "id").await?;
    session.attach_memory("memory", rows, "id").await?;
    session.register_batches("t", &[batch([("k", ints(0..2500))])])?;
    for (store, keys, size, requests) in [
        ("memory", 2500, "", 3),
        ("memory", 1000, "", 1),
        ("memory", 1001, "", 2),
        ("memory", 10, ", batch_size => 3", 4),
        ("memory", 10, ", batch_size => 1", 10),
        ("memory", 2500, ", batch_size => 2500", 1),
        ("lance", 30, ", batch_size => 7", 5),
        ("lance", 30, ", batch_size => 30", 1),
    ] {
        let sql =
            format!("SELECT kv_batch_get(k, source => '{store}'{size}) FROM t WHERE k < {keys}");
        let counted = session.counted(&sql, store).await?;
        let counts = (counted.keys, counted.hits, counted.requests);
        assert_eq!(counts, (keys, keys, requests), "{sql}");
    }
    Ok(())
}

async fn batch_size_does_not_change_the_answer(session: &TestSession) -> Result<()> {
    let session = undivided_shop(session).await?;
    session.register_batches("l", &[list_table(shapes())])?;
    for size in [1, 2, 3, 1000] {
        let sql = format!(
            "SELECT kv_batch_get(ks, source => 'STORE', columns => ['name'], on_error => 'null', \
             batch_size => {size}) FROM l"
        );
        check(&session, &sql, &NAMES).await?;
    }
    // kv_get takes a bound as well, in the expression API.
    let t = session.table("t").await?;
    let call = session.kv_get("k").source("lance").columns(["id"]).batch_size(1);
    let call = call.on_error(keyloom_client::OnError::Null).build()?;
    let query = t.select(vec![call])?;
    let summary = session.submit(query.clone()).await?.finish().await?;
    assert_eq!(summary.stores["lance"].requests, 3);
    assert_eq!(rows(query).await?, ["{id: a}", "NULL", "NULL", "{id: b}", "{id: a}"]);
    Ok(())
}

async fn elements_of_all_lists_are_fetched_once(session: &TestSession) -> Result<()> {
    let session = undivided_shop(session).await?;
    session.register_batches("l", &[list_table(shapes())])?;
    let sql = "SELECT kv_batch_get(ks, source => 'lance', on_error => 'null') FROM l";
    let counted = session.counted(sql, "lance").await?;
    let counts = (counted.keys, counted.distinct, counted.hits, counted.misses);
    assert_eq!((counts, counted.requests), ((6, 4, 3, 1), 1));
    Ok(())
}

async fn get_and_exists_refuse_lists(session: &TestSession) -> Result<()> {
    open_shop(session).await?;
    session.register_batches("l", &[batch([("ks", lists(shapes())), ("k", strings(["a"; 6]))])])?;
    for function in ["kv_get", "kv_exists"] {
        session
            .check_refusal(
                &format!("SELECT {function}(ks, source => 'lance') FROM l"),
                ErrorKind::Invalid,
                &format!(
                    "{function} takes one key a row, not List(Utf8); kv_batch_get takes lists"
                ),
            )
            .await?;
    }
    Ok(())
}
