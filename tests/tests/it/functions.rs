//! Every row of the tables of functions: what they answer, what they refuse, what they ask.

mod arguments;
mod clauses;
mod composite_keys;
mod fields;
mod group_keys;
mod join_statements;
mod joins;
mod key_types;
mod keys;
mod late;
mod laziness;
mod lists;
mod many_rows;
mod misses;
mod nested;
mod relational;
mod store_joins;
mod summarize;
mod words;

use anyhow::{Context, Result, bail};
use arrow::datatypes::{DataType, Field};
use datafusion::prelude::{col, lit};
use keyloom_client::{ErrorKind, OnError, datafusion::dataframe::DataFrame};

use crate::harness::{
    Deployment, TestSession, batch, check_rows, ints, items, on_all_deployments_and_ways,
    open_shop, products, rows, strings,
};

on_all_deployments_and_ways! {
    a_found_key_is_a_struct_of_all_columns_in_the_stores_order,
    columns_come_in_the_requested_order,
    a_missing_key_fails_the_job_under_raise,
    missing_keys_are_counted_and_the_first_few_named,
    a_missing_key_under_null_is_a_null_struct,
    a_null_key_is_a_null_struct_in_both_modes,
    existence_of_found_missing_and_null_keys,
    duplicate_keys_each_get_their_value_and_are_fetched_once,
    empty_input_gives_empty_output_of_the_right_type,
    types_are_known_before_anything_runs,
    a_key_comes_from_another_lookup,
    field_access_fetches_that_field_alone,
    existence_beside_a_get_costs_nothing,
    calls_on_one_store_and_key_are_one_fetch,
    sql_and_expressions_give_the_same,
    every_deployment_gives_the_same_rows_in_input_order,
}

#[tokio::test]
async fn answers_are_the_same_everywhere() -> Result<()> {
    let mut answers = Vec::new();
    for deployment in Deployment::ALL {
        let session = deployment.session().await?;
        open_shop(&session).await?;
        let query = session
            .sql(
                "SELECT n, kv_get(k, source => 'lance', on_error => 'null') AS g, kv_batch_get([k, \
                 'b'], source => 'memory', on_error => 'null') AS b, kv_exists(k, source => \
                 'backup') AS e FROM t",
            )
            .await?;
        answers.push(query.collect().await?);
    }
    let [embedded, one, three] = &answers[..] else { bail!("three answers") };
    assert_eq!(embedded, one);
    assert_eq!(embedded, three);
    assert_eq!(embedded.iter().map(|batch| batch.num_rows()).sum::<usize>(), 5);
    Ok(())
}

/// Checks a query against the Lance and the memory store, which `STORE` stands for.
async fn check(session: &TestSession, sql: &str, expected: &[&str]) -> Result<()> {
    for store in ["lance", "memory"] {
        session.check(&sql.replace("STORE", store), expected).await?;
    }
    Ok(())
}

/// The same session's deployment, with default settings and a shop.
async fn undivided_shop(session: &TestSession) -> Result<TestSession> {
    let undivided = session.undivided().await?;
    open_shop(&undivided).await?;
    Ok(undivided)
}

async fn a_found_key_is_a_struct_of_all_columns_in_the_stores_order(
    session: &TestSession,
) -> Result<()> {
    open_shop(session).await?;
    check(
        session,
        "SELECT n, kv_get(k, source => 'STORE') FROM t WHERE n IN (1, 4)",
        &[
            "1 | {id: a, name: apple, price: 10, next: b}",
            "4 | {id: b, name: banana, price: 20, next: c}",
        ],
    )
    .await
}

async fn columns_come_in_the_requested_order(session: &TestSession) -> Result<()> {
    open_shop(session).await?;
    check(
        session,
        "SELECT kv_get(k, source => 'STORE', columns => ['price', 'id']) FROM t WHERE n > 3",
        &["{price: 20, id: b}", "{price: 10, id: a}"],
    )
    .await?;
    // Another call on the same key keeps its own order.
    check(
        session,
        "SELECT kv_get(k, source => 'STORE', columns => ['name', 'price']), \
         kv_get(k, source => 'STORE', columns => ['price', 'name']) FROM t WHERE n = 1",
        &["{name: apple, price: 10} | {price: 10, name: apple}"],
    )
    .await
}

async fn a_missing_key_fails_the_job_under_raise(session: &TestSession) -> Result<()> {
    open_shop(session).await?;
    for mode in ["", ", on_error => 'raise'"] {
        for store in ["lance", "memory"] {
            session
                .check_failure(
                    &format!("SELECT kv_get(k, source => '{store}'{mode}) FROM t"),
                    ErrorKind::NotFound,
                    &format!("Key not found in KV store '{store}': x"),
                )
                .await?;
        }
    }
    Ok(())
}

async fn missing_keys_are_counted_and_the_first_few_named(session: &TestSession) -> Result<()> {
    let session = undivided_shop(session).await?;
    let keys = ["p", "a", "q", "p", "r", "s", "t", "u", "b", "v"];
    session.register_batches("many", &[batch([("k", strings(keys))])])?;
    session
        .check_failure(
            "SELECT kv_get(k, source => 'lance') FROM many",
            ErrorKind::NotFound,
            "Key not found in KV store 'lance': p, q, r, s, t, … (8 missing in one batch)",
        )
        .await?;
    session
        .check_failure(
            "SELECT kv_get(k, source => 'memory') FROM (SELECT * FROM many LIMIT 4)",
            ErrorKind::NotFound,
            "Key not found in KV store 'memory': p, q (3 missing in one batch)",
        )
        .await
}

async fn a_missing_key_under_null_is_a_null_struct(session: &TestSession) -> Result<()> {
    open_shop(session).await?;
    check(
        session,
        "SELECT v, v IS NULL, v IS NOT NULL, v['name'] FROM (SELECT n, kv_get(k, \
         source => 'STORE', columns => ['name', 'price'], on_error => 'null') AS v FROM t) \
         WHERE n IN (2, 4)",
        &["NULL | true | false | NULL", "{name: banana, price: 20} | false | true | banana"],
    )
    .await?;
    // A found row whose only wanted value is null is no null struct.
    session.register_batches("c", &[batch([("k", strings(["c", "d"]))])])?;
    check(
        session,
        "SELECT v, v IS NULL FROM (SELECT kv_get(k, source => 'STORE', columns => ['price'], \
         on_error => 'null') AS v FROM c)",
        &["{price: NULL} | false", "NULL | true"],
    )
    .await
}

async fn a_null_key_is_a_null_struct_in_both_modes(session: &TestSession) -> Result<()> {
    open_shop(session).await?;
    check(
        session,
        "SELECT n, kv_get(k, source => 'STORE', columns => ['id']), kv_get(k, source => 'STORE', \
         columns => ['id'], on_error => 'null') IS NULL FROM t WHERE n <> 2",
        &["1 | {id: a} | false", "3 | NULL | true", "4 | {id: b} | false", "5 | {id: a} | false"],
    )
    .await?;
    // A key that is the literal null has no type of its own.
    check(
        session,
        "SELECT kv_get(NULL, source => 'STORE'), kv_exists(NULL, source => 'STORE') FROM t \
         WHERE n = 1",
        &["NULL | NULL"],
    )
    .await
}

async fn existence_of_found_missing_and_null_keys(session: &TestSession) -> Result<()> {
    open_shop(session).await?;
    check(
        session,
        "SELECT n, kv_exists(k, source => 'STORE'), kv_exists(k, source => 'STORE', \
         on_error => 'raise') AS r, kv_exists(k, source => 'STORE', on_error => 'null') FROM t",
        &[
            "1 | true | true | true",
            "2 | false | false | false",
            "3 | NULL | NULL | NULL",
            "4 | true | true | true",
            "5 | true | true | true",
        ],
    )
    .await
}

async fn duplicate_keys_each_get_their_value_and_are_fetched_once(
    session: &TestSession,
) -> Result<()> {
    let session = undivided_shop(session).await?;
    let keys = [Some("b"), Some("a"), None, Some("b"), Some("x"), Some("b"), Some("x")];
    session.register_batches("d", &[batch([("k", strings(keys))])])?;
    let sql = "SELECT kv_get(k, source => 'STORE', columns => ['name'], on_error => 'null') FROM d";
    let apple = "{name: apple}";
    let banana = "{name: banana}";
    check(&session, sql, &[banana, apple, "NULL", banana, "NULL", banana, "NULL"]).await?;
    for store in ["lance", "memory"] {
        let counted = session.counted(&sql.replace("STORE", store), store).await?;
        let counts = (counted.keys, counted.distinct, counted.hits, counted.misses);
        assert_eq!((counts, counted.requests), ((6, 3, 2, 1), 1), "{store}");
    }
    Ok(())
}

async fn empty_input_gives_empty_output_of_the_right_type(session: &TestSession) -> Result<()> {
    open_shop(session).await?;
    session.register_batches("empty", &[items().slice(0, 0)])?;
    let answer = struct_of(&["name", "price"]);
    let item = Field::new_list_field(answer.clone(), true);
    for store in ["lance", "memory"] {
        let sql = format!(
            "SELECT kv_get(k, source => '{store}', columns => ['name', 'price']) AS g, \
             kv_batch_get([k], source => '{store}', columns => ['name', 'price']) AS b, \
             kv_exists(k, source => '{store}') AS e FROM empty"
        );
        let query = session.sql(&sql).await?;
        let types = [answer.clone(), DataType::List(item.clone().into()), DataType::Boolean];
        let mut job = session.submit(query.clone()).await?;
        let fields = job.schema().fields().iter();
        assert_eq!(fields.map(|field| field.data_type().clone()).collect::<Vec<_>>(), types);
        let batches = job.collect().await?;
        assert_eq!(batches.iter().map(|batch| batch.num_rows()).sum::<usize>(), 0);
        assert!(batches.iter().all(|batch| batch.schema() == *job.schema()));
        assert_eq!(rows(query).await?, Vec::<String>::new());
    }
    Ok(())
}

/// The type of an answer with these of the products' columns.
fn struct_of(columns: &[&str]) -> DataType {
    let schema = products().schema();
    let field = |name: &&str| schema.field_with_name(name).expect("a product's column").clone();
    DataType::Struct(columns.iter().map(field).collect())
}

async fn types_are_known_before_anything_runs(session: &TestSession) -> Result<()> {
    open_shop(session).await?;
    for store in ["lance", "memory"] {
        let sql = format!(
            "SELECT kv_get(k, source => '{store}'), kv_get(k, source => '{store}')['price'], \
             kv_batch_get(k, source => '{store}', columns => ['id']), \
             kv_exists(k, source => '{store}') FROM t WHERE n = 1"
        );
        let query = session.sql(&sql).await?;
        let types: Vec<_> =
            query.schema().fields().iter().map(|field| field.data_type().clone()).collect();
        let expected = [
            struct_of(&["id", "name", "price", "next"]),
            DataType::Int64,
            struct_of(&["id"]),
            DataType::Boolean,
        ];
        assert_eq!(types, expected, "{store}");
        let batches = query.collect().await?;
        let batch = batches.first().context("one row")?;
        let types: Vec<_> =
            batch.columns().iter().map(|column| column.data_type().clone()).collect();
        assert_eq!(types, expected, "{store}");
    }
    Ok(())
}

async fn a_key_comes_from_another_lookup(session: &TestSession) -> Result<()> {
    open_shop(session).await?;
    check(
        session,
        "SELECT n, kv_get(kv_get(k, source => 'STORE', on_error => 'null')['next'], \
         source => 'STORE')['name'] FROM t",
        &["1 | banana", "2 | NULL", "3 | NULL", "4 | cherry", "5 | banana"],
    )
    .await?;
    // Three deep, and across stores: a → b → c → x, which only the backup holds.
    check(
        session,
        "SELECT kv_get(kv_get(kv_get(kv_get(k, source => 'STORE')['next'], source => 'memory')\
         ['next'], source => 'lance')['next'], source => 'backup') FROM t WHERE n = 1",
        &["{id: x, name: spare, price: 1, next: a}"],
    )
    .await?;
    check(
        session,
        "SELECT kv_exists(kv_get(k, source => 'STORE')['next'], source => 'backup') FROM \
         (SELECT 'a' AS k UNION ALL SELECT 'c')",
        &["false", "true"],
    )
    .await
}

async fn field_access_fetches_that_field_alone(session: &TestSession) -> Result<()> {
    let session = undivided_shop(session).await?;
    let from = "FROM t WHERE n <> 2";
    check(
        &session,
        &format!("SELECT kv_get(k, source => 'STORE')['name'] {from}"),
        &["apple", "NULL", "banana", "apple"],
    )
    .await?;
    for kind in ["lance", "memory"] {
        // Each asks a store of its own, of which nothing is in memory yet.
        let bytes = async |name: &str, what: &str| {
            let alias = format!("{kind}_{name}");
            match kind {
                "lance" => session.attach_lance(&alias, products(), "id").await?,
                _ => session.attach_memory(&alias, products(), "id").await?,
            }
            let sql = format!("SELECT kv_get(k, source => '{alias}'{what} {from}");
            anyhow::Ok(session.counted(&sql, &alias).await?.bytes)
        };
        let named = bytes("named", ", columns => ['name'])").await?;
        let accessed = bytes("accessed", ")['name']").await?;
        let whole = bytes("whole", ")").await?;
        assert_eq!(accessed, named, "{kind}");
        assert!(0 < accessed && accessed < whole, "{kind}: {accessed} bytes of {whole}");
    }
    Ok(())
}

async fn existence_beside_a_get_costs_nothing(session: &TestSession) -> Result<()> {
    let session = undivided_shop(session).await?;
    // Each asks a store of its own, of which nothing is in memory yet.
    session.attach_lance("other", products(), "id").await?;
    let alone = "SELECT kv_get(k, source => 'lance', on_error => 'null') AS g FROM t";
    let alone = session.counted(alone, "lance").await?;
    let both = "SELECT kv_get(k, source => 'other', on_error => 'null') AS g, \
                kv_exists(k, source => 'other') AS e FROM t";
    assert_eq!(session.counted(both, "other").await?, alone);
    assert_eq!(alone.requests, 1);
    Ok(())
}

async fn calls_on_one_store_and_key_are_one_fetch(session: &TestSession) -> Result<()> {
    let session = undivided_shop(session).await?;
    let sql = "SELECT kv_get(k, source => 'lance', columns => ['name'], on_error => 'null'), \
               kv_get(k, source => 'lance', on_error => 'null')['price'], \
               kv_get(n, source => 'numbers', on_error => 'null') IS NULL FROM t";
    let numbers = batch([("id", ints([1, 2])), ("word", strings(["one", "two"]))]);
    session.attach_memory("numbers", numbers, "id").await?;
    session
        .check(
            sql,
            &[
                "{name: apple} | 10 | false",
                "NULL | NULL | false",
                "NULL | NULL | true",
                "{name: banana} | 20 | true",
                "{name: apple} | 10 | true",
            ],
        )
        .await?;
    let stores = session.stores(sql).await?;
    let counted = |alias: &str| stores.get(alias).map(|counted| (counted.keys, counted.requests));
    assert_eq!(counted("lance"), Some((4, 1)));
    assert_eq!(counted("numbers"), Some((5, 1)));
    Ok(())
}

async fn sql_and_expressions_give_the_same(session: &TestSession) -> Result<()> {
    open_shop(session).await?;
    session.set_kv("memory")?;
    let t = session.table("t").await?;
    let options = session.kv_get("k").source("lance").columns(["price", "name"]);
    let get = options.on_error(OnError::Null).build()?.alias("g");
    let exists = session.kv_exists(col("k")).build()?.alias("e");
    let batch_get = session
        .kv_batch_get("k")
        .columns(["id"])
        .batch_size(2)
        .on_error(OnError::Null)
        .build()?
        .alias("b");
    let built = t.filter(col("n").gt(lit(1)))?.select(vec![col("n"), get, exists, batch_get])?;
    let sql = session
        .sql(
            "SELECT n, kv_get(k, source => 'lance', columns => ['price', 'name'], \
             on_error => 'null') AS g, kv_exists(k) AS e, kv_batch_get(k, columns => ['id'], \
             batch_size => 2, on_error => 'null') AS b FROM t WHERE n > 1",
        )
        .await?;
    let expected = [
        "2 | NULL | false | NULL",
        "3 | NULL | NULL | NULL",
        "4 | {price: 20, name: banana} | true | {id: b}",
        "5 | {price: 10, name: apple} | true | {id: a}",
    ];
    let fields = |query: &DataFrame| query.schema().as_arrow().fields().clone();
    assert_eq!(fields(&built), fields(&sql));
    check_rows(built, &expected).await?;
    check_rows(sql, &expected).await
}

async fn every_deployment_gives_the_same_rows_in_input_order(session: &TestSession) -> Result<()> {
    const ROWS: i64 = 200;
    let store = batch([("id", ints(0..100)), ("square", ints((0..100).map(|id| id * id)))]);
    session.attach_memory("squares", store, "id").await?;
    let keys = (0..ROWS).map(|n| n * 37 % 150);
    session.register_batches("rows", &[batch([("n", ints(0..ROWS)), ("k", ints(keys))])])?;
    let expected: Vec<_> = (0..ROWS)
        .map(|n| match n * 37 % 150 {
            key @ 0..100 => format!("{n} | {}", key * key),
            _ => format!("{n} | NULL"),
        })
        .collect();
    let sql = "SELECT n, kv_get(k, source => 'squares', on_error => 'null')['square'] FROM rows";
    assert_eq!(session.rows(sql).await?, expected);
    let summary = session.summary(sql).await?;
    assert_eq!(summary.tasks, 67);
    assert_eq!(summary.stores["squares"].keys, ROWS as u64);
    Ok(())
}
