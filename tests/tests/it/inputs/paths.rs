//! Paths that stand in a statement where a table does.

use std::fs;

use anyhow::Result;
use keyloom_client::ErrorKind;

use crate::harness::{
    TestSession, batch, ints, items, on_all_deployments, open_shop, strings, write_lance,
};

on_all_deployments! {
    a_path_in_single_quotes_is_read,
    a_path_stands_wherever_a_table_does,
    tables_and_stores_go_before_paths,
    a_path_without_files_is_named,
}

/// A path in single quotes.
fn quoted(session: &TestSession, name: &str) -> String {
    format!("'{}'", session.path(name))
}

async fn a_path_in_single_quotes_is_read(session: &TestSession) -> Result<()> {
    let days = session.path("days");
    fs::create_dir(&days)?;
    for day in 1..=2 {
        fs::write(format!("{days}/{day}.csv"), format!("n,k\n{day},a\n"))?;
        super::write_parquet(&format!("{days}/{day}.parquet"), &[items().slice(day, 1)])?;
    }
    fs::write(session.path("t.ndjson"), "{\"n\": 7}\n{\"n\": 8}\n")?;
    super::write_arrow(&session.path("t.arrow"), &[items()])?;
    write_lance(&session.path("t.lance"), &[batch([("n", ints([5]))])], 2).await?;
    for (name, rows) in [
        ("days/1.csv", &["1"][..]),
        ("days/*.csv", &["1", "2"]),
        ("days/*.parquet", &["2", "3"]),
        ("t.ndjson", &["7", "8"]),
        ("t.arrow", &["1", "2", "3", "4", "5"]),
        ("t.lance", &["5"]),
    ] {
        session.check(&format!("SELECT n FROM {}", quoted(session, name)), rows).await?;
    }
    let uri = format!("SELECT n FROM 'file://{}'", session.path("t.ndjson"));
    session.check(&uri, &["7", "8"]).await
}

async fn a_path_stands_wherever_a_table_does(session: &TestSession) -> Result<()> {
    open_shop(session).await?;
    super::write_arrow(&session.path("t.arrow"), &[items()])?;
    let path = quoted(session, "t.arrow");
    for (sql, rows) in [
        (
            format!(
                "SELECT n, kv_get(k, source => 'lance', on_error => 'null')['name'] \
                 FROM {path} LIMIT 2"
            ),
            &["1 | apple", "2 | NULL"][..],
        ),
        (
            format!("SELECT a.n FROM {path} AS a JOIN {path} AS b ON a.n = b.n + 3 ORDER BY a.n"),
            &["4", "5"],
        ),
        (format!("SELECT n FROM t WHERE n IN (SELECT n * 2 FROM {path}) ORDER BY n"), &["2", "4"]),
        (format!("WITH w AS (SELECT n FROM {path} WHERE n > 3) SELECT sum(n) FROM w"), &["9"]),
        (format!("SELECT count(*) FROM (SELECT n FROM t UNION SELECT n + 1 FROM {path})"), &["6"]),
    ] {
        session.check(&sql, rows).await?;
    }
    let plan = session.rows(&format!("EXPLAIN SELECT n FROM {path}")).await?.join("\n");
    assert!(plan.contains("InputScanExec: format=arrow"), "{plan}");
    Ok(())
}

async fn tables_and_stores_go_before_paths(session: &TestSession) -> Result<()> {
    open_shop(session).await?;
    session.register_batches("t.csv", &[batch([("k", strings(["table"]))])])?;
    session.check("SELECT k FROM 't.csv'", &["table"]).await?;
    session.check("SELECT count(*) FROM 'lance'", &["3"]).await?;
    session.check("WITH w AS (SELECT 1 AS one) SELECT one FROM 'w'", &["1"]).await
}

async fn a_path_without_files_is_named(session: &TestSession) -> Result<()> {
    let path = session.path("nope.parquet");
    let sql = format!("SELECT * FROM '{path}'");
    let message = format!("input {path}: no such file, or a folder without files");
    session.check_refusal(&sql, ErrorKind::NotFound, &message).await?;
    let sql = "SELECT * FROM 's3://me:secret@bucket/b.parquet'";
    let error = session.failure(sql).await?;
    assert!(!error.message().contains("secret"), "{error:?}");
    Ok(())
}
