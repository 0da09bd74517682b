//! Inputs are read as they are when a job is submitted, and as they were then until it ends.

use std::{fs, sync::Arc};

use anyhow::{Result, bail};
use datafusion::{physical_plan::ExecutionPlan, prelude::DataFrame};
use keyloom_client::{Error, ErrorKind};

use super::{numbered, write_arrow, write_parquet};
use crate::harness::{TestSession, on_all_deployments, show_rows};

on_all_deployments! {
    a_folder_is_read_as_it_is_now,
    other_columns_than_before_are_named,
    a_file_that_changes_after_planning_fails_the_job,
    a_file_that_vanishes_after_planning_fails_the_job,
}

const FORMATS: [&str; 4] = ["csv", "json", "parquet", "arrow"];

/// Writes rows from one number to another.
fn write(path: &str, from: i64, to: i64) -> Result<()> {
    let lines = |line: &dyn Fn(i64) -> String| (from..to).map(line).collect::<String>();
    match path.rsplit('.').next() {
        Some("csv") => fs::write(path, format!("n\n{}", lines(&|n| format!("{n}\n"))))?,
        Some("json") => fs::write(path, lines(&|n| format!("{{\"n\": {n}}}\n")))?,
        Some("parquet") => write_parquet(path, &[numbered(from, to)])?,
        Some("arrow") => write_arrow(path, &[numbered(from, to)])?,
        _ => bail!("{path}"),
    }
    Ok(())
}

async fn a_folder_is_read_as_it_is_now(session: &TestSession) -> Result<()> {
    for format in FORMATS {
        let folder = session.path(format);
        fs::create_dir(&folder)?;
        let path = |name: &str| format!("{folder}/{name}.{format}");
        write(&path("b"), 10, 12)?;
        session.register(format, &folder).await?;
        let sql = format!("SELECT n FROM {format}");
        session.check(&sql, &["10", "11"]).await?;
        write(&path("a"), 1, 2)?;
        session.check(&sql, &["1", "10", "11"]).await?;
        write(&path("b"), 20, 22)?;
        session.check(&sql, &["1", "20", "21"]).await?;
        fs::remove_file(path("a"))?;
        session.check(&sql, &["20", "21"]).await?;
    }
    Ok(())
}

async fn other_columns_than_before_are_named(session: &TestSession) -> Result<()> {
    let path = session.path("rows.csv");
    fs::write(&path, "n,m\n1,2\n")?;
    session.register("t", &path).await?;
    session.check("SELECT n FROM t", &["1"]).await?;
    fs::write(&path, "n,word\n1,a\n")?;
    let error = session.failure("SELECT n FROM t").await?;
    assert_eq!(error.kind(), ErrorKind::Invalid);
    let message = "rows.csv has other columns than when it was opened; open it again";
    assert!(error.message().ends_with(message), "{error}");
    Ok(())
}

/// Why a planned job fails.
async fn failure(session: &TestSession, plan: Arc<dyn ExecutionPlan>) -> Result<Error> {
    let context = session.context().task_ctx();
    match datafusion::physical_plan::collect(plan, context).await {
        Ok(batches) => bail!("no failure but {:?}", show_rows(&batches)?),
        Err(error) => Ok(error.into()),
    }
}

/// Plans a scan of a file of each format, does something to the file, and runs the plan.
async fn check_failure(
    session: &TestSession,
    change: impl Fn(&str) -> Result<()>,
    kind: ErrorKind,
    words: &str,
) -> Result<()> {
    for format in FORMATS {
        let path = session.path(&format!("{}.{format}", words.replace(' ', "-")));
        write(&path, 0, 50)?;
        let scan: DataFrame = session.read(&path).await?;
        let plan = scan.create_physical_plan().await?;
        change(&path)?;
        let error = failure(session, plan).await?;
        assert_eq!(error.kind(), kind, "{format}: {error}");
        assert!(error.message().contains(&path), "{format}: {error}");
        assert!(error.message().contains(words), "{format}: {error}");
    }
    Ok(())
}

async fn a_file_that_changes_after_planning_fails_the_job(session: &TestSession) -> Result<()> {
    let rewrite = |path: &str| write(path, 1, 51);
    check_failure(session, rewrite, ErrorKind::Invalid, "changed while the job ran").await?;
    let shorten = |path: &str| {
        let half = fs::read(path)?.len() as u64 / 2;
        Ok(fs::OpenOptions::new().write(true).open(path)?.set_len(half)?)
    };
    check_failure(session, shorten, ErrorKind::Invalid, "changed while the job").await
}

async fn a_file_that_vanishes_after_planning_fails_the_job(session: &TestSession) -> Result<()> {
    let remove = |path: &str| Ok(fs::remove_file(path)?);
    check_failure(session, remove, ErrorKind::NotFound, "while the job ran").await
}
