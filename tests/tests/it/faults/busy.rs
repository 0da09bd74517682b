//! Workers that compute and compute: one whose slots are all busy is not lost, however long that
//! takes, and one whose threads come to nothing else for too long gives its tasks up.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use keyloom_client::{ErrorKind, Job, Session, Settings};
use tokio::time::timeout;

use super::{
    small_window,
    workers::{LOGGED, begun},
};
use crate::harness::{Cluster, Daemon, batch, ints, show_rows};

/// One batch each, amid which a thread does nothing else.
const TASK_ROWS: i64 = 20;

/// No job takes longer, also on a slow machine.
const BOUND: Duration = Duration::from_secs(60);

/// Short enough for jobs of a second, and more and more from there.
const FIRST_LENGTH: usize = 1_000;

async fn connect(cluster: &Cluster, tasks: i64) -> Result<Session> {
    let settings = Settings { task_rows: TASK_ROWS as usize, ..Settings::default() };
    let session = Session::connect_with(&cluster.address, settings).await?;
    session.register_batches("t", &[batch([("id", ints(0..tasks * TASK_ROWS))])])?;
    Ok(session)
}

/// Rows that take a time to compute which grows with the square of a length. All characters of the
/// texts differ, so that their distance is their length.
async fn start(session: &Session, length: usize) -> Result<Job> {
    let sql = format!(
        "SELECT id, levenshtein(repeat(CAST(id % 10 AS VARCHAR), {length}), repeat('x', {length})) \
         AS distance FROM t"
    );
    Ok(session.submit(session.sql(&sql).await?).await?)
}

/// Takes the rows and compares them, unless the job fails.
async fn run(job: &mut Job, tasks: i64, length: usize) -> Result<keyloom_client::Result<()>> {
    let batches = timeout(BOUND, job.collect()).await;
    match batches.with_context(|| format!("no end within {BOUND:?}"))? {
        Ok(batches) => {
            let expected = (0..tasks * TASK_ROWS).map(|id| format!("{id} | {length}"));
            assert_eq!(show_rows(&batches)?, expected.collect::<Vec<_>>());
            Ok(Ok(()))
        }
        Err(error) => Ok(Err(error)),
    }
}

#[tokio::test]
async fn a_worker_that_computes_for_longer_than_it_may_be_silent_is_not_lost() -> Result<()> {
    const SILENCE: Duration = Duration::from_secs(1);
    // One for each slot.
    const TASKS: i64 = 2;
    let env = small_window(&[("KEYLOOM_COORDINATOR_SCHEDULER__HEARTBEAT_TIMEOUT_MS", "1000")]);
    let worker_env = [("KEYLOOM_WORKER_HEARTBEAT_MS", "100"), LOGGED];
    let cluster = Cluster::start_with(1, &env, &worker_env).await?;
    let session = connect(&cluster, TASKS).await?;
    let mut length = FIRST_LENGTH;
    let job = loop {
        let mut job = start(&session, length).await?;
        let since = Instant::now();
        run(&mut job, TASKS, length).await??;
        if since.elapsed() > 3 * SILENCE {
            break job.id();
        }
        length += length / 2;
    };
    let mut attempts = begun(job, &cluster.workers);
    attempts.sort();
    assert_eq!(attempts, [format!("{job}/0/0#0"), format!("{job}/0/1#0")]);
    let log = cluster.coordinator.log();
    assert!(!log.contains("worker gone"), "{log}");
    Ok(())
}

#[tokio::test]
async fn a_worker_whose_threads_come_to_nothing_else_for_too_long_gives_its_tasks_up() -> Result<()>
{
    const GIVEN_UP: &str = "more than stall_timeout_ms; its tasks are given up";
    let env = small_window(&[("KEYLOOM_COORDINATOR_SCHEDULER__MAX_TASK_DEATHS", "2")]);
    let cluster = Cluster::start_with(0, &env, &[]).await?;
    let arguments = ["--coordinator", &cluster.address, "--slots", "1"];
    let worker_env = [
        ("KEYLOOM_WORKER_HEARTBEAT_MS", "100"),
        ("KEYLOOM_WORKER_STALL_TIMEOUT_MS", "1000"),
        ("KEYLOOM_WORKER_RECONNECT_MAX_MS", "200"),
    ];
    let worker = Daemon::start("keyloom-worker", &arguments, &worker_env)?;
    cluster.wait_for_workers(1).await?;
    let session = connect(&cluster, 1).await?;
    let mut length = FIRST_LENGTH;
    let (job, error) = loop {
        let mut job = start(&session, length).await?;
        if let Err(error) = run(&mut job, 1, length).await? {
            break (job.id(), error);
        }
        length += length / 2;
    };
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    // A machine that is busy otherwise may lose a connection beside, which is no death.
    let doing = format!("task {job}/0/0 was running on ");
    assert!(error.message().contains(&doing), "{error}");
    assert!(
        error.message().contains(" workers when they died (scheduler.max_task_deaths"),
        "{error}"
    );
    let log = worker.log();
    assert!(log.contains("the worker's threads did nothing for "), "{log}");
    assert!(log.matches(GIVEN_UP).count() >= 2, "{log}");
    // It begins another life when its thread is through with that.
    let mut job = start(&session, 1).await?;
    run(&mut job, 1, 1).await??;
    Ok(())
}
