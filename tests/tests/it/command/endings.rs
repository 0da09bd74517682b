//! How commands end: exit codes, signals, readers that go away.

use std::{fs, path::Path};

use anyhow::{Context, Result};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokio::io::{AsyncBufReadExt, BufReader};

use super::{Keyloom, ended, input, names, write_arrow};
use crate::harness::{TestSession, batch, eventually, ints, on_all_deployments};

on_all_deployments! {
    mistakes_end_with_2,
    failures_end_with_1,
    an_interrupted_job_leaves_nothing,
    a_reader_that_has_enough_is_no_failure,
}

/// More rows than anybody waits for.
const ENDLESS: &str = "SELECT a.n, b.n AS m, c.n AS o FROM t a CROSS JOIN t b CROSS JOIN t c";

fn table(folder: &Path) -> Result<[String; 2]> {
    let path = folder.join("t.arrow");
    write_arrow(&path, &batch([("n", ints(0..2000))]))?;
    Ok(input("t", &path.to_string_lossy()))
}

async fn mistakes_end_with_2(session: &TestSession) -> Result<()> {
    fs::write(session.path("job.toml"), "[job]\nsql = 'SELECT 1'\noutptu = 'x'")?;
    let job = session.path("job.toml");
    let check = async |arguments: &[&str], words: &str| -> Result<()> {
        let ended = Keyloom::on(session, arguments).await?.run().await?;
        ended.check_failure(2, &[words]);
        Ok(())
    };
    check(&["sql", "SELEKT 1"], "Expected: ").await?;
    check(&["sql", "SELECT nix FROM nowhere"], "table 'nowhere' not found").await?;
    check(&["sql", "SELECT kv_get(1, source => 'x')"], "KV store 'x' not found").await?;
    check(&["sql", "SELECT kv_get(1)"], "No KV store is currently attached").await?;
    check(&["sql", "SELECT 1", "--current", "x"], "KV store 'x' not found").await?;
    check(&["sql", "SELECT 1", "--input", "t=/nowhere/t.csv"], "table 't': input /nowhere/t.csv")
        .await?;
    check(
        &["sql", "SELECT 1", "--store", "s=lance:/nowhere/s.lance?key=a"],
        "store 's' cannot be opened",
    )
    .await?;
    check(&["sql", "SELECT 1", "--output", "/nowhere/x.csv"], "there is no folder /nowhere")
        .await?;
    check(&["sql", "SELECT 1", "--colour"], "unexpected argument '--colour'").await?;
    check(&["sql", "SELECT 1", "--config", "/nowhere.toml"], "--config /nowhere.toml").await?;
    check(&["run", &job], "job.toml:3:1: unknown field `outptu`").await?;
    check(&["run", "/nowhere/job.toml"], "job file /nowhere/job.toml").await?;
    check(&["explain", &job], "unknown field `outptu`").await?;
    check(&["describe", "/nowhere/t.csv"], "input /nowhere/t.csv").await?;
    check(&["describe", "lance:/nowhere/s.lance"], "cannot be opened").await?;
    for (statement, help) in [
        ("SELECT nix FROM nowhere", "help: tables are inputs"),
        ("SELECT kv_get(1, source => 'x')", "help: attach it"),
        ("SELECT kv_get(1)", "help: say which store is meant"),
    ] {
        check(&["sql", statement], help).await?;
    }
    Ok(())
}

async fn failures_end_with_1(session: &TestSession) -> Result<()> {
    let [flag, table] = table(session.path("").as_ref())?;
    let divide = ["sql", "SELECT 1 / n FROM t", &flag, &table, "--format", "json"];
    let ended = Keyloom::on(session, divide).await?.run().await?;
    ended.check_failure(1, &["Divide by zero"]);
    Ok(())
}

#[tokio::test]
async fn a_cluster_that_does_not_answer_ends_with_5() -> Result<()> {
    let nobody = "tcp://127.0.0.1:1";
    for arguments in [
        &["workers"][..],
        &["sql", "SELECT 1"],
        &["describe", "x.csv"],
        &["top"],
        &["jobs", "list"],
    ] {
        let command = Keyloom::new([arguments, &["--cluster", nobody]].concat())?;
        let ended = command.run().await?;
        ended.check_failure(5, &["no coordinator answers", nobody, "help: "]);
    }
    Ok(())
}

/// Waits until an endless job has begun its file, and sends a signal.
async fn end_by(session: &TestSession, signal: Signal, code: i32, word: &str) -> Result<()> {
    let folder = session.path("");
    let [flag, table] = table(folder.as_ref())?;
    let output = session.path("out.csv");
    let arguments = ["sql", ENDLESS, &flag, &table, "-o", &output];
    let child = Keyloom::on(session, arguments).await?.start()?;
    let begun = async || Ok(names(&folder)?);
    eventually(begun, |names| names.iter().any(|name| name.ends_with(".partial"))).await?;
    let pid = i32::try_from(child.id().context("it ended")?)?;
    kill(Pid::from_raw(pid), signal)?;
    let ended = ended(child).await?;
    assert_eq!((ended.code, ended.stdout.as_str()), (code, ""), "{ended:?}");
    assert_eq!(ended.stderr, format!("error: {word}\n"));
    assert_eq!(names(&folder)?, ["t.arrow"]);
    Ok(())
}

async fn an_interrupted_job_leaves_nothing(session: &TestSession) -> Result<()> {
    end_by(session, Signal::SIGINT, 130, "interrupted").await?;
    end_by(session, Signal::SIGTERM, 143, "terminated").await
}

async fn a_reader_that_has_enough_is_no_failure(session: &TestSession) -> Result<()> {
    let [flag, table] = table(session.path("").as_ref())?;
    let arguments = ["sql", ENDLESS, &flag, &table, "--format", "json"];
    let mut child = Keyloom::on(session, arguments).await?.start()?;
    let mut stdout = BufReader::new(child.stdout.take().context("stdout is piped")?);
    let mut line = String::new();
    stdout.read_line(&mut line).await?;
    assert_eq!(line, "{\"n\":0,\"m\":0,\"o\":0}\n");
    drop(stdout);
    let ended = ended(child).await?;
    assert_eq!((ended.code, ended.stderr.as_str()), (0, ""));
    Ok(())
}
