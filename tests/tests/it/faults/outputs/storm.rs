//! A worker that is killed each time that some tasks more are done, and replaced: what is written
//! has each row once, and of the dead nothing can be seen.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use keyloom_client::{Job, JobId, Session, Settings, query::JobUpdate};
use lance::Dataset;
use nix::sys::signal::Signal;
use tokio::time::timeout;

use super::start_writing;
use crate::{
    faults::{ROWS, embedded_rows, prepare, send, settings, start_worker},
    harness::{Cluster, eventually, rows, show_rows},
    outputs::files,
};

/// How many workers are killed, one after the other: there is never more than one.
const KILLS: usize = 4;

/// How many tasks are done between two of them.
const EVERY: u32 = 10;

/// So small that the job outlives all of them.
const TASK_ROWS: usize = 50;
const TASKS: usize = 400;

/// Quick news about what is done, no task that is given up for its number of dead workers, and as
/// many that write as others.
const STORM: [(&str, &str); 3] = [
    ("KEYLOOM_COORDINATOR_RPC__LONG_POLL_MS", "20"),
    ("KEYLOOM_COORDINATOR_SCHEDULER__MAX_TASK_DEATHS", "16"),
    ("KEYLOOM_COORDINATOR_WRITE_SLICE_ROWS", "50"),
];

/// No job takes longer, whatever its workers do.
const BOUND: Duration = Duration::from_secs(120);

async fn open(cluster: &Cluster) -> Result<Session> {
    let settings = Settings { task_rows: TASK_ROWS, ..settings() };
    let session = Session::connect_with(&cluster.address, settings).await?;
    prepare(&session).await?;
    Ok(session)
}

/// Waits until so many tasks of a job are done. How many are.
async fn done(job: &mut Job, tasks: u32) -> Result<u32> {
    loop {
        match job.next_update().await? {
            JobUpdate::Pending(status) if status.tasks_done >= tasks => {
                return Ok(status.tasks_done);
            }
            JobUpdate::Pending(_) => {}
            JobUpdate::Batch(_) | JobUpdate::Done => bail!("it ended before {tasks} tasks were"),
        }
    }
}

/// Kills the only worker amid its tasks, and starts another one.
fn replace_worker(cluster: &mut Cluster) -> Result<()> {
    send(Signal::SIGKILL, &cluster.workers[0])?;
    let successor = start_worker(cluster)?;
    cluster.workers[0] = successor;
    Ok(())
}

/// Kills workers while they write, until there are no more victims.
async fn write_through_a_storm(
    cluster: &mut Cluster,
    session: &Session,
    out: &str,
) -> Result<JobId> {
    let mut job = start_writing(session, out).await?;
    let id = job.id();
    let late = || format!("no end within {BOUND:?}");
    let mut tasks = 0;
    for _ in 0..KILLS {
        tasks = timeout(BOUND, done(&mut job, tasks + EVERY)).await.with_context(late)??;
        replace_worker(cluster)?;
    }
    let summary = timeout(BOUND, job.finish()).await.with_context(late)??;
    assert_eq!(summary.rows, ROWS as u64);
    Ok(id)
}

async fn check_rows(session: &Session, out: &str) -> Result<()> {
    let written = rows(session.read(out).await?).await?;
    assert_eq!(written, show_rows(&[embedded_rows().await?])?);
    Ok(())
}

#[tokio::test]
async fn files_have_each_row_once_whichever_workers_are_killed() -> Result<()> {
    let mut cluster = Cluster::start_with(1, &STORM, &[]).await?;
    let session = open(&cluster).await?;
    let folder = tempfile::tempdir()?;
    let out = format!("{}/out/", folder.path().display());
    let job = write_through_a_storm(&mut cluster, &session, &out).await?;
    let (parts, others): (Vec<_>, Vec<_>) =
        files(&out)?.into_iter().partition(|file| file.starts_with("part-"));
    assert_eq!(parts.len(), TASKS, "{parts:?}");
    // What the dead had begun is gone, hidden as it was.
    assert_eq!(others, ["_SUCCESS".to_owned(), format!("_keyloom/{job}.json")]);
    check_rows(&session, &out).await
}

#[tokio::test]
async fn a_dataset_has_each_row_once_whichever_workers_are_killed() -> Result<()> {
    let mut cluster = Cluster::start_with(1, &STORM, &[]).await?;
    let session = open(&cluster).await?;
    let folder = tempfile::tempdir()?;
    let out = format!("{}/out.lance", folder.path().display());
    write_through_a_storm(&mut cluster, &session, &out).await?;
    let dataset = Dataset::open(&out).await?;
    assert_eq!((dataset.version().version, dataset.versions().await?.len()), (1, 1));
    assert_eq!(dataset.count_rows(None).await?, usize::try_from(ROWS)?);
    check_rows(&session, &out).await
}

#[tokio::test]
async fn nothing_is_left_of_a_cancelled_job_whose_worker_was_killed() -> Result<()> {
    let mut cluster = Cluster::start_with(1, &STORM, &[]).await?;
    let session = open(&cluster).await?;
    let folder = tempfile::tempdir()?;
    let out = format!("{}/out/", folder.path().display());
    let mut job = start_writing(&session, &out).await?;
    timeout(BOUND, done(&mut job, EVERY)).await.context("no task is done")??;
    assert!(!files(&out)?.is_empty(), "tasks are done, and nothing is written");
    replace_worker(&mut cluster)?;
    job.cancel().await?;
    eventually(async || files(&out), Vec::is_empty).await.map(drop)
}
