//! Outputs that workers write, as the command asks for them and tells of them.

use std::fs;

use anyhow::{Result, ensure};
use serde_json::Value;

use super::{Keyloom, input, write_arrow};
use crate::harness::{TestSession, batch, ints, on_all_deployments};

on_all_deployments! {
    workers_write_the_output_of_a_job_file,
    a_flag_names_a_folder_or_a_dataset,
    outputs_that_do_not_do_are_refused,
}

/// Makes a job of ten numbers with these lines behind its statement.
fn job(session: &TestSession, lines: &str) -> Result<String> {
    write_arrow(session.path("t.arrow"), &batch([("n", ints(0..10))]))?;
    let text = format!("[inputs.t]\npath = 't.arrow'\n[job]\nsql = 'SELECT n FROM t'\n{lines}");
    let path = session.path("job.toml");
    fs::write(&path, text)?;
    Ok(path)
}

/// The sum of the numbers that are there.
async fn sum(session: &TestSession, path: &str) -> Result<String> {
    let [flag, table] = input("o", path);
    let sql = ["sql", "SELECT count(*) AS c, sum(n) AS s FROM o", &flag, &table, "-o", "csv"];
    Ok(Keyloom::on(session, sql).await?.run().await?.stdout()?.to_owned())
}

async fn workers_write_the_output_of_a_job_file(session: &TestSession) -> Result<()> {
    let job = job(session, "[output]\npath = 'out/'")?;
    let ended = Keyloom::on(session, ["run", &job]).await?.run().await?;
    assert_eq!(ended.stdout()?, "");
    let out = session.path("out/");
    assert!(ended.stderr.contains(&format!("10 rows written to {out}: ")), "{ended:?}");
    assert!(ended.stderr.contains("\n10 rows in "), "{ended:?}");
    assert_eq!(sum(session, &format!("{out}*.parquet")).await?, "c,s\n10,45\n");

    // What is there stays, unless it is said otherwise.
    let ended = Keyloom::on(session, ["run", &job]).await?.run().await?;
    ensure!(ended.code != 0 && ended.stderr.starts_with("error: "), "{ended:?}");
    let again = format!("{out}?if_exists=overwrite");
    let ended = Keyloom::on(session, ["run", &job, "-o", &again, "--summary"]).await?.run().await?;
    let report: Value = serde_json::from_str(ended.stdout()?)?;
    assert_eq!(report["rows"], 10, "{report}");
    assert_eq!(report["output"], out.as_str(), "{report}");
    assert_eq!(report["written"]["rows"], 10, "{report}");
    assert!(report["written"]["files"].as_u64().is_some_and(|files| files > 0), "{report}");
    assert_eq!(sum(session, &format!("{out}*.parquet")).await?, "c,s\n10,45\n");
    Ok(())
}

async fn a_flag_names_a_folder_or_a_dataset(session: &TestSession) -> Result<()> {
    write_arrow(session.path("t.arrow"), &batch([("n", ints(0..10))]))?;
    let [flag, table] = input("t", &session.path("t.arrow"));
    let (folder, dataset) = (session.path("out/"), session.path("out.lance"));
    for (output, read) in [
        (format!("{folder}?format=csv"), format!("{folder}*.csv")),
        (dataset.clone(), dataset.clone()),
        (format!("{dataset}?if_exists=append"), dataset.clone()),
    ] {
        let sql = ["sql", "SELECT n FROM t", &flag, &table, "-o", &output];
        let ended = Keyloom::on(session, sql).await?.run().await?;
        assert!(ended.stderr.starts_with("10 rows written to "), "{ended:?}");
        let twice = output.ends_with("append");
        let expected = if twice { "c,s\n20,90\n" } else { "c,s\n10,45\n" };
        assert_eq!(sum(session, &read).await?, expected, "{output}");
    }
    Ok(())
}

async fn outputs_that_do_not_do_are_refused(session: &TestSession) -> Result<()> {
    let both = job(session, "output = 'out.csv'\n[output]\npath = 'out/'")?;
    let ended = Keyloom::on(session, ["run", &both]).await?.run().await?;
    ended.check_failure(2, &["job.toml:6:", "the rows go to [output]", "leave out one of them"]);
    let mode = job(session, "[output]\npath = 'out/'\nif_exists = 'upsert'\nkey = 'n'")?;
    let ended = Keyloom::on(session, ["run", &mode]).await?.run().await?;
    ended.check_failure(2, &["[output]: if_exists = \"upsert\" is for Lance datasets"]);
    let dataset = job(session, "[output]\npath = 'out.parquet'\nformat = 'lance'")?;
    let ended = Keyloom::on(session, ["run", &dataset]).await?.run().await?;
    let words = ["[output]: a Lance dataset is a folder, and '", "out.parquet' is called like one"];
    ended.check_failure(2, &words);
    for (output, words) in [
        ("s3://bucket/out.csv", "help: workers write to URLs"),
        ("out/?formt=csv", "'formt' is no option of an output"),
    ] {
        let sql = ["sql", "SELECT 1 AS n", "-o", output];
        let ended = Keyloom::on(session, sql).await?.run().await?;
        ended.check_failure(2, &[words]);
    }
    let explain = ["sql", "EXPLAIN SELECT 1", "-o", &session.path("out/")];
    let ended = Keyloom::on(session, explain).await?.run().await?;
    ended.check_failure(2, &["EXPLAIN answers no rows that "]);
    Ok(())
}
