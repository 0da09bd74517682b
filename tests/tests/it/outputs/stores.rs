//! Rows that are put into stores, and what queries read of them then.

use anyhow::{Context, Result};
use keyloom_client::{ErrorKind, LanceOptions, load_kv};

use crate::harness::{
    TestSession, batch, ints, on_all_deployments, products, strings, write_lance,
};

on_all_deployments! {
    rows_that_are_put_replace_those_of_the_same_keys,
    statements_put_rows_into_stores,
    a_store_may_be_read_by_the_job_that_puts_rows_into_it,
    a_store_that_takes_no_rows_is_refused_by_name,
}

/// Attaches [`products`] as a Lance store `products`, and gives its path.
async fn attach_products(session: &TestSession) -> Result<String> {
    session.attach_lance("products", products(), "id").await?;
    Ok(session.path("products.lance"))
}

const ALL: &str = "SELECT id, name, price, next FROM products ORDER BY id";

async fn rows_that_are_put_replace_those_of_the_same_keys(session: &TestSession) -> Result<()> {
    let uri = attach_products(session).await?;
    let old = load_kv("old", LanceOptions::new(&uri).key("id").version(1))?;
    session.attach(old, "old").await?;
    let rows = batch([
        ("id", strings(["d", "b"])),
        ("name", strings(["date", "blueberry"])),
        ("price", ints([4, 2])),
        ("next", strings([None, Some("d")])),
    ]);
    let summary = session.put(session.from_batches(&[rows])?, "products").await?.finish().await?;
    assert_eq!(summary.rows, 2);
    let expected = [
        "a | apple | 10 | b",
        "b | blueberry | 2 | d",
        "c | cherry | NULL | x",
        "d | date | 4 | NULL",
    ];
    session.check(ALL, &expected).await?;
    // A store at a version stays what it was.
    let names = "SELECT kv_get(k, source => 'old', on_error => 'null')['name'], \
                 kv_get(k, source => 'products')['name'] FROM (VALUES ('b'), ('d')) AS v(k)";
    session.check(names, &["banana | blueberry", "NULL | date"]).await
}

async fn statements_put_rows_into_stores(session: &TestSession) -> Result<()> {
    attach_products(session).await?;
    session.rows("INSERT INTO products VALUES ('c', 'cranberry', 3, 'a')").await?;
    // What is left out is null.
    session.rows("INSERT INTO products (price, id) SELECT 7, 'e'").await?;
    let expected = [
        "a | apple | 10 | b",
        "b | banana | 20 | c",
        "c | cranberry | 3 | a",
        "e | NULL | 7 | NULL",
    ];
    session.check(ALL, &expected).await
}

async fn a_store_may_be_read_by_the_job_that_puts_rows_into_it(
    session: &TestSession,
) -> Result<()> {
    attach_products(session).await?;
    let sql = "INSERT INTO products SELECT id, upper(name), coalesce(price, 0) + 1, \
               kv_get(next, source => 'products', on_error => 'null')['name'] FROM products";
    session.rows(sql).await?;
    let expected = ["a | APPLE | 11 | banana", "b | BANANA | 21 | cherry", "c | CHERRY | 1 | NULL"];
    session.check(ALL, &expected).await
}

async fn a_store_that_takes_no_rows_is_refused_by_name(session: &TestSession) -> Result<()> {
    session.attach_memory("memory", products(), "id").await?;
    let refusal = async |alias: &str| -> Result<String> {
        let rows = session.from_batches(&[products()])?;
        let error = session.put(rows, alias).await.err().context("it was taken")?;
        assert!(matches!(error.kind(), ErrorKind::Invalid | ErrorKind::NotFound), "{error}");
        Ok(error.message().to_owned())
    };
    let memory = "KV store 'memory' is a memory store; rows are put into Lance stores alone";
    assert_eq!(refusal("memory").await?, memory);
    assert!(refusal("nobody").await?.starts_with("KV store 'nobody' not found in session"));
    let uri = session.path("keyless.lance");
    write_lance(&uri, &[products()], 2).await?;
    session.attach(load_kv("keyless", LanceOptions::new(&uri))?, "keyless").await?;
    assert!(refusal("keyless").await?.starts_with("KV store 'keyless' has no key"));
    let pinned = LanceOptions::new(&uri).key("id").version(1);
    session.attach(load_kv("pinned", pinned)?, "pinned").await?;
    let expected = "KV store 'pinned' is attached at one version";
    assert!(refusal("pinned").await?.starts_with(expected));
    Ok(())
}
