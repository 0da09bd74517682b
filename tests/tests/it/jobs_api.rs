//! Jobs by their ids: submitted by one program, and looked at, waited for, read and cancelled by
//! another; remembered by a coordinator that was killed and started again.

mod detached;
mod history;
mod logs;
mod resume;

use std::path::Path;

use anyhow::Result;
use keyloom_client::{Job, JobHandle, JobId, JobOptions, Session, Settings};

use crate::harness::{Cluster, Daemon, batch, eventually, ints, show_rows};

/// The rows of the table `t`, in tasks of a hundred each.
const ROWS: i64 = 2_000;
const TASK_ROWS: usize = 100;

const QUERY: &str = "SELECT id, id * 2 AS twice FROM t";

/// Whatever is waited for.
const LONG_POLL: (&str, &str) = ("KEYLOOM_COORDINATOR_RPC__LONG_POLL_MS", "200");

fn settings() -> Settings {
    Settings { task_rows: TASK_ROWS, ..Settings::default() }
}

/// A session with the table of [`QUERY`].
async fn connect(address: &str) -> Result<Session> {
    let session = Session::connect_with(address, settings()).await?;
    session.register_batches("t", &[batch([("id", ints(0..ROWS))])])?;
    Ok(session)
}

fn detached() -> JobOptions {
    JobOptions { detached: true, name: Some("twice".to_owned()), ..JobOptions::default() }
}

/// Submits [`QUERY`] as a job that is detached, and leaves it to itself.
async fn submit(session: &Session, options: JobOptions) -> Result<JobId> {
    let job = session.submit_with(session.sql(QUERY).await?, options).await?;
    Ok(job.detach()?.id())
}

/// The rows of [`QUERY`], which are also known otherwise.
async fn check_rows(mut job: Job) -> Result<()> {
    let rows = show_rows(&job.collect().await?)?;
    let expected: Vec<_> = (0..ROWS).map(|id| format!("{id} | {}", id * 2)).collect();
    assert_eq!(rows, expected);
    assert_eq!(job.summary().map(|summary| summary.rows), Some(ROWS as u64));
    Ok(())
}

/// Waits until a job is through with so many tasks.
async fn wait_for_tasks(job: &JobHandle, tasks: u32) -> Result<()> {
    let done = async || Ok(job.info().await?.status.tasks_done);
    eventually(done, |done| *done >= tasks).await.map(drop)
}

/// A coordinator that keeps what it knows in a folder, at an address that stays when it is
/// restarted.
struct Kept {
    coordinator: Daemon,
    address: String,
}

impl Kept {
    fn start(folder: &Path, env: &[(&str, &str)]) -> Result<Self> {
        Self::start_at(folder, "127.0.0.1:0", env)
    }

    fn start_at(folder: &Path, listen: &str, env: &[(&str, &str)]) -> Result<Self> {
        let folder = folder.to_string_lossy();
        let state = ("KEYLOOM_COORDINATOR_STATE_FOLDER", &*folder);
        let env = [&[LONG_POLL, state][..], env].concat();
        let arguments = ["--listen", listen];
        let mut coordinator = Daemon::start("keyloom-coordinator", &arguments, &env)?;
        let address = coordinator.line_with("tcp://")?;
        Ok(Self { coordinator, address })
    }

    /// Kills it, and starts another one in its place.
    fn restart(self, folder: &Path, env: &[(&str, &str)]) -> Result<Self> {
        let Self { coordinator, address } = self;
        // By SIGKILL.
        drop(coordinator);
        Self::start_at(folder, address.trim_start_matches("tcp://"), env)
    }

    /// Workers of two slots each, once they are registered.
    async fn workers(&self, workers: usize, env: &[(&str, &str)]) -> Result<Vec<Daemon>> {
        let arguments = ["--coordinator", &self.address, "--slots", "2"];
        let start = |_| Daemon::start("keyloom-worker", &arguments, env);
        let started = (0..workers).map(start).collect::<Result<Vec<_>>>()?;
        let session = Session::connect_with(&self.address, settings()).await?;
        let registered = async || Ok(session.workers().await?.len());
        eventually(registered, |registered| *registered == workers).await?;
        Ok(started)
    }
}

/// A cluster whose news come soon.
async fn cluster(workers: usize) -> Result<Cluster> {
    Cluster::start_with(workers, &[LONG_POLL], &[]).await
}
