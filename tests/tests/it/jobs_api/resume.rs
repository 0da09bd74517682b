//! Jobs with outputs that go on where a coordinator that was killed had left them.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use datafusion::parquet::arrow::ArrowWriter;
use keyloom_client::{JobHandle, JobId, JobOptions, Output, Session, Settings, report::JobState};

use super::{Kept, wait_for_tasks};
use crate::harness::{Daemon, batch, eventually, ints, rows};

/// The files of the input, and the rows of each.
const FILES: i64 = 40;
const FILE_ROWS: i64 = 10;

/// Each of them is a task.
const CUT: (&str, &str) = ("KEYLOOM_COORDINATOR_WRITE_SLICE_ROWS", "10");

/// The coordinator tells of each task when it launches it.
const LOG: (&str, &str) = ("KEYLOOM_LOG", "info,keyloom_coordinator=debug");

/// Each row takes its time: there are tasks left when some are done.
const QUERY: &str = "SELECT id, octet_length(md5(repeat(CAST(id + 1000 AS VARCHAR), 1000000))) \
                     AS bytes FROM files";

/// A folder with the input, outputs, and what is kept.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Result<Self> {
        let place = Self(tempfile::tempdir()?);
        let input = place.path("input");
        fs::create_dir(&input)?;
        for file in 0..FILES {
            let rows = batch([("id", ints(file * FILE_ROWS..(file + 1) * FILE_ROWS))]);
            let path = input.join(format!("part-{file:02}.parquet"));
            let mut writer = ArrowWriter::try_new(fs::File::create(path)?, rows.schema(), None)?;
            writer.write(&rows)?;
            writer.close()?;
        }
        Ok(place)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// A session that reads the input by the name `files`.
    async fn connect(&self, address: &str) -> Result<Session> {
        let settings = Settings { task_rows: FILE_ROWS as usize, ..Settings::default() };
        let session = Session::connect_with(address, settings).await?;
        session.register("files", self.path("input").to_string_lossy().as_ref()).await?;
        Ok(session)
    }

    /// Submits [`QUERY`], whose rows are written into a folder of this name.
    async fn submit(&self, session: &Session, name: &str, resumes: bool) -> Result<JobHandle> {
        let options = self.writes(name, resumes);
        let job = session.submit_with(session.sql(QUERY).await?, options).await?;
        Ok(job.detach()?)
    }

    fn writes(&self, name: &str, resumes: bool) -> JobOptions {
        let output = Some(Output::new(self.path(name).to_string_lossy()));
        JobOptions { output, detached: true, resumes, ..JobOptions::default() }
    }

    /// All rows of an output, in its order.
    async fn read(&self, session: &Session, name: &str) -> Result<Vec<String>> {
        rows(session.read(self.path(name).to_string_lossy().as_ref()).await?).await
    }
}

/// Waits until what is known of jobs now is known to the next coordinator, too.
async fn flush(session: &Session) -> Result<()> {
    let job = session.submit(session.sql("SELECT id FROM files").await?).await?;
    Ok(job.cancel().await?)
}

/// How many tasks a coordinator has launched of a job, without its commit, which is the last of
/// what there may be.
fn launched(coordinator: &Daemon, job: JobId) -> i64 {
    let (job, last) = (job.to_string(), u32::MAX.to_string());
    let log = coordinator.log();
    let of_job = log.lines().filter(|line| line.contains("launched") && line.contains(&job));
    of_job.filter(|line| !line.contains(&last)).count() as i64
}

/// How many tasks a coordinator says were done when it went on with a job.
fn done_before(coordinator: &Daemon) -> Result<i64> {
    let log = coordinator.log();
    let line = log.lines().find(|line| line.contains("job resumed"));
    let line = line.with_context(|| format!("it was not resumed: {log}"))?;
    let done = line.split("done=").nth(1).and_then(|rest| rest.split_whitespace().next());
    Ok(done.context("it is told how many were done")?.parse()?)
}

/// Kills a coordinator in the midst of a job, which then goes on by itself or by hand. What was
/// done before is not done again, and the output is that of a job that nothing disturbed.
async fn check(resumes: bool) -> Result<()> {
    let place = Place::new()?;
    let state = place.path("state");
    let kept = Kept::start(&state, &[CUT, LOG])?;
    let workers = kept.workers(1, &[]).await?;
    let session = place.connect(&kept.address).await?;
    let job = place.submit(&session, "out", resumes).await?;
    wait_for_tasks(&job, 5).await?;
    flush(&session).await?;
    let info = job.info().await?;
    assert!(!info.state.is_end(), "it was quicker than the test: {info:?}");

    let kept = kept.restart(&state, &[CUT, LOG])?;
    drop(workers);
    let _workers = kept.workers(2, &[]).await?;
    let session = place.connect(&kept.address).await?;
    let job = session.attach_job(job.id()).await?;
    if !resumes {
        assert_eq!(job.info().await?.state, JobState::Interrupted);
        job.resume().await?;
    }
    let info = job.wait().await?;
    assert_eq!((info.state, &info.error), (JobState::Done, &None));
    let committed = info.committed.context("it was committed")?;
    assert_eq!(committed.rows as i64, FILES * FILE_ROWS);
    let done = done_before(&kept.coordinator)?;
    assert!(done >= 5, "{done}");
    let launched = launched(&kept.coordinator, job.id());
    assert_eq!(launched, FILES - done, "{}", kept.coordinator.log());

    let other = place.submit(&session, "undisturbed", false).await?;
    assert_eq!(other.wait().await?.state, JobState::Done);
    let rows = place.read(&session, "out").await?;
    assert_eq!(rows.len() as i64, FILES * FILE_ROWS);
    assert_eq!(rows, place.read(&session, "undisturbed").await?);
    // What it takes to resume it is not there any more.
    let error = job.resume().await.err().context("it is done")?;
    assert!(error.message().ends_with("cannot be resumed: it is done"), "{error}");
    Ok(())
}

#[tokio::test]
async fn a_job_is_resumed_by_hand_and_what_was_done_is_not_done_again() -> Result<()> {
    check(false).await
}

#[tokio::test]
async fn a_job_goes_on_by_itself_when_the_coordinator_is_started_again() -> Result<()> {
    check(true).await
}

#[tokio::test]
async fn a_job_that_reads_what_its_client_holds_is_refused_with_the_reason() -> Result<()> {
    let place = Place::new()?;
    let kept = Kept::start(&place.path("state"), &[])?;
    let _workers = kept.workers(1, &[]).await?;
    let session = super::connect(&kept.address).await?;
    let query = session.sql(super::QUERY).await?;
    let refused = session.submit_with(query, place.writes("out", true)).await;
    let error = refused.err().context("its rows go with its client")?;
    let expected = "it reads tables or stores that its client held in memory";
    assert!(error.message().contains(expected), "{error}");
    Ok(())
}

#[tokio::test]
async fn a_plan_that_is_cut_otherwise_is_not_resumed() -> Result<()> {
    let place = Place::new()?;
    let state = place.path("state");
    let kept = Kept::start(&state, &[CUT])?;
    let _workers = kept.workers(1, &[]).await?;
    let session = place.connect(&kept.address).await?;
    let job = place.submit(&session, "out", false).await?;
    wait_for_tasks(&job, 1).await?;
    // Tasks have had ten rows.
    let kept = kept.restart(&state, &[("KEYLOOM_COORDINATOR_WRITE_SLICE_ROWS", "5")])?;
    let session = Session::connect(&kept.address).await?;
    let job = session.attach_job(job.id()).await?;
    let error = job.resume().await.err().context("it is cut otherwise")?;
    assert!(error.message().contains("its plan is cut otherwise than before"), "{error}");
    assert_eq!(job.info().await?.state, JobState::Interrupted);
    Ok(())
}

#[tokio::test]
async fn what_a_cancelled_job_has_written_is_removed_after_a_restart_too() -> Result<()> {
    let place = Place::new()?;
    let state = place.path("state");
    let kept = Kept::start(&state, &[CUT])?;
    let workers = kept.workers(1, &[]).await?;
    let session = place.connect(&kept.address).await?;
    let job = place.submit(&session, "out", false).await?;
    wait_for_tasks(&job, 3).await?;
    flush(&session).await?;
    let kept = kept.restart(&state, &[CUT])?;
    drop(workers);
    let _workers = kept.workers(1, &[]).await?;
    let session = place.connect(&kept.address).await?;
    let job = session.attach_job(job.id()).await?;
    job.cancel().await?;
    let left = async || Ok(files_below(&place.path("out")));
    eventually(left, Vec::is_empty).await?;
    assert_eq!(job.info().await?.state, JobState::Cancelled);
    Ok(())
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let paths = entries.map(|entry| entry.path());
    paths.flat_map(|path| if path.is_dir() { files_below(&path) } else { vec![path] }).collect()
}
