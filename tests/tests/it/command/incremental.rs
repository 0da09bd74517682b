//! Jobs that read only what no run before has read.

use std::{fs, ops::Range};

use anyhow::Result;
use lance::dataset::{WriteMode, WriteParams};
use serde_json::{Value, json};

use super::{Ended, Keyloom, names, write_arrow};
use crate::harness::{TestSession, batch, ints, on_all_deployments, write_lance_with};

on_all_deployments! {
    a_run_reads_the_files_that_have_come_since_the_last_one,
    of_a_dataset_the_rows_are_read_that_were_added,
    a_run_that_fails_is_as_if_it_had_not_been,
    what_cannot_be_incremental_is_refused,
    what_a_run_appended_of_whose_end_nobody_heard_is_asked_about,
}

/// Puts a file of numbers where the job finds it.
fn arrive(session: &TestSession, name: &str, numbers: &[i64]) -> Result<()> {
    fs::create_dir_all(session.path("visits"))?;
    let rows = batch([("n", ints(numbers.iter().copied()))]);
    write_arrow(session.path(&format!("visits/{name}.arrow")), &rows)
}

fn job(session: &TestSession, sql: &str, lines: &str) -> Result<String> {
    let text = format!(
        "[inputs.visits]\npath = 'visits/*.arrow'\n[job]\nsql = '{sql}'\noutput = 'out.csv'\n{lines}"
    );
    let path = session.path("nightly.toml");
    fs::write(&path, text)?;
    Ok(path)
}

async fn run(session: &TestSession, job: &str) -> Result<Ended> {
    let summary = session.path("summary.json");
    let arguments = ["run", job, "--summary-file", &summary];
    Keyloom::on(session, arguments).await?.run().await
}

fn summary(session: &TestSession) -> Result<Value> {
    Ok(serde_json::from_str(&fs::read_to_string(session.path("summary.json"))?)?)
}

async fn a_run_reads_the_files_that_have_come_since_the_last_one(
    session: &TestSession,
) -> Result<()> {
    let job = job(session, "SELECT n FROM visits ORDER BY n", "incremental = 'visits'")?;
    let written = || fs::read_to_string(session.path("out.csv"));
    arrive(session, "a", &[1, 2])?;
    arrive(session, "b", &[3])?;
    let ended = run(session, &job).await?;
    assert!(ended.stderr.contains("2 new files read\n"), "{ended:?}");
    assert_eq!((ended.code, written()?.as_str()), (0, "n\n1\n2\n3\n"));
    let told = summary(session)?;
    assert_eq!((&told["new"], &told["new_files"]), (&json!(true), &json!(2)), "{told}");
    let state = session.path(".keyloom/state");
    assert_eq!(names(&state)?, ["nightly.visits.json", "nightly.visits.lock"]);

    let ended = run(session, &job).await?;
    let nothing = "nothing new: each file of input 'visits' was read before\n";
    assert_eq!((ended.code, ended.stderr.as_str()), (0, nothing));
    assert_eq!(summary(session)?, json!({"state": "done", "exit_code": 0, "new": false}));
    assert_eq!(written()?, "n\n1\n2\n3\n");

    arrive(session, "c", &[4])?;
    run(session, &job).await?.stdout()?;
    assert_eq!(written()?, "n\n4\n");
    // A file that has changed is another one.
    arrive(session, "a", &[1, 2, 5])?;
    run(session, &job).await?.stdout()?;
    assert_eq!(written()?, "n\n1\n2\n5\n");

    let elsewhere = session.path("elsewhere");
    let arguments = ["run", &job, "--state-folder", &elsewhere];
    Keyloom::on(session, arguments).await?.run().await?.stdout()?;
    assert_eq!(written()?, "n\n1\n2\n3\n4\n5\n");
    Ok(())
}

async fn of_a_dataset_the_rows_are_read_that_were_added(session: &TestSession) -> Result<()> {
    let text = "[inputs.visits]\npath = 'visits.lance'\n[job]\nsql = 'SELECT n FROM visits'\n\
                output = 'out.csv'\nincremental = 'visits'\n";
    let job = session.path("nightly.toml");
    fs::write(&job, text)?;
    let written = || fs::read_to_string(session.path("out.csv"));
    let uri = session.path("visits.lance");
    let write = async |mode: WriteMode, numbers: Range<i64>| {
        let params = WriteParams { mode, max_rows_per_file: 2, ..WriteParams::default() };
        write_lance_with(&uri, &[batch([("n", ints(numbers))])], params).await
    };
    write(WriteMode::Create, 1..4).await?;
    run(session, &job).await?.stdout()?;
    assert_eq!(written()?, "n\n1\n2\n3\n");
    let mut dataset = write(WriteMode::Append, 4..6).await?;
    let ended = run(session, &job).await?;
    assert!(ended.stderr.contains("1 new file read\n"), "{ended:?}");
    assert_eq!((ended.code, written()?.as_str()), (0, "n\n4\n5\n"));
    assert!(run(session, &job).await?.stderr.starts_with("nothing new: "));
    dataset.delete("n = 1").await?;
    let refused = "rows of this Lance dataset that were read before were changed, deleted";
    run(session, &job).await?.check_failure(2, &["input", refused]);
    Ok(())
}

async fn a_run_that_fails_is_as_if_it_had_not_been(session: &TestSession) -> Result<()> {
    arrive(session, "a", &[0, 1])?;
    let fails = job(session, "SELECT 1 / n AS n FROM visits", "incremental = 'visits'")?;
    assert_eq!(run(session, &fails).await?.code, 1);
    let plain = job(session, "SELECT n FROM visits ORDER BY n", "incremental = 'visits'")?;
    let measured = Keyloom::on(session, ["run", &plain, "--discard"]).await?.run().await?;
    assert_eq!(measured.code, 0, "{measured:?}");
    run(session, &plain).await?.stdout()?;
    assert_eq!(fs::read_to_string(session.path("out.csv"))?, "n\n0\n1\n");
    Ok(())
}

async fn what_cannot_be_incremental_is_refused(session: &TestSession) -> Result<()> {
    arrive(session, "a", &[1])?;
    let sql = "SELECT n FROM visits";
    let other = job(session, sql, "incremental = 'nightly'")?;
    let words = "incremental names 'nightly', which is no input; there are: visits";
    run(session, &other).await?.check_failure(2, &[words]);
    let plain = job(session, sql, "")?;
    let flags = ["run", &plain, "--state-folder", &session.path("elsewhere")];
    let ended = Keyloom::on(session, flags).await?.run().await?;
    ended.check_failure(2, &["--state-folder is for jobs with incremental"]);
    Ok(())
}

async fn what_a_run_appended_of_whose_end_nobody_heard_is_asked_about(
    session: &TestSession,
) -> Result<()> {
    let text = "[inputs.visits]\npath = 'visits/*.arrow'\n[job]\nsql = 'SELECT n FROM visits'\n\
                incremental = 'visits'\n[output]\npath = 'out/'\nif_exists = 'append'\n";
    let job = session.path("nightly.toml");
    fs::write(&job, text)?;
    arrive(session, "a", &[1])?;
    run(session, &job).await?.stdout()?;
    let pending = session.path(".keyloom/state/nightly.visits.pending.json");
    assert!(!fs::exists(&pending)?, "its end is known");

    let id = "0e6f6e2c-3c1b-4a57-9a55-5d0f3f0c8f11";
    let handed_in = json!({"id": id, "output": "out/", "appends": true});
    let state = json!({"files": [], "job_file": "nightly.toml", "pending": handed_in});
    fs::write(&pending, state.to_string())?;
    arrive(session, "b", &[2])?;
    let ended = run(session, &job).await?;
    let words = format!("whether the rows of job {id}, which read new files of input 'visits'");
    ended.check_failure(1, &[&words, "were appended to out/ is not known to the coordinator"]);
    fs::remove_file(&pending)?;
    let ended = run(session, &job).await?;
    assert!(ended.stderr.contains("1 new file read\n"), "{ended:?}");
    Ok(())
}
