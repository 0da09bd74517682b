//! Workers that die one after the other, are told to go, are aborted by what they run, or have more
//! to say of a failure than a frame holds: jobs end with the right rows, or by the name of what is
//! wrong.

use std::{collections::BTreeSet, time::Duration};

use anyhow::{Context, Result, bail};
use arrow::array::RecordBatch;
use keyloom_client::{ErrorKind, Job, JobId, MemoryOptions, Session, load_kv, query::JobUpdate};
use keyloom_common::{StageId, TaskId};
use nix::sys::signal::Signal;
use tokio::time::timeout;

use super::{
    SMALL_WINDOW, TASKS, check_rest, connect, failure, first_batch, running, send, small_window,
    start, start_worker, stop_holding_tasks,
};
use crate::harness::{Cluster, Daemon, batch, eventually, ints, strings};

/// No job takes longer, whatever its workers do.
const BOUND: Duration = Duration::from_secs(30);

/// Lets workers log each attempt that they begin.
pub(super) const LOGGED: (&str, &str) = ("KEYLOOM_LOG", "keyloom_worker=debug");

/// The attempts of a job that [`LOGGED`] workers have begun, as `job/stage/task#number`.
pub(super) fn begun(job: JobId, workers: &[Daemon]) -> Vec<String> {
    let job = format!("{job}/");
    let logs: Vec<_> = workers.iter().map(Daemon::log).collect();
    let lines = logs.iter().flat_map(|log| log.lines());
    let attempts = lines.filter_map(|line| Some(line.split_once("started attempt=")?.1));
    attempts.filter(|attempt| attempt.starts_with(&job)).map(str::to_owned).collect()
}

/// Waits until a worker is gone and so many others are registered.
async fn wait_for_successor(session: &Session, gone: u32, workers: usize) -> Result<()> {
    let gone = format!(":{gone}");
    let names = async || {
        let workers = session.workers().await?.into_iter();
        Ok(workers.map(|worker| worker.name).collect::<Vec<_>>())
    };
    let succeeded = |names: &Vec<String>| {
        names.len() == workers && !names.iter().any(|name| name.ends_with(&gone))
    };
    eventually(names, succeeded).await.map(drop)
}

/// Which of four workers is killed next, or the one that took its place.
const VICTIMS: [usize; 12] = [2, 0, 3, 3, 1, 0, 2, 1, 1, 3, 0, 2];

/// So few tasks are ahead of the client that all that a victim held are done before the next one is
/// chosen: no task meets two of them.
const STORM: [(&str, &str); 2] = [
    ("KEYLOOM_COORDINATOR_SCHEDULER__MAX_TASKS_AHEAD", "8"),
    ("KEYLOOM_COORDINATOR_RESULT_CHUNKS_AHEAD", "1"),
];

/// Batches, one a task, that are read before a victim is chosen.
const BETWEEN_VICTIMS: usize = 12;

/// The most batches that are read until the victim has a task.
const UNTIL_HELD: usize = 4;

/// Stops a worker and takes rows, but only some, until the next ones are with it. False if it was
/// given no task meanwhile.
async fn stop_amid_tasks(
    job: &mut Job,
    batches: &mut Vec<RecordBatch>,
    session: &Session,
    worker: &Daemon,
) -> Result<bool> {
    send(Signal::SIGSTOP, worker)?;
    let most = batches.len() + UNTIL_HELD;
    while batches.len() < most {
        match job.next_update().await? {
            JobUpdate::Batch(batch) => batches.push(batch),
            JobUpdate::Pending(_) if running(session, worker).await? > 0 => return Ok(true),
            JobUpdate::Pending(_) => {}
            JobUpdate::Done => bail!("the job ended before the last worker was killed"),
        }
    }
    Ok(running(session, worker).await? > 0)
}

#[tokio::test]
async fn workers_killed_one_after_the_other_and_replaced_change_no_row() -> Result<()> {
    let mut cluster = Cluster::start_with(4, &small_window(&STORM), &[]).await?;
    let session = connect(&cluster).await?;
    let mut job = start(&session).await?;
    let (mut batches, mut held) = (Vec::new(), 0);
    for victim in VICTIMS {
        for _ in 0..BETWEEN_VICTIMS {
            batches.push(first_batch(&mut job).await?);
        }
        let worker = &cluster.workers[victim];
        let holds = stop_amid_tasks(&mut job, &mut batches, &session, worker).await?;
        held += usize::from(holds);
        send(Signal::SIGKILL, worker)?;
        let gone = worker.pid();
        let successor = start_worker(&cluster)?;
        cluster.workers[victim] = successor;
        wait_for_successor(&session, gone, 4).await?;
    }
    assert!(held > 0, "no victim ran a task when it was killed");
    check_rest(job, batches).await
}

#[tokio::test]
async fn tasks_of_a_worker_that_is_killed_before_it_hears_of_them_run_elsewhere() -> Result<()> {
    let cluster = Cluster::start_with(2, &SMALL_WINDOW, &[LOGGED]).await?;
    let session = connect(&cluster).await?;
    let worker = &cluster.workers[0];
    // Before there are any.
    send(Signal::SIGSTOP, worker)?;
    let mut job = start(&session).await?;
    let id = job.id();
    let batches = stop_holding_tasks(&mut job, &session, worker).await?;
    send(Signal::SIGKILL, worker)?;
    check_rest(job, batches).await?;
    assert_eq!(begun(id, &cluster.workers[..1]), [""; 0]);
    Ok(())
}

#[tokio::test]
async fn a_killed_worker_is_noticed_long_before_its_next_heartbeat() -> Result<()> {
    let env = small_window(&[("KEYLOOM_COORDINATOR_SCHEDULER__HEARTBEAT_TIMEOUT_MS", "3600000")]);
    let worker_env = [("KEYLOOM_WORKER_HEARTBEAT_MS", "1800000")];
    let cluster = Cluster::start_with(2, &env, &worker_env).await?;
    let session = connect(&cluster).await?;
    let mut job = start(&session).await?;
    let mut batches = vec![first_batch(&mut job).await?];
    let worker = &cluster.workers[0];
    batches.extend(stop_holding_tasks(&mut job, &session, worker).await?);
    send(Signal::SIGKILL, worker)?;
    let rest = timeout(BOUND, check_rest(job, batches)).await;
    rest.with_context(|| format!("no end within {BOUND:?}"))??;
    cluster.wait_for_workers(1).await
}

#[tokio::test]
async fn workers_that_are_told_to_go_and_replaced_finish_what_they_began() -> Result<()> {
    let mut cluster = Cluster::start_with(2, &SMALL_WINDOW, &[LOGGED]).await?;
    let session = connect(&cluster).await?;
    let mut job = start(&session).await?;
    let id = job.id();
    let mut batches = vec![first_batch(&mut job).await?];
    for old in 0..2 {
        let arguments = ["--coordinator", &cluster.address, "--slots", "2"];
        let successor = Daemon::start("keyloom-worker", &arguments, &[LOGGED])?;
        cluster.workers.push(successor);
        cluster.wait_for_workers(3).await?;
        // Stopped first, so that it is certain to hold tasks when it is told.
        let worker = &cluster.workers[old];
        batches.extend(stop_holding_tasks(&mut job, &session, worker).await?);
        send(Signal::SIGTERM, worker)?;
        send(Signal::SIGCONT, worker)?;
        wait_for_successor(&session, worker.pid(), 2).await?;
    }
    check_rest(job, batches).await?;
    let attempts = begun(id, &cluster.workers);
    let tasks: BTreeSet<_> =
        attempts.iter().filter_map(|attempt| attempt.split('#').next()).collect();
    assert_eq!((tasks.len(), attempts.len()), (TASKS as usize, TASKS as usize), "{attempts:#?}");
    Ok(())
}

/// More than any machine has, so that allocating it aborts.
const POISON: &str = "SELECT id, repeat(arrow_cast('x', 'LargeUtf8'), \
                      CASE WHEN id = 7777 THEN 1000000000000000 ELSE 1 END) AS text FROM t";
const POISON_TASK: u32 = 77;

/// By default a task is given up after four deaths, or after eight if others were there each time.
const FLEET: usize = 9;

#[tokio::test]
async fn a_task_that_aborts_its_workers_fails_its_job_and_no_other() -> Result<()> {
    let cluster = Cluster::start_with(FLEET, &SMALL_WINDOW, &[]).await?;
    let (session, other) = (connect(&cluster).await?, connect(&cluster).await?);
    let poisoned = session.submit(session.sql(POISON).await?).await?;
    let stage = StageId { job: poisoned.id(), index: 0 };
    let task = TaskId { stage, index: POISON_TASK };
    let sound = start(&other).await?;
    let (error, sound) = tokio::join!(failure(poisoned, BOUND), check_rest(sound, Vec::new()));
    let error = error?;
    sound?;
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    let told = error.message().strip_prefix(&format!("task {task} was running on "));
    let (deaths, why) = told.and_then(|told| told.split_once(' ')).context(error.to_string())?;
    assert!(why.starts_with("workers when they died (scheduler.max_task_deaths, "), "{error}");
    let deaths: usize = deaths.parse()?;
    assert!((4..FLEET).contains(&deaths), "{error}");
    cluster.wait_for_workers(FLEET - deaths).await?;
    let aborted = cluster.workers.iter().filter(|w| w.log().contains("memory allocation of "));
    assert_eq!(aborted.count(), deaths);
    check_rest(start(&session).await?, Vec::new()).await
}

#[tokio::test]
async fn an_error_that_quotes_a_key_larger_than_a_frame_is_cut_and_told() -> Result<()> {
    let cluster = Cluster::start_with(1, &[], &[]).await?;
    let session = Session::connect(&cluster.address).await?;
    let key = "k".repeat(20 << 20);
    session.register_batches("t", &[batch([("key", strings([key.as_str()]))])])?;
    let store = batch([("key", strings(["known"])), ("value", ints([1]))]);
    session.attach(load_kv("small", MemoryOptions::batch(store, "key"))?, "small").await?;
    let query = session.sql("SELECT kv_get(key, source => 'small') AS found FROM t").await?;
    let error = failure(session.submit(query).await?, BOUND).await?;
    assert_eq!(error.kind(), ErrorKind::NotFound);
    let message = error.message();
    assert!(message.contains("Key not found in KV store 'small': kkk"), "{message}");
    assert!(message.contains(" bytes left out) … kkk"), "{message}");
    assert!(message.len() < 20 << 10, "{} bytes", message.len());
    // Its worker has said all and is free.
    let free = async || running(&session, &cluster.workers[0]).await;
    eventually(free, |running| *running == 0).await?;
    check_rest(start(&connect(&cluster).await?).await?, Vec::new()).await
}
