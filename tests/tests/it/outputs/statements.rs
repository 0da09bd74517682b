//! Statements that write, and what is told of them.

use anyhow::{Context, Result};
use keyloom_client::ErrorKind;

use super::{check_empty, files, read_back, register_numbers};
use crate::harness::{TestSession, on_all_deployments};

on_all_deployments! {
    rows_are_copied_to_a_folder,
    a_copy_is_explained_and_not_run_unless_it_is_analyzed,
    what_is_written_is_no_table,
}

async fn rows_are_copied_to_a_folder(session: &TestSession) -> Result<()> {
    register_numbers(session)?;
    let out = session.path("out/");
    let copied = format!("COPY (SELECT n, half FROM numbers WHERE n < 10) TO '{out}'");
    let told = session.rows(&copied).await?;
    let [told] = told.as_slice() else { panic!("{told:?}") };
    assert!(told.starts_with(&format!("{out} | 10 | ")) && told.ends_with(" | NULL"), "{told}");
    let expected = session.rows("SELECT n, half FROM numbers WHERE n < 10").await?;
    assert_eq!(read_back(session, &out).await?, expected);
    let csv = session.path("csv/");
    session.rows(&format!("COPY numbers TO '{csv}' STORED AS CSV")).await?;
    assert_eq!(read_back(session, &csv).await?, session.rows("SELECT * FROM numbers").await?);
    // Tables without names are told apart, as in other statements.
    let query = "SELECT count(*) AS c FROM (SELECT n FROM numbers WHERE n < 10), \
                 (SELECT n FROM numbers WHERE n < 2)";
    let counted = session.path("counted/");
    session.rows(&format!("COPY ({query}) TO '{counted}'")).await?;
    assert_eq!(read_back(session, &counted).await?, session.rows(query).await?);
    // As any other output.
    let error = session.failure(&copied).await?;
    assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    session.rows(&format!("{copied} OPTIONS (if_exists 'overwrite')")).await?;
    assert_eq!(read_back(session, &out).await?, expected);
    Ok(())
}

async fn a_copy_is_explained_and_not_run_unless_it_is_analyzed(
    session: &TestSession,
) -> Result<()> {
    register_numbers(session)?;
    let out = session.path("out/");
    let copied = format!("COPY (SELECT n FROM numbers WHERE n < 10) TO '{out}'");
    let plan = session.rows(&format!("EXPLAIN {copied}")).await?.join("\n");
    assert!(plan.contains(&format!("WriteExec: parquet files in {out}")), "{plan}");
    assert!(plan.contains("FrameScanExec"), "{plan}");
    let plan = session.explain(session.sql(&copied).await?, false).await?;
    assert!(plan.starts_with("WriteExec: parquet files in "), "{plan}");
    check_empty(&out).await?;
    let analyzed = session.rows(&format!("EXPLAIN ANALYZE {copied}")).await?.join("\n");
    assert!(analyzed.contains("CommitExec") && analyzed.contains("WriteExec"), "{analyzed}");
    assert!(!files(&out)?.is_empty());
    assert_eq!(read_back(session, &out).await?.len(), 10);
    Ok(())
}

async fn what_is_written_is_no_table(session: &TestSession) -> Result<()> {
    register_numbers(session)?;
    let out = session.path("out/");
    let copied = session.sql(&format!("COPY numbers TO '{out}'")).await?;
    let limited = copied.limit(0, Some(1))?;
    let error = session.submit(limited).await.err().context("it was taken")?;
    assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    assert!(error.message().contains("a statement that writes"), "{error}");
    check_empty(&out).await
}
