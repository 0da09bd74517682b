//! Rows that wait for their client where there is little room for them: in memory, in files, on a
//! disk that is full. Jobs end whole or by the name of what was too small; no other job suffers.

use std::{fs, path::Path, process::Command, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use arrow::{
    array::{AsArray, RecordBatch},
    datatypes::Int64Type,
};
use keyloom_client::{EmbeddedSettings, ErrorKind, Job, Session, Settings, report::JobSummary};
use nix::sys::signal::Signal;
use tempfile::TempDir;
use tokio::time::timeout;

use super::{
    failure, register_table, running, send, settings,
    workers::{LOGGED, begun},
};
use crate::harness::{Cluster, Daemon, batch, check_rows, eventually, ints, not_tested, show_rows};

const FOLDER: &str = "KEYLOOM_COORDINATOR_SPILL_FOLDER";
const MEMORY: &str = "KEYLOOM_COORDINATOR_GATHER_MEMORY_BYTES";
const DISK: &str = "KEYLOOM_COORDINATOR_GATHER_DISK_BYTES";
const WAIT: &str = "KEYLOOM_COORDINATOR_GATHER_WAIT_MS";

/// Room for some 25 tasks of [`TIMES`], half of it in memory. What finds none is put off, and tried
/// again soon.
const LITTLE_ROOM: [(&str, &str); 5] = [
    (MEMORY, "1048576"),
    (DISK, "1048576"),
    (WAIT, "100"),
    ("KEYLOOM_COORDINATOR_SCHEDULER__PUT_OFF_MS", "10"),
    ("KEYLOOM_COORDINATOR_RESULT_CHUNKS_AHEAD", "1"),
];

/// The first of the ids, which all have five digits.
const FIRST: i64 = 10_000;

const TASK_ROWS: usize = 20;

/// Makes tasks of 80 KB.
const TIMES: usize = 800;

/// Makes tasks of 2 MB.
const MANY_TIMES: usize = 20_000;

/// No batch takes longer.
const BOUND: Duration = Duration::from_secs(30);

/// A session with so many ids, in tasks of so many.
async fn connect(cluster: &Cluster, rows: i64, task_rows: usize) -> Result<Session> {
    let settings = Settings { task_rows, ..Settings::default() };
    let session = Session::connect_with(&cluster.address, settings).await?;
    let table = RecordBatch::try_from_iter([("id", ints(FIRST..FIRST + rows))])?;
    session.register_batches("ids", &[table])?;
    Ok(session)
}

/// A job that needs little and answers much: workers make a text of each id, its digits so many
/// times.
struct Wide {
    job: Job,
    times: usize,
    next: i64,
}

impl Wide {
    async fn start(session: &Session, times: usize) -> Result<Self> {
        let query = format!("SELECT id, repeat(CAST(id AS VARCHAR), {times}) AS text FROM ids");
        let job = session.submit(session.sql(&query).await?).await?;
        Ok(Self { job, times, next: FIRST })
    }

    /// Takes a batch and compares its rows. False after the last.
    async fn take(&mut self) -> Result<bool> {
        let batch = timeout(BOUND, self.job.next_batch()).await;
        let batch = batch.with_context(|| format!("no rows within {BOUND:?}"))??;
        let Some(batch) = batch else { return Ok(false) };
        let ids = batch.column(0).as_primitive::<Int64Type>();
        let texts = batch.column(1).as_string::<i32>();
        for (row, id) in ids.values().iter().enumerate() {
            assert_eq!(*id, self.next);
            assert!(texts.value(row) == id.to_string().repeat(self.times), "the text of {id}");
            self.next += 1;
        }
        Ok(true)
    }

    /// Takes so many rows, and those that come with the last of them.
    async fn take_rows(&mut self, rows: i64) -> Result<()> {
        let end = self.next + rows;
        while self.next < end {
            ensure!(self.take().await?, "the job ended before row {end}");
        }
        Ok(())
    }

    /// Takes the other rows, which make so many in all.
    async fn finish(mut self, rows: i64) -> Result<JobSummary> {
        while self.take().await? {}
        assert_eq!(self.next - FIRST, rows);
        self.job.summary().cloned().context("no summary")
    }
}

/// A session whose jobs need next to nothing.
async fn connect_small(cluster: &Cluster) -> Result<Session> {
    let session = Session::connect(&cluster.address).await?;
    session.register_batches("small", &[batch([("id", ints(1..=3))])])?;
    Ok(session)
}

async fn check_small(session: &Session) -> Result<()> {
    let query = session.sql("SELECT id + 1 AS next FROM small").await?;
    check_rows(query, &["2", "3", "4"]).await
}

/// A folder for temporary files.
fn folder() -> Result<TempDir> {
    Ok(tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?)
}

/// The path of a folder, as the system knows it.
fn path(folder: &TempDir) -> Result<String> {
    let path = fs::canonicalize(folder.path())?;
    Ok(path.to_str().context("a path that is text")?.to_owned())
}

/// How long the files are that a process has open below a folder, and that have no names there.
fn spilled(daemon: &Daemon, folder: &str) -> Result<u64> {
    let mut bytes = 0;
    for open in fs::read_dir(format!("/proc/{}/fd", daemon.pid()))? {
        let open = open?.path();
        // What is closed meanwhile is none any more.
        let Ok(file) = fs::read_link(&open) else { continue };
        if file.starts_with(folder) && file.to_string_lossy().ends_with(" (deleted)") {
            bytes += fs::metadata(&open).map_or(0, |file| file.len());
        }
    }
    Ok(bytes)
}

async fn wait_for_files(
    cluster: &Cluster,
    folder: &str,
    wanted: impl Fn(u64) -> bool,
) -> Result<()> {
    let bytes = async || spilled(&cluster.coordinator, folder);
    eventually(bytes, |bytes| wanted(*bytes)).await.map(drop)
}

/// How long the files are that have names below a folder.
fn named_bytes(folder: &Path) -> Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        bytes += if metadata.is_dir() { named_bytes(&entry.path())? } else { metadata.len() };
    }
    Ok(bytes)
}

/// How often tasks of a job were begun again. If no worker has died, they were put off.
fn begun_again(wide: &Wide, workers: &[Daemon]) -> usize {
    let attempts = begun(wide.job.id(), workers);
    attempts.iter().filter(|attempt| !attempt.ends_with("#0")).count()
}

/// A file system of 1 MiB.
struct SmallDisk(TempDir);

impl SmallDisk {
    /// None, and why, if this process may not mount any.
    fn mount() -> Result<Result<Self, String>> {
        let folder = tempfile::tempdir()?;
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"]).arg(folder.path());
        Ok(match mount.output() {
            Ok(output) if output.status.success() => Ok(Self(folder)),
            Ok(output) => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
            Err(error) => Err(error.to_string()),
        })
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // If that fails, the folder cannot be removed either.
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

#[tokio::test]
async fn a_full_disk_fails_the_job_that_needs_it_by_the_folders_name() -> Result<()> {
    let disk = match SmallDisk::mount()? {
        Ok(disk) => disk,
        Err(why) => return not_tested("a full disk, on a tmpfs", &why),
    };
    let folder = path(&disk.0)?;
    let env = [(FOLDER, folder.as_str()), (MEMORY, "65536"), (WAIT, "0")];
    let cluster = Cluster::start_with(1, &env, &[]).await?;
    // One task of 4 MB.
    let too_wide = Wide::start(&connect(&cluster, 40, 40).await?, MANY_TIMES).await?;
    let error = failure(too_wide.job, BOUND).await?;
    assert_eq!(error.kind(), ErrorKind::ResourceExhausted, "{error}");
    assert!(error.message().contains(&folder), "{error}");
    assert!(error.message().contains("spill_folder"), "{error}");
    wait_for_files(&cluster, &folder, |bytes| bytes == 0).await?;
    check_small(&connect_small(&cluster).await?).await?;
    // What memory has no room for, but the disk has.
    let wide = Wide::start(&connect(&cluster, 5, 5).await?, MANY_TIMES).await?;
    wide.finish(5).await.map(drop)
}

#[tokio::test]
async fn a_result_larger_than_memory_and_files_waits_for_a_slow_client() -> Result<()> {
    const ROWS: i64 = 2_000;
    let cluster = Cluster::start_with(2, &LITTLE_ROOM, &[LOGGED]).await?;
    let session = connect(&cluster, ROWS, TASK_ROWS).await?;
    let mut wide = Wide::start(&session, TIMES).await?;
    let mut again = 0;
    for _ in 0..4 {
        // Memory and files are full: more tasks were put off.
        let (seen, count) = (again, async || Ok(begun_again(&wide, &cluster.workers)));
        again = eventually(count, |count| *count > seen).await?;
        wide.take_rows(300).await?;
    }
    let summary = wide.finish(ROWS).await?;
    assert_eq!((summary.rows, summary.tasks), (2_000, 100));
    Ok(())
}

#[tokio::test]
async fn a_task_that_is_due_finds_room_though_those_after_it_filled_it() -> Result<()> {
    const ROWS: i64 = 2_000;
    let cluster = Cluster::start_with(3, &LITTLE_ROOM, &[LOGGED]).await?;
    let session = connect(&cluster, ROWS, TASK_ROWS).await?;
    let worker = &cluster.workers[0];
    send(Signal::SIGSTOP, worker)?;
    let wide = Wide::start(&session, TIMES).await?;
    eventually(async || running(&session, worker).await, |running| *running == 2).await?;
    // The others can do no more before it has done its tasks, which it never will.
    eventually(async || Ok(begun_again(&wide, &cluster.workers)), |again| *again > 0).await?;
    send(Signal::SIGKILL, worker)?;
    let summary = wide.finish(ROWS).await?;
    assert_eq!((summary.rows, summary.tasks), (2_000, 100));
    Ok(())
}

#[tokio::test]
async fn files_of_rows_that_wait_go_with_their_job_and_with_their_coordinator() -> Result<()> {
    const ROWS: i64 = 200;
    let kept = folder()?;
    let folder = path(&kept)?;
    let env = [(FOLDER, folder.as_str()), (MEMORY, "65536"), (WAIT, "0")];
    let mut cluster = Cluster::start_with(1, &env, &[]).await?;
    let session = connect(&cluster, ROWS, TASK_ROWS).await?;
    let unread = Wide::start(&session, TIMES).await?;
    wait_for_files(&cluster, &folder, |bytes| bytes > 0).await?;
    assert_eq!(named_bytes(kept.path())?, 0);
    drop(unread);
    wait_for_files(&cluster, &folder, |bytes| bytes == 0).await?;

    let unread = Wide::start(&session, TIMES).await?;
    wait_for_files(&cluster, &folder, |bytes| bytes > 0).await?;
    send(Signal::SIGKILL, &cluster.coordinator)?;
    let error = failure(unread.job, BOUND).await?;
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert_eq!(named_bytes(kept.path())?, 0);

    let listen = cluster.address.trim_start_matches("tcp://").to_owned();
    let arguments = ["--listen", listen.as_str()];
    cluster.coordinator = Daemon::start("keyloom-coordinator", &arguments, &env)?;
    let address = cluster.address.as_str();
    eventually(async || Ok(Session::connect(address).await.is_ok()), |connected| *connected)
        .await?;
    // Its own folder is there, and none of the one before.
    assert_eq!(fs::read_dir(kept.path())?.count(), 1);
    Wide::start(&session, TIMES).await?.finish(ROWS).await.map(drop)
}

/// The most memory that a process had, in bytes.
pub(super) fn peak_bytes(daemon: &Daemon) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{}/status", daemon.pid()))?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kibibytes = peak.and_then(|peak| peak.trim().strip_suffix(" kB")).context("no peak")?;
    Ok(kibibytes.parse::<u64>()? << 10)
}

#[tokio::test]
async fn a_large_result_that_waits_takes_no_more_memory_than_its_share() -> Result<()> {
    const ROWS: i64 = 2_000;
    const MIB: u64 = 1 << 20;
    const SHARE: u64 = 16 * MIB;
    let kept = folder()?;
    let (folder, share) = (path(&kept)?, SHARE.to_string());
    let env = [(FOLDER, folder.as_str()), (MEMORY, share.as_str()), (WAIT, "0")];
    let cluster = Cluster::start_with(2, &env, &[]).await?;
    let session = connect(&cluster, ROWS, TASK_ROWS).await?;
    let mut wide = Wide::start(&session, MANY_TIMES).await?;
    wide.take_rows(1).await?;
    // Of its 200 MB, all that memory has no room for.
    wait_for_files(&cluster, &folder, |bytes| bytes > 150 * MIB).await?;
    wide.finish(ROWS).await?;
    let peak = peak_bytes(&cluster.coordinator)?;
    assert!(peak < SHARE + 150 * MIB, "{peak} bytes at most, {SHARE} of them for rows that wait");
    Ok(())
}

#[tokio::test]
async fn results_of_many_jobs_that_wait_take_no_more_memory_than_there_is() -> Result<()> {
    const JOBS: usize = 10;
    const ROWS: i64 = 400;
    const MIB: u64 = 1 << 20;
    const BYTES: u64 = 32 * MIB;
    let kept = folder()?;
    let (folder, bytes) = (path(&kept)?, BYTES.to_string());
    let env = [
        (FOLDER, folder.as_str()),
        ("KEYLOOM_COORDINATOR_MEMORY_BYTES", bytes.as_str()),
        (WAIT, "0"),
        // Of each job, most of its rows, were there memory.
        ("KEYLOOM_COORDINATOR_RESULT_CHUNKS_AHEAD", "64"),
        // Each lets the next one run, as soon as it waits for its client.
        ("KEYLOOM_COORDINATOR_MAX_RUNNING_JOBS", "1"),
    ];
    let cluster = Cluster::start_with(2, &env, &[]).await?;
    let session = connect(&cluster, ROWS, TASK_ROWS).await?;
    let mut jobs = Vec::new();
    for _ in 0..JOBS {
        jobs.push(Wide::start(&session, MANY_TIMES).await?);
    }
    for job in jobs.iter_mut().rev() {
        job.take_rows(1).await?;
    }
    // Of their 400 MB, all that memory has no room for.
    wait_for_files(&cluster, &folder, |bytes| bytes > 200 * MIB).await?;
    for job in jobs {
        job.finish(ROWS).await?;
    }
    let peak = peak_bytes(&cluster.coordinator)?;
    assert!(peak < BYTES + 150 * MIB, "{peak} bytes at most, {BYTES} of them for all that waits");
    Ok(())
}

#[tokio::test]
async fn rows_that_nobody_reads_slow_no_other_job() -> Result<()> {
    const SMALL_JOBS: usize = 20;
    // Less than a second each, whereas rows may wait for memory for two.
    const SMALL_JOBS_BOUND: Duration = Duration::from_secs(20);
    let kept = folder()?;
    let folder = path(&kept)?;
    let env = [(FOLDER, folder.as_str()), (MEMORY, "1048576")];
    let cluster = Cluster::start_with(2, &env, &[]).await?;
    let mut wide = Wide::start(&connect(&cluster, 10_000, TASK_ROWS).await?, TIMES).await?;
    wait_for_files(&cluster, &folder, |bytes| bytes > 0).await?;
    let session = connect_small(&cluster).await?;
    let small_jobs = async {
        for _ in 0..SMALL_JOBS {
            check_small(&session).await?;
        }
        anyhow::Ok(())
    };
    let ended = timeout(SMALL_JOBS_BOUND, small_jobs).await;
    ended.with_context(|| format!("no end of small jobs within {SMALL_JOBS_BOUND:?}"))??;
    wide.take_rows(1_000).await
}

/// What the coordinator itself computes, with memory for far less than the rows of its inputs.
const HUNGRY: [&str; 5] = [
    "SELECT a.id FROM t a JOIN t b ON a.id = b.id",
    "SELECT id % 7 AS k, id FROM t ORDER BY k, id",
    "SELECT id, count(*) AS n FROM t GROUP BY id ORDER BY n, id",
    "SELECT DISTINCT id % 5000 AS k FROM t",
    "SELECT id, row_number() OVER (ORDER BY id DESC) AS n FROM t",
];

async fn sorted_rows(session: &Session, sql: &str) -> Result<Vec<String>> {
    let mut job = session.submit(session.sql(sql).await?).await?;
    let batches = timeout(BOUND, job.collect()).await;
    let batches = batches.with_context(|| format!("no end within {BOUND:?}: {sql}"))??;
    let mut rows = show_rows(&batches)?;
    rows.sort();
    Ok(rows)
}

#[tokio::test]
async fn statements_that_need_more_memory_than_there_is_are_refused_or_right() -> Result<()> {
    let env = [("KEYLOOM_COORDINATOR_OPERATOR_MEMORY_BYTES", "65536")];
    let cluster = Cluster::start_with(2, &env, &[]).await?;
    let session = Session::connect_with(&cluster.address, settings()).await?;
    register_table(&session)?;
    let embedded = EmbeddedSettings { session: settings(), ..EmbeddedSettings::default() };
    let embedded = Session::embedded_with(embedded).await?;
    register_table(&embedded)?;
    let mut refused = 0;
    for sql in HUNGRY {
        let error = match sorted_rows(&session, sql).await {
            Ok(rows) => {
                assert!(rows == sorted_rows(&embedded, sql).await?, "other rows: {sql}");
                continue;
            }
            Err(error) => error,
        };
        let Some(error) = error.downcast_ref::<keyloom_client::Error>() else {
            bail!("{sql}: {error:#}");
        };
        assert_eq!(error.kind(), ErrorKind::ResourceExhausted, "{sql}: {error}");
        assert!(error.message().contains("operator_memory_bytes"), "{sql}: {error}");
        refused += 1;
    }
    assert!(refused > 0, "there was memory for everything");
    check_small(&connect_small(&cluster).await?).await
}

/// Its batches are slices of one table, which is not as large as the table for each of them.
#[tokio::test]
async fn a_table_that_is_joined_counts_as_large_as_it_is() -> Result<()> {
    let ids = RecordBatch::try_from_iter([("id", ints(0..300_000))])?;
    let mut settings = EmbeddedSettings::default();
    settings.coordinator.operator_memory_bytes = 40 << 20;
    let session = Session::embedded_with(settings).await?;
    session.register_batches("t", &[ids])?;
    let sql = "SELECT count(*) AS n, sum(b.id) AS s FROM t a JOIN t b ON a.id = b.id";
    assert_eq!(sorted_rows(&session, sql).await?, ["300000 | 44999850000"]);
    Ok(())
}
