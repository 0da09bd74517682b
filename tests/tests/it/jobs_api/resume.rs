//! Jobs with outputs that go on where a coordinator that was killed had left them.

use std::{
    fs,
    ops::Range,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use datafusion::parquet::arrow::ArrowWriter;
use keyloom_client::{
    JobHandle, JobId, JobOptions, LanceOptions, Output, Session, Settings, load_kv,
    report::JobState,
};

use super::{Kept, wait_for_tasks};
use crate::harness::{Daemon, batch, eventually, ints, rows, write_lance};

/// The files of the input, and the rows of each.
const FILES: i64 = 40;
const FILE_ROWS: i64 = 10;

/// Each of them is a task.
const CUT: (&str, &str) = ("KEYLOOM_COORDINATOR_WRITE_SLICE_ROWS", "10");

/// The coordinator tells of each task when it launches it.
const LOG: (&str, &str) = ("KEYLOOM_LOG", "info,keyloom_coordinator=debug");

/// Each row takes its time: there are tasks left when some are done.
const QUERY: &str = "SELECT id, octet_length(md5(repeat(CAST(id + 1000 AS VARCHAR), 100000))) \
                     AS bytes FROM files";

/// The same, whose rows the coordinator puts together before they are written.
const GROUPED: &str = "SELECT id % 7 AS k, \
                       sum(octet_length(md5(repeat(CAST(id + 1000 AS VARCHAR), 100000)))) \
                       AS bytes FROM files GROUP BY id % 7 ORDER BY k";

/// The same as [`QUERY`], with a store.
const LOOKED_UP: &str = "SELECT id, kv_get(id, source => 'prices')['price'] AS price, \
                         octet_length(md5(repeat(CAST(id + 1000 AS VARCHAR), 100000))) AS bytes \
                         FROM files";

/// A folder with the input, outputs, and what is kept.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Result<Self> {
        let place = Self(tempfile::tempdir()?);
        fs::create_dir(place.path("input"))?;
        for file in 0..FILES {
            place.write_input(file, file * FILE_ROWS..(file + 1) * FILE_ROWS)?;
        }
        Ok(place)
    }

    fn input(&self, file: i64) -> PathBuf {
        self.path("input").join(format!("part-{file:02}.parquet"))
    }

    fn write_input(&self, file: i64, ids: Range<i64>) -> Result<()> {
        let rows = batch([("id", ints(ids))]);
        let file = fs::File::create(self.input(file))?;
        let mut writer = ArrowWriter::try_new(file, rows.schema(), None)?;
        writer.write(&rows)?;
        writer.close()?;
        Ok(())
    }

    /// A store with a price for each id, which is this many times that.
    async fn write_prices(&self, times: i64) -> Result<()> {
        let all = 0..FILES * FILE_ROWS;
        let prices = ints(all.clone().map(|id| id * times));
        let rows = batch([("id", ints(all)), ("price", prices)]);
        let uri = self.path("prices.lance");
        write_lance(&uri.to_string_lossy(), &[rows], 1_000).await.map(drop)
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
    let workers = info.summary.as_ref().map_or(0, |summary| summary.workers);
    assert!((1..=2).contains(&workers), "{workers} workers, of which there are two");
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

/// A job whose coordinator was killed, as the next one has it, which has a worker of its own.
struct Interrupted {
    kept: Kept,
    session: Session,
    job: JobHandle,
    _workers: Vec<Daemon>,
}

impl Interrupted {
    /// Kills the coordinator of a query, which is written to `out`, when so many tasks are done.
    async fn after(tasks: u32, place: &Place, sql: &str, env: &[(&str, &str)]) -> Result<Self> {
        let (state, env) = (place.path("state"), [&[CUT, LOG][..], env].concat());
        let kept = Kept::start(&state, &env)?;
        let workers = kept.workers(1, &[]).await?;
        let session = place.connect(&kept.address).await?;
        let prices = place.path("prices.lance");
        if prices.exists() {
            let options = LanceOptions::new(prices.to_string_lossy()).key("id");
            session.attach(load_kv("prices", options)?, "prices").await?;
        }
        let query = session.sql(sql).await?;
        let job = session.submit_with(query, place.writes("out", false)).await?.detach()?;
        wait_for_tasks(&job, tasks).await?;
        flush(&session).await?;
        let kept = kept.restart(&state, &env)?;
        drop(workers);
        let workers = kept.workers(1, &[]).await?;
        let session = place.connect(&kept.address).await?;
        let job = session.attach_job(job.id()).await?;
        assert_eq!(job.info().await?.state, JobState::Interrupted, "it was quicker than the test");
        Ok(Self { kept, session, job, _workers: workers })
    }

    /// Goes on with it, which it cannot, for a reason with these words in it.
    async fn check_refused(&self, words: &str) -> Result<()> {
        self.job.resume().await?;
        let info = self.job.wait().await?;
        assert_eq!(info.state, JobState::Failed);
        let error = info.error.context("it says why")?;
        assert!(error.message().contains("the job cannot go on where it was"), "{error}");
        assert!(error.message().contains(words), "{error}");
        assert_eq!(launched(&self.kept.coordinator, self.job.id()), 0, "no task ran");
        Ok(())
    }

    /// Goes on with it to its end, for which all tasks run but those that were done, and so many of
    /// these.
    async fn check_done(&self, place: &Place, sql: &str, again: i64) -> Result<()> {
        self.job.resume().await?;
        let info = self.job.wait().await?;
        assert_eq!((info.state, &info.error), (JobState::Done, &None));
        let (coordinator, done) = (&self.kept.coordinator, done_before(&self.kept.coordinator)?);
        let expected = i64::from(info.status.tasks) - done + again;
        assert_eq!(launched(coordinator, self.job.id()), expected, "{}", coordinator.log());
        let query = self.session.sql(sql).await?;
        let other = self.session.submit_with(query, place.writes("undisturbed", false)).await?;
        assert_eq!(other.detach()?.wait().await?.state, JobState::Done);
        let rows = place.read(&self.session, "out").await?;
        assert!(!rows.is_empty());
        assert_eq!(rows, place.read(&self.session, "undisturbed").await?);
        Ok(())
    }
}

#[tokio::test]
async fn an_input_that_changed_is_refused_by_name_though_its_task_was_done() -> Result<()> {
    let place = Place::new()?;
    let interrupted = Interrupted::after(5, &place, QUERY, &[]).await?;
    let path = place.input(0);
    let (before, modified) = (fs::read(&path)?, fs::metadata(&path)?.modified()?);
    place.write_input(0, 7_000..7_010)?;
    interrupted.check_refused("part-00.parquet changed").await?;
    fs::remove_file(place.input(39))?;
    place.write_input(39, 390..400)?;
    // Once it is as it was, the job goes on; this one never will be.
    fs::write(&path, before)?;
    fs::File::options().write(true).open(&path)?.set_modified(modified)?;
    interrupted.check_refused("part-39.parquet changed").await
}

#[tokio::test]
async fn a_job_goes_on_once_its_input_is_as_it_was() -> Result<()> {
    let place = Place::new()?;
    let interrupted = Interrupted::after(5, &place, QUERY, &[]).await?;
    let (path, aside) = (place.input(0), place.path("aside"));
    fs::rename(&path, &aside)?;
    interrupted.check_refused("part-00.parquet vanished").await?;
    fs::rename(&aside, &path)?;
    interrupted.check_done(&place, QUERY, 0).await
}

#[tokio::test]
async fn a_store_that_was_written_anew_is_refused_by_name() -> Result<()> {
    let place = Place::new()?;
    place.write_prices(7).await?;
    let interrupted = Interrupted::after(3, &place, LOOKED_UP, &[]).await?;
    fs::remove_dir_all(place.path("prices.lance"))?;
    place.write_prices(8).await?;
    interrupted.check_refused("store 'prices' cannot be opened").await
}

#[tokio::test]
async fn a_task_whose_staged_files_are_gone_runs_again() -> Result<()> {
    let place = Place::new()?;
    let interrupted = Interrupted::after(5, &place, QUERY, &[]).await?;
    let mut lost = files_below(&place.path("out"));
    // Those of the first task, which was done.
    lost.retain(|path| path.to_string_lossy().contains("/00000-"));
    assert!(!lost.is_empty());
    lost.iter().try_for_each(fs::remove_file)?;
    let known = interrupted.job.info().await?.known_status().context("how far it was is kept")?;
    assert!((5..=known.tasks).contains(&known.tasks_done), "{known:?}");
    interrupted.check_done(&place, QUERY, 1).await?;
    let done = done_before(&interrupted.kept.coordinator)?;
    assert_eq!(i64::from(known.tasks_done), done, "what it was told to have done is what it had");
    let log = interrupted.kept.coordinator.log();
    assert!(log.contains("what these tasks had written is not there any more"), "{log}");
    Ok(())
}

#[tokio::test]
async fn tasks_whose_rows_the_coordinator_puts_together_are_not_run_again() -> Result<()> {
    let place = Place::new()?;
    let interrupted = Interrupted::after(5, &place, GROUPED, &[]).await?;
    interrupted.check_done(&place, GROUPED, 0).await?;
    let done = done_before(&interrupted.kept.coordinator)?;
    assert!(done >= 5, "{done}");
    Ok(())
}

#[tokio::test]
async fn rows_beyond_the_bound_are_made_again_and_that_is_told() -> Result<()> {
    let none = ("KEYLOOM_COORDINATOR_JOURNAL_ROWS_BYTES", "0");
    let place = Place::new()?;
    let interrupted = Interrupted::after(5, &place, GROUPED, &[none]).await?;
    interrupted.check_done(&place, GROUPED, 0).await?;
    let log = interrupted.kept.coordinator.log();
    assert_eq!(done_before(&interrupted.kept.coordinator)?, 0);
    assert!(log.contains("tasks run again: their rows are not kept"), "{log}");
    assert!(log.contains("journal_rows_bytes"), "{log}");
    Ok(())
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
