//! What the next coordinator knows of jobs, and folders that it does not take.

use std::fs;

use anyhow::{Context, Result};
use keyloom_client::{ErrorKind, JobId, JobOptions, report::JobState};

use super::{Kept, QUERY, check_rows, connect, detached, submit};
use crate::harness::{eventually, run_to_end};

#[tokio::test]
async fn jobs_that_ended_are_known_to_the_next_coordinator_and_do_not_run_again() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let kept = Kept::start(folder.path(), &[])?;
    let workers = kept.workers(1, &[]).await?;
    let session = connect(&kept.address).await?;
    let options = JobOptions { id: Some(JobId::new()), ..detached() };
    let id = submit(&session, options.clone()).await?;
    let job = session.attach_job(id).await?;
    let done = job.wait().await?;
    check_rows(job.results().await?).await?;
    // One that the client waits for is remembered, too.
    let mut plain = session.submit(session.sql("SELECT max(id) FROM t").await?).await?;
    plain.collect().await?;
    drop(workers);

    let kept = kept.restart(folder.path(), &[])?;
    let session = connect(&kept.address).await?;
    let job = session.attach_job(id).await?;
    assert_eq!(job.info().await?, done);
    let listed = session.jobs().await?.jobs;
    let ids: Vec<_> = listed.iter().map(|job| job.id).collect();
    assert_eq!(ids, [plain.id(), id], "the newest first");
    assert_eq!(submit(&session, options).await?, id);
    assert_eq!(job.info().await?, done, "it does not run again");
    let error = job.results().await.err().context("its rows are gone")?;
    assert_eq!(error.kind(), ErrorKind::NotFound);
    Ok(())
}

#[tokio::test]
async fn a_job_that_ran_when_the_coordinator_was_killed_is_interrupted() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let kept = Kept::start(folder.path(), &[])?;
    let session = connect(&kept.address).await?;
    // Without a worker, it waits.
    let id = submit(&session, detached()).await?;
    let waiting = session.submit(session.sql(QUERY).await?).await?;

    let job = session.attach_job(id).await?;
    let begun = async || Ok(job.info().await?.state);
    eventually(begun, |state| *state == JobState::Running).await?;
    // What is kept of it is written when something after it is.
    let last = submit(&session, detached()).await?;
    session.attach_job(last).await?.cancel().await?;

    let kept = kept.restart(folder.path(), &[])?;
    let session = connect(&kept.address).await?;
    let job = session.attach_job(id).await?;
    let info = job.wait().await?;
    assert_eq!((info.state, info.known_status()), (JobState::Interrupted, None));
    assert_eq!(session.job(last).await?.state, JobState::Cancelled);
    let gone = session.job(waiting.id()).await.err().context("it has ended with its client")?;
    assert_eq!(gone.kind(), ErrorKind::NotFound);
    let error = job.resume().await.err().context("there is nothing to go on with")?;
    let expected =
        format!("job {id} cannot be resumed: workers write no output of it: submit it again");
    assert_eq!(error.message(), expected);
    Ok(())
}

#[tokio::test]
async fn a_folder_that_is_in_use_or_damaged_is_refused_by_name() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().to_string_lossy().into_owned();
    let env = [("KEYLOOM_COORDINATOR_STATE_FOLDER", path.as_str())];
    let start = ["keyloom-coordinator", "--listen", "127.0.0.1:0"];
    let kept = Kept::start(folder.path(), &[])?;
    let (code, _, stderr) = run_to_end(&start, &env).await?;
    let in_use = format!("state_folder = {path} is in use by another coordinator");
    assert!(code == Some(2) && stderr.contains(&in_use), "{code:?}: {stderr}");
    drop(kept);

    let file = folder.path().join("jobs.redb");
    fs::write(&file, "nothing that a coordinator has written".repeat(1000))?;
    let (code, _, stderr) = run_to_end(&start, &env).await?;
    let damaged = format!("{} cannot be used", file.display());
    assert!(code == Some(2) && stderr.contains(&damaged), "{code:?}: {stderr}");
    Ok(())
}
