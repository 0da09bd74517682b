//! What a Lance store is looked up by if its options name no key: nothing that was guessed.

use std::sync::Arc;

use anyhow::{Context, Result};
use arrow::{
    array::RecordBatch,
    datatypes::{DataType, Field, Schema},
};
use datafusion::prelude::{cast, col, lit, named_struct};
use keyloom_client::{ErrorKind, KeyPath, LanceOptions, OnError, load_kv};
use lance::dataset::WriteMode;

use super::write;
use crate::harness::{
    TestSession, batch, check_rows, ints, on_all_deployments, strings, write_lance,
};

on_all_deployments! {
    the_key_is_the_column_named_as_the_one_looked_up,
    a_key_that_nothing_names_is_refused_with_the_choices,
    the_declared_primary_key_is_taken,
    a_declared_key_of_several_columns_is_taken,
    a_column_of_that_name_but_another_type_is_refused,
    ways_are_forced_on_the_key_that_a_call_names,
    a_key_by_name_stays_when_the_store_moves_on,
}

fn products() -> RecordBatch {
    batch([
        ("product_id", ints([30, 10, 20])),
        ("name", strings(["thirty", "ten", "twenty"])),
        ("Group", ints([1, 1, 2])),
    ])
}

/// The products as `products`, with no key.
async fn attach(session: &TestSession) -> Result<()> {
    let uri = session.path("products.lance");
    write_lance(&uri, &[products()], 2).await?;
    session.attach(load_kv("products", LanceOptions::new(uri))?, None).await?;
    session.set_kv("products")?;
    let rows = batch([
        ("product_id", ints([Some(20), None, Some(7), Some(30)])),
        ("name", strings(["ten", "x", "thirty", "twenty"])),
        ("id", ints([10, 20, 30, 0])),
        ("Group", ints([2, 3, 2, 0])),
    ]);
    Ok(session.register_batches("t", &[rows])?)
}

async fn the_key_is_the_column_named_as_the_one_looked_up(session: &TestSession) -> Result<()> {
    attach(session).await?;
    assert_eq!(session.get_kv("products")?.key(), None);
    let names = ["twenty", "NULL", "NULL", "thirty"];
    let keys =
        ["product_id", "Product_ID", "t.product_id", "CAST(product_id AS INT)", "(product_id)"];
    for key in keys {
        let sql = format!("SELECT kv_get({key}, on_error => 'null')['name'] FROM t");
        session.check(&sql, &names).await?;
    }
    session
        .check(
            "SELECT kv_exists(product_id) FROM (SELECT id AS product_id FROM t)",
            &["true", "true", "true", "false"],
        )
        .await?;
    session
        .check(
            "SELECT kv_get(name, on_error => 'null')['product_id'] FROM t",
            &["10", "NULL", "30", "20"],
        )
        .await?;
    session.check("SELECT kv_exists(\"Group\") FROM t WHERE id > 10", &["false", "true"]).await?;
    let plan = session.sql("SELECT kv_exists(product_id) FROM t").await?;
    let plan = session.explain(plan, false).await?;
    let key = "products@v1 by product_id@0 = product_id (of that name) via map";
    assert!(plan.contains(key), "{plan}");

    let table = session.sql("SELECT * FROM t").await?;
    for key in [col("product_id"), cast(col("product_id"), DataType::Int32)] {
        let name = session.kv_get(key).columns(["name"]);
        let name = name.on_error(OnError::Null).build()?.alias("g");
        let expected = ["{name: twenty}", "NULL", "NULL", "{name: thirty}"];
        check_rows(table.clone().select(vec![name])?, &expected).await?;
    }
    let known = session.kv_exists("product_id").build()?;
    check_rows(table.select(vec![known])?, &["true", "NULL", "false", "true"]).await
}

async fn a_key_that_nothing_names_is_refused_with_the_choices(session: &TestSession) -> Result<()> {
    attach(session).await?;
    let message = |why: &str| {
        format!(
            "KV store 'products' was given no key, its dataset declares none, and {why}: say key = \
             \"product_id\" where the store is described (the columns that can be keys are \
             'product_id', 'name', 'Group'), or key = \"_rowid\" for row ids"
        )
    };
    let expression = message("the key looked up is no plain column");
    let absent = message("the store has no column 'id'");
    let cases = [
        ("id", &absent),
        ("t.id", &absent),
        ("CAST(id AS BIGINT)", &absent),
        ("product_id + 0", &expression),
        ("7", &expression),
        ("coalesce(product_id, 1)", &expression),
    ];
    for (key, message) in cases {
        for function in ["kv_get", "kv_exists", "kv_batch_get"] {
            let sql = format!("SELECT {function}({key}) FROM t");
            session.check_refusal(&sql, ErrorKind::Invalid, message).await?;
        }
    }
    let refused = session.kv_get("id").build().err().context("it was built")?;
    assert_eq!(refused.message(), absent);
    let refused = session.kv_get(col("product_id") + lit(0)).build().err().context("built")?;
    assert_eq!(refused.message(), expression);

    // Said, row ids are what was asked for.
    let uri = session.path("products.lance");
    let by_row = load_kv("rows", LanceOptions::new(uri).key("_rowid"))?;
    session.attach(by_row, None).await?;
    let sql = "SELECT kv_get(id - 10, source => 'rows', on_error => 'null')['name'] FROM t";
    session.check(sql, &["thirty", "NULL", "NULL", "NULL"]).await
}

/// The rows with columns that say that they are the primary key, or its part at a position.
fn declared(rows: &RecordBatch, key: &[(&str, &str, &str)]) -> Result<RecordBatch> {
    let schema = rows.schema();
    let fields = schema.fields().iter().map(|field| {
        let of_key = key.iter().find(|(name, _, _)| name == field.name());
        let field = Field::clone(field);
        match of_key {
            Some((_, word, value)) => {
                let word = format!("lance-schema:unenforced-primary-key{word}");
                let metadata = [(word, (*value).to_owned())].into();
                field.with_nullable(false).with_metadata(metadata)
            }
            None => field,
        }
    });
    let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    Ok(RecordBatch::try_new(schema, rows.columns().to_vec())?)
}

async fn the_declared_primary_key_is_taken(session: &TestSession) -> Result<()> {
    let uri = session.path("declared.lance");
    write_lance(&uri, &[declared(&products(), &[("product_id", "", "true")])?], 2).await?;
    session.attach(load_kv("declared", LanceOptions::new(&uri))?, None).await?;
    session.set_kv("declared")?;
    session.register_batches("t", &[batch([("name", ints([10, 30, 1]))])])?;
    let names = ["ten", "thirty", "NULL"];
    for key in ["name", "name + 0"] {
        let sql = format!("SELECT kv_get({key}, on_error => 'null')['name'] FROM t");
        session.check(&sql, &names).await?;
    }
    let query = session.sql("SELECT kv_exists(name) FROM t").await?;
    let plan = session.explain(query, false).await?;
    let key = "declared@v1 by name@0 = product_id (the primary key) via map";
    assert!(plan.contains(key), "{plan}");
    session
        .check_refusal(
            "SELECT kv_exists(CAST(name AS VARCHAR)) FROM t",
            ErrorKind::Invalid,
            "a key of type Utf8 cannot be looked up in KV store 'declared', whose keys are of \
             type Int64 (its dataset declares the primary key product_id); write \
             kv_exists(CAST(key AS BIGINT), …)",
        )
        .await?;
    // What the options say goes before.
    let given = LanceOptions::new(&uri).key("name");
    session.attach_or_replace(load_kv("declared", given)?, None).await?;
    session.check("SELECT kv_get('ten')['product_id']", &["10"]).await
}

async fn a_declared_key_of_several_columns_is_taken(session: &TestSession) -> Result<()> {
    let uri = session.path("declared.lance");
    let key = [("product_id", ":position", "2"), ("name", ":position", "1")];
    write_lance(&uri, &[declared(&products(), &key)?], 2).await?;
    session.attach(load_kv("declared", LanceOptions::new(&uri))?, None).await?;
    session.set_kv("declared")?;
    let attached = session.get_kv("declared")?;
    let (key, _) = attached.key().context("it is declared")?;
    assert_eq!(key.columns(), ["name", "product_id"]);
    let rows = batch([("name", strings(["ten", "ten"])), ("product_id", ints([10, 20]))]);
    session.register_batches("t", &[rows])?;
    session.check("SELECT kv_exists(struct(product_id, name)) FROM t", &["true", "false"]).await?;
    session
        .check_refusal(
            "SELECT kv_exists(product_id) FROM t",
            ErrorKind::Invalid,
            "a key of type Int64 cannot be looked up in KV store 'declared', whose keys are the \
             columns 'name', 'product_id' together; write kv_exists(struct(name, product_id), …) \
             if these are columns of the input, or kv_exists(named_struct('name', …, \
             'product_id', …), …)",
        )
        .await
}

async fn a_column_of_that_name_but_another_type_is_refused(session: &TestSession) -> Result<()> {
    attach(session).await?;
    session
        .check_refusal(
            "SELECT kv_get(product_id) FROM (SELECT name AS product_id FROM t)",
            ErrorKind::Invalid,
            "a key of type Utf8 cannot be looked up in KV store 'products', whose keys are of type \
             Int64 (its column 'product_id', by the name of the column looked up; key = \"…\" \
             names another of 'product_id', 'name', 'Group'); write kv_get(CAST(product_id AS \
             BIGINT), …)",
        )
        .await?;
    // A struct names several columns.
    let pairs = batch([("product_id", ints([10, 10])), ("name", strings(["ten", "twenty"]))]);
    session.register_batches("pairs", &[pairs])?;
    session
        .check(
            "SELECT kv_exists(struct(product_id, name)), kv_get(named_struct('Group', 2, \
             'product_id', 20))['name'] FROM pairs",
            &["true | twenty", "false | twenty"],
        )
        .await?;
    let key = named_struct(vec![lit("Group"), lit(2_i64), lit("product_id"), lit(20_i64)]);
    let known = session.kv_exists(key).build()?;
    let one = session.sql("SELECT 1 AS one").await?;
    check_rows(one.select(vec![known])?, &["true"]).await
}

async fn ways_are_forced_on_the_key_that_a_call_names(session: &TestSession) -> Result<()> {
    attach(session).await?;
    let options = LanceOptions::new(session.path("products.lance")).key_path(KeyPath::Btree);
    session.attach_or_replace(load_kv("products", options)?, None).await?;
    session
        .check_refusal(
            "SELECT kv_get(product_id) FROM t",
            ErrorKind::Invalid,
            "KV store 'products': key_path is 'btree', but key column 'product_id' has no BTree \
             index; create one, or choose auto, map or scan",
        )
        .await
}

async fn a_key_by_name_stays_when_the_store_moves_on(session: &TestSession) -> Result<()> {
    attach(session).await?;
    let sql = "SELECT kv_get(product_id, on_error => 'null')['name'] FROM t";
    let planned = session.sql(sql).await?;
    let more =
        batch([("product_id", ints([7])), ("name", strings(["seven"])), ("Group", ints([1]))]);
    write(&session.path("products.lance"), more, WriteMode::Append).await?;
    check_rows(planned, &["twenty", "NULL", "seven", "thirty"]).await
}
