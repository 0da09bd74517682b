//! What the daemons log: text for people, JSON for programs, a line for each thing said, and the
//! names of the job, the task, the attempt and the worker that it is said of.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use keyloom_client::{JobId, Session, Settings};
use serde_json::Value;

use crate::harness::{Cluster, Daemon, batch, eventually, ints};

const JSON: (&str, &str) = ("KEYLOOM_LOG_FORMAT", "json");

const ROWS: i64 = 12;

/// The lines of a log, all of which are JSON and have what each line has.
fn lines(daemon: &Daemon) -> Result<Vec<Value>> {
    let log = daemon.log();
    // The last one may be just being written.
    let whole = log.rsplit_once('\n').map_or("", |(whole, _)| whole);
    let parsed = whole.lines().map(|line| {
        let line: Value = serde_json::from_str(line).with_context(|| line.to_owned())?;
        for name in ["timestamp", "level", "target", "message"] {
            ensure!(line[name].is_string(), "no {name}: {line}");
        }
        ensure!(is_time(line["timestamp"].as_str().unwrap_or_default()), "{line}");
        Ok(line)
    });
    parsed.collect()
}

/// Whether that is a time in UTC, as RFC 3339 writes it.
fn is_time(text: &str) -> bool {
    let shape = |c: char| if c.is_ascii_digit() { '0' } else { c };
    text.chars().map(shape).collect::<String>() == "0000-00-00T00:00:00.000000Z"
}

/// The lines that say something of a job.
fn of_job<'a>(lines: &'a [Value], job: &str) -> Vec<&'a Value> {
    lines.iter().filter(|line| line["job"] == job).collect()
}

fn messages(lines: &[&Value]) -> BTreeSet<String> {
    lines.iter().filter_map(|line| line["message"].as_str()).map(ToOwned::to_owned).collect()
}

/// Runs a job of several tasks.
async fn run(address: &str) -> Result<JobId> {
    let settings = Settings { task_rows: 3, ..Settings::default() };
    let session = Session::connect_with(address, settings).await?;
    session.register_batches("t", &[batch([("id", ints(0..ROWS))])])?;
    let mut job = session.submit(session.sql("SELECT id + 1 AS next FROM t").await?).await?;
    let rows: usize = job.collect().await?.iter().map(|batch| batch.num_rows()).sum();
    assert_eq!(rows, ROWS as usize);
    Ok(job.id())
}

#[tokio::test]
async fn lines_of_json_name_the_job_the_task_the_attempt_and_the_worker() -> Result<()> {
    let of_workers = [JSON, ("KEYLOOM_LOG", "info,keyloom_worker=debug")];
    let of_coordinator = [JSON, ("KEYLOOM_LOG", "info,keyloom_coordinator=debug")];
    let cluster = Cluster::start_with(2, &of_coordinator, &of_workers).await?;
    let job = run(&cluster.address).await?.to_string();

    let log = async || lines(&cluster.coordinator);
    let is_done = |lines: &Vec<Value>| messages(&of_job(lines, &job)).contains("job done");
    let log = eventually(log, is_done).await?;
    let said = of_job(&log, &job);
    let expected = ["job submitted", "launched", "job done"].map(ToOwned::to_owned);
    assert!(messages(&said).is_superset(&BTreeSet::from(expected)), "{said:?}");
    let launched = |lines: &[&Value], message: &str| -> BTreeSet<[String; 3]> {
        let launched = lines.iter().filter(|line| line["message"] == message);
        let names = ["task", "attempt", "worker"];
        launched.map(|line| names.map(|name| line[name].as_str().unwrap_or("").into())).collect()
    };
    let ordered = launched(&said, "launched");

    // Workers began those attempts, under the same names, and whatever they did was for one.
    let mut begun = BTreeSet::new();
    for worker in &cluster.workers {
        let log = lines(worker)?;
        let said = of_job(&log, &job);
        for line in &said {
            let [task, attempt] = ["task", "attempt"].map(|name| line[name].as_str());
            let (task, attempt) = (task.context("no task")?, attempt.context("no attempt")?);
            assert!(task.starts_with(&job) && attempt.starts_with(task), "{line}");
            assert!(line["worker"].is_string(), "{line}");
        }
        assert!(messages(&said).contains("read a fragment") || said.is_empty(), "{said:?}");
        begun.extend(launched(&said, "started"));
    }
    assert_eq!(begun, ordered);
    let registered = log.iter().filter(|line| line["message"] == "worker registered");
    let registered: BTreeSet<_> = registered.filter_map(|line| line["worker"].as_str()).collect();
    assert_eq!(registered.len(), 2);
    assert!(begun.iter().all(|[_, _, worker]| registered.contains(worker.as_str())), "{begun:?}");
    Ok(())
}

#[tokio::test]
async fn no_line_is_forged_by_what_is_said_in_it() -> Result<()> {
    for env in [&[][..], &[JSON]] {
        let cluster = Cluster::start_with(1, env, env).await?;
        let session = Session::connect(&cluster.address).await?;
        // The value, which has a line end, stands in the error.
        let forged = "SELECT CAST(concat('x', chr(10), CAST(value AS VARCHAR)) AS BIGINT) AS n \
                      FROM generate_series(1, 3)";
        let error = session.sql(forged).await?.collect().await.err().context("no failure")?;
        assert!(error.to_string().contains('\n'), "{error}");
        let log = async || Ok(cluster.coordinator.log());
        let log = eventually(log, |log| log.contains("job failed")).await?;
        for line in log.lines() {
            let is_whole = if env.is_empty() {
                line.get(..27).is_some_and(is_time)
            } else {
                serde_json::from_str::<Value>(line).is_ok()
            };
            assert!(is_whole, "{line}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn settings_say_how_a_log_is_written_unless_whoever_starts_it_does() -> Result<()> {
    let of_coordinator = [("KEYLOOM_COORDINATOR_LOG__FORMAT", "json")];
    let of_worker = [("KEYLOOM_WORKER_LOG__FORMAT", "json"), ("KEYLOOM_LOG_FORMAT", "text")];
    let cluster = Cluster::start_with(1, &of_coordinator, &of_worker).await?;
    let log = lines(&cluster.coordinator)?;
    assert!(messages(&log.iter().collect::<Vec<_>>()).contains("worker registered"), "{log:?}");
    let [worker] = cluster.workers.as_slice() else { panic!("{cluster:?}") };
    let log = worker.log();
    assert!(log.contains(" INFO keyloom_worker::agent::orders: registered worker="), "{log}");
    Ok(())
}
