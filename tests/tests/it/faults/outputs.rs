//! Workers that die while they write, and clients that go: what is written is right, or nothing is.

mod storm;

use anyhow::{Context, Result};
use keyloom_client::{Job, JobOptions, Output};
use nix::sys::signal::Signal;

use super::{QUERY, ROWS, connect, embedded_rows, running, send};
use crate::{
    harness::{Cluster, eventually, rows, show_rows},
    outputs::files,
};

/// As many tasks that write as others.
const WRITE_ROWS: [(&str, &str); 1] = [("KEYLOOM_COORDINATOR_WRITE_SLICE_ROWS", "100")];

async fn start_writing(session: &keyloom_client::Session, out: &str) -> Result<Job> {
    let options = JobOptions { output: Some(Output::new(out)), ..JobOptions::default() };
    Ok(session.submit_with(session.sql(QUERY).await?, options).await?)
}

#[tokio::test]
async fn workers_that_are_killed_while_they_write_change_no_row() -> Result<()> {
    let cluster = Cluster::start_with(3, &WRITE_ROWS, &[]).await?;
    let session = connect(&cluster).await?;
    let folder = tempfile::tempdir()?;
    let out = format!("{}/out/", folder.path().display());
    // Not before, for it may be the one that is asked about the output. While it holds its tasks, the
    // job does not end; the other may have written some.
    let job = start_writing(&session, &out).await?;
    let [stopped, killed] = [&cluster.workers[0], &cluster.workers[1]];
    send(Signal::SIGSTOP, stopped)?;
    for worker in [killed, stopped] {
        eventually(async || running(&session, worker).await, |tasks| *tasks > 0).await?;
        send(Signal::SIGKILL, worker)?;
    }
    assert_eq!(job.finish().await?.rows, ROWS as u64);
    let written = rows(session.read(out.as_str()).await?).await?;
    assert_eq!(written, show_rows(&[embedded_rows().await?])?);
    Ok(())
}

#[tokio::test]
async fn nothing_is_left_of_what_a_client_had_written_that_is_gone() -> Result<()> {
    let cluster = Cluster::start_with(2, &WRITE_ROWS, &[]).await?;
    let session = connect(&cluster).await?;
    let folder = tempfile::tempdir()?;
    let out = folder.path().join("out");
    let out = out.to_str().context("a path that is text")?;
    let job = start_writing(&session, &format!("{out}/")).await?;
    let worker = &cluster.workers[0];
    // So it cannot end before its client goes.
    send(Signal::SIGSTOP, worker)?;
    eventually(async || running(&session, worker).await, |tasks| *tasks > 0).await?;
    drop(job);
    drop(session);
    send(Signal::SIGCONT, worker)?;
    eventually(async || files(out), Vec::is_empty).await.map(drop)
}
