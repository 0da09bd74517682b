//! Rows go to stdout, and everything else to stderr.

use std::sync::Arc;

use anyhow::{Context, Result};
use arrow::{
    array::{ArrayRef, ListArray, RecordBatch},
    datatypes::Int32Type,
};
use serde_json::Value;

use super::{Ended, Keyloom, input, write_arrow};
use crate::harness::{TestSession, batch, ints, on_all_deployments, strings};

on_all_deployments! {
    rows_are_a_table_and_the_summary_is_on_stderr,
    rows_are_json_lines,
    rows_are_csv,
    no_rows_have_a_head_in_csv_alone,
    a_summary_is_json_beside_the_rows_or_in_their_place,
}

/// Three rows with a list.
fn table() -> RecordBatch {
    let lists = [Some(vec![Some(1)]), None, Some(vec![None, Some(2)])];
    let lists = ListArray::from_iter_primitive::<Int32Type, _, _>(lists);
    batch([
        ("id", ints([3, 1, 2])),
        ("name", strings([Some("c"), None, Some("")])),
        ("list", Arc::new(lists) as ArrayRef),
    ])
}

/// Runs a statement on the table.
async fn sql(session: &TestSession, sql: &str, flags: &[&str]) -> Result<Ended> {
    let path = session.path("t.arrow");
    write_arrow(&path, &table())?;
    let mut arguments = vec!["sql".to_owned(), sql.to_owned()];
    arguments.extend(input("t", &path));
    arguments.extend(flags.iter().map(|flag| (*flag).to_owned()));
    Keyloom::on(session, arguments).await?.run().await
}

async fn rows_are_a_table_and_the_summary_is_on_stderr(session: &TestSession) -> Result<()> {
    let ended = sql(session, "SELECT * FROM t", &[]).await?;
    assert_eq!(
        ended.stdout()?,
        "+----+------+-----------+\n\
         | id | name | list      |\n\
         +----+------+-----------+\n\
         | 3  | c    | [1]       |\n\
         | 1  | NULL | NULL      |\n\
         | 2  |      | [NULL, 2] |\n\
         +----+------+-----------+\n"
    );
    assert!(ended.stderr.starts_with("3 rows in "), "{ended:?}");
    assert!(ended.stderr.contains("; 1 task on 1 worker\n"), "{ended:?}");
    Ok(())
}

async fn rows_are_json_lines(session: &TestSession) -> Result<()> {
    let lines = "{\"id\":3,\"name\":\"c\",\"list\":[1]}\n\
                 {\"id\":1,\"name\":null,\"list\":null}\n\
                 {\"id\":2,\"name\":\"\",\"list\":[null,2]}\n";
    for flags in [&["--format", "json"][..], &["-o", "json"], &["--output=json", "--all"]] {
        let ended = sql(session, "SELECT * FROM t", flags).await?;
        assert_eq!(ended.stdout()?, lines, "{flags:?}");
        assert!(ended.stderr.starts_with("3 rows in "), "{ended:?}");
    }
    Ok(())
}

async fn rows_are_csv(session: &TestSession) -> Result<()> {
    for flags in [["--format", "csv"], ["-o", "csv"]] {
        let ended = sql(session, "SELECT id, name FROM t", &flags).await?;
        assert_eq!(ended.stdout()?, "id,name\n3,c\n1,\n2,\"\"\n");
    }
    let ended = sql(session, "SELECT * FROM t", &["--format", "csv"]).await?;
    ended.check_failure(2, &["column 'list' holds List(Int32), which CSV cannot hold", "help: "]);
    Ok(())
}

async fn no_rows_have_a_head_in_csv_alone(session: &TestSession) -> Result<()> {
    let none = "SELECT id, name FROM t WHERE id > 3";
    assert_eq!(sql(session, none, &["--format", "csv"]).await?.stdout()?, "id,name\n");
    assert_eq!(sql(session, none, &["--format", "json"]).await?.stdout()?, "");
    Ok(())
}

/// The summary of a job without stores.
fn check_summary(text: &str, rows: u64, output: Option<&str>) -> Result<()> {
    let summary: Value = serde_json::from_str(text).with_context(|| text.to_owned())?;
    let fields = summary.as_object().context("an object")?;
    let mut names: Vec<_> = fields.keys().map(String::as_str).collect();
    names.sort_unstable();
    let all = ["job_id", "output", "rows", "seconds", "stores", "tasks", "workers"];
    let expected: Vec<_> =
        all.into_iter().filter(|name| *name != "output" || output.is_some()).collect();
    assert_eq!(names, expected);
    assert_eq!(summary["rows"], rows);
    assert_eq!((&summary["tasks"], &summary["workers"]), (&1.into(), &1.into()));
    assert!(summary["seconds"].as_f64().is_some_and(|seconds| seconds > 0.0), "{text}");
    assert_eq!(summary["output"].as_str(), output);
    Ok(())
}

async fn a_summary_is_json_beside_the_rows_or_in_their_place(session: &TestSession) -> Result<()> {
    let select = "SELECT id FROM t";
    let ended = sql(session, select, &["--format", "json", "--summary"]).await?;
    assert_eq!(ended.stdout()?, "{\"id\":3}\n{\"id\":1}\n{\"id\":2}\n");
    check_summary(&ended.stderr, 3, None)?;

    let path = session.path("out.csv");
    let ended = sql(session, select, &["-o", &path, "--summary=json"]).await?;
    check_summary(ended.stdout()?, 3, Some(&path))?;
    assert_eq!(ended.stderr, "");

    let ended = sql(session, select, &["-o", &path]).await?;
    assert_eq!(ended.stdout()?, "");
    assert!(
        ended.stderr.starts_with(&format!("3 rows written to {path}\n3 rows in ")),
        "{ended:?}"
    );

    let ended = sql(session, select, &["-o", &path, "--summary=none"]).await?;
    assert_eq!((ended.stdout()?, ended.stderr.as_str()), ("", ""));
    Ok(())
}
