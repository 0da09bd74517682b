//! Clients that vanish, pause, begin things and leave them, or never read: what was theirs is free
//! within seconds, and nobody else is kept out.

use std::{
    ffi::OsStr,
    fmt::Debug,
    fs,
    io::{self, BufRead, BufReader, Read, Write},
    net::TcpStream,
    ops::Range,
    path::Path,
    pin::pin,
    process::Stdio,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use arrow::array::RecordBatch;
use bytes::Bytes;
use datafusion::physical_plan::ExecutionPlan;
use keyloom_client::{ErrorKind, Session, Settings, report::JobSummary};
use keyloom_common::{
    BUILD, BlobId, JobId,
    checksum::checksum,
    ipc::{Decoder, encode_all},
    misses::MissPolicy,
    plan::{FramePartition, FrameScanExec, encode_plan},
    rpc::{
        self, Body, Chunk, ClientApiClient, Credentials, JobTerms, Limits, Next, Submission,
        handshake::{PROTOCOL, Service},
        in_time,
    },
};
use nix::sys::signal::Signal;
use tokio::{
    process::{Child, Command},
    time::timeout,
};

use super::{
    QUERY, SMALL_WINDOW, check_rest, connect, failure, first_batch, hello, prepare_store, send,
    settings, small_window, start, whole,
};
use crate::harness::{Cluster, Machine, bare, batch, eventually, ints, program};

/// How soon all that a client held is free once the client is gone.
const SOON: Duration = Duration::from_secs(5);

/// Far more than anything takes that is not held up by others.
const BOUND: Duration = Duration::from_secs(30);

/// With these, slots are taken for as long as a client does not read: rows that are not due yet
/// wait for memory, once those of a few tasks have taken what there is for them.
const HELD: [(&str, &str); 3] = [
    ("KEYLOOM_COORDINATOR_RESULT_CHUNKS_AHEAD", "1"),
    ("KEYLOOM_COORDINATOR_GATHER_MEMORY_BYTES", "2097152"),
    ("KEYLOOM_COORDINATOR_GATHER_WAIT_MS", "60000"),
];

/// Rows of a kilobyte, for ids of five digits. As many tasks as are held have room to wait.
pub(super) const WIDE: &str = "SELECT id, repeat(CAST(id AS VARCHAR), 200) AS wide FROM t";

/// What the coordinator says of a job whose client is gone.
pub(super) const GONE: &str = "job cancelled: its client is gone for ";

/// A client by hand: it asks for nothing by itself, nor says that it is there.
pub(super) struct Raw(ClientApiClient);

impl Raw {
    pub(super) async fn connect(cluster: &Cluster) -> Result<Self> {
        let (limits, credentials) = (Limits::default(), Credentials::default());
        let transport =
            rpc::connect(&cluster.address, Service::Client, &limits, &credentials).await?;
        Ok(Self(ClientApiClient::new(Default::default(), transport).spawn()))
    }

    pub(super) async fn submit(&self, job: Submission) -> keyloom_common::Result<()> {
        in_time(BOUND, |context| self.0.submit(context, job)).await
    }

    /// Takes all the rows of a job.
    pub(super) async fn rows(&self, job: JobId) -> Result<(RecordBatch, JobSummary)> {
        let (mut sequence, mut current, mut batches) = (0, None, Vec::new());
        let mut decoder = Decoder::new();
        loop {
            let next = in_time(BOUND, |context| self.0.next(context, job, sequence)).await?;
            match next {
                Next::Pending(_) => {}
                Next::Chunk { stream, chunk } => {
                    sequence += 1;
                    if current.replace(stream) != Some(stream) {
                        decoder = Decoder::new();
                    }
                    batches.extend(chunk.decode(&mut decoder)?);
                }
                Next::Missed(_) => bail!("nobody asked for rows that missed their keys"),
                Next::Done(summary) => return Ok((whole(&batches)?, summary)),
            }
        }
    }

    /// Sends a part of a blob.
    async fn put_part(
        &self,
        blob: BlobId,
        offset: usize,
        total: usize,
        part: &[u8],
    ) -> keyloom_common::Result<()> {
        let (offset, total) = (offset as u64, total as u64);
        let part = Chunk::from(Bytes::copy_from_slice(part));
        in_time(BOUND, |context| self.0.put_blob(context, blob, offset, total, part)).await
    }
}

/// A job by hand.
pub(super) fn submission(plan: Body) -> Submission {
    let misses = MissPolicy::default();
    let (id, trace) = (JobId::new(), None);
    let terms = JobTerms::default();
    Submission { id, plan, batch_rows: 8192, discard: false, misses, terms, trace }
}

/// The tasks of a job by hand, and the rows of each.
const HAND_TASKS: i64 = 5;
const HAND_ROWS: i64 = 10;

/// Hands in a table of the numbers from 0, and makes a job that reads it.
async fn hand_job(client: &Raw) -> Result<Submission> {
    let task = |task: i64| batch([("id", ints(task * HAND_ROWS..(task + 1) * HAND_ROWS))]);
    let mut partitions = Vec::new();
    for rows in (0..HAND_TASKS).map(task) {
        let stream = encode_all(&rows.schema(), &[rows])?;
        let blob = BlobId::of(&stream);
        client.put_part(blob, 0, stream.len(), &stream).await?;
        partitions.push(FramePartition { blob, rows: HAND_ROWS as u64 });
    }
    let plan = FrameScanExec::try_new(partitions, task(0).schema(), None)?;
    let plan: Arc<dyn ExecutionPlan> = Arc::new(plan);
    Ok(submission(encode_plan(&plan)?.into()))
}

/// The command, with nothing of the environment's settings. It is killed if the test ends before.
pub(super) fn keyloom(arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Result<Command> {
    let mut command = bare(Command::new(program("keyloom")?));
    command.args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped());
    Ok(command)
}

/// The same on another machine.
fn keyloom_on(
    machine: &Machine,
    arguments: impl IntoIterator<Item = impl AsRef<OsStr>>,
) -> Result<Command> {
    let [first, others @ ..] = machine.command();
    let mut command = bare(Command::new(first));
    command.args(others).arg(program("keyloom")?);
    command.args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped());
    Ok(command)
}

/// The names of a folder's files, sorted.
pub(super) fn names(folder: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder)? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

/// Runs statements over a file, in tasks of a few hundred rows each, on a cluster.
pub(super) struct Client<'a> {
    folder: &'a Path,
    cluster: &'a Cluster,
    machine: Option<&'a Machine>,
}

impl<'a> Client<'a> {
    pub(super) fn new(folder: &'a Path, cluster: &'a Cluster) -> Result<Self> {
        let ids: String = (10_000..20_000).map(|id| format!("{id}\n")).collect();
        fs::write(folder.join("t.csv"), format!("id\n{ids}"))?;
        fs::write(folder.join("config.toml"), "[session]\ntask_bytes = 2048\n")?;
        Ok(Self { folder, cluster, machine: None })
    }

    /// The same on another machine, with some of the session's settings for its connection.
    pub(super) fn on(self, machine: &'a Machine, rpc: &str) -> Result<Self> {
        let config = format!("[session]\ntask_bytes = 2048\n[session.rpc]\n{rpc}\n");
        fs::write(self.folder.join("config.toml"), config)?;
        Ok(Self { machine: Some(machine), ..self })
    }

    pub(super) fn run(&self, sql: &str, more: [&str; 2]) -> Result<Command> {
        let input = format!("t={}", self.folder.join("t.csv").display());
        let cluster = ["--cluster", self.cluster.address.as_str()];
        let statement = ["sql", sql, "--input", &input, "--config", "config.toml"];
        let arguments = [&statement[..], &cluster, &more].concat();
        let mut command = match self.machine {
            Some(machine) => keyloom_on(machine, arguments)?,
            None => keyloom(arguments)?,
        };
        command.current_dir(self.folder);
        Ok(command)
    }
}

async fn kill(mut client: Child) -> Result<()> {
    client.start_kill()?;
    client.wait().await?;
    Ok(())
}

/// Asks until the answer is the wanted one, for as long as things of a client that is gone may be
/// held.
async fn soon<T: Debug>(
    ask: impl AsyncFn() -> Result<T>,
    wanted: impl Fn(&T) -> bool,
) -> Result<T> {
    let answer = timeout(SOON, eventually(ask, wanted)).await;
    answer.with_context(|| format!("not within {SOON:?}"))?
}

/// How many tasks all workers run.
async fn running(session: &Session) -> Result<u32> {
    Ok(session.workers().await?.iter().map(|worker| worker.running).sum())
}

/// Waits until all slots of two workers are taken.
async fn wait_until_busy(session: &Session) -> Result<()> {
    eventually(async || running(session).await, |running| *running == 4).await.map(drop)
}

#[tokio::test]
async fn what_a_killed_client_held_is_free_within_seconds() -> Result<()> {
    let cluster = Cluster::start_with(2, &HELD, &[]).await?;
    let session = connect(&cluster).await?;
    let folder = tempfile::tempdir()?;
    // Nobody reads what it prints, so it takes no more rows.
    let client = Client::new(folder.path(), &cluster)?.run(WIDE, ["--format", "csv"])?.spawn()?;
    wait_until_busy(&session).await?;
    kill(client).await?;
    soon(async || running(&session).await, |running| *running == 0).await?;
    let log = cluster.coordinator.log();
    assert!(log.contains(GONE), "{log}");
    check_rest(start(&session).await?, Vec::new()).await
}

/// How many bytes there are of files that are not whole.
fn partial_bytes(folder: &Path) -> Result<u64> {
    let mut bytes = 0;
    for name in names(folder)?.iter().filter(|name| name.ends_with(".partial")) {
        bytes += fs::metadata(folder.join(name))?.len();
    }
    Ok(bytes)
}

#[tokio::test]
async fn a_killed_clients_file_is_not_there_and_the_next_one_writes_it() -> Result<()> {
    let cluster = Cluster::start(1).await?;
    let folder = tempfile::tempdir()?;
    let client = Client::new(folder.path(), &cluster)?;
    // More rows than are written before the end.
    let sql = "SELECT a.id, b.id AS other FROM t AS a CROSS JOIN t AS b";
    let output = ["-o", "out.csv"];
    let first = client.run(sql, output)?.spawn()?;
    eventually(async || partial_bytes(folder.path()), |bytes| *bytes > 0).await?;
    kill(first).await?;
    assert!(!folder.path().join("out.csv").exists());
    soon(async || Ok(cluster.coordinator.log()), |log| log.contains(GONE)).await?;

    let mut next = client.run("SELECT id FROM t", output)?;
    let ended = timeout(BOUND, next.output()).await.context("it does not end")??;
    assert!(ended.status.success(), "{ended:?}");
    let path = |name| folder.path().join(name);
    assert_eq!(fs::read_to_string(path("out.csv"))?, fs::read_to_string(path("t.csv"))?);
    Ok(())
}

#[tokio::test]
async fn a_client_that_pauses_keeps_its_job_and_one_that_is_silent_loses_it() -> Result<()> {
    let env = small_window(&[
        ("KEYLOOM_COORDINATOR_CLIENT_TIMEOUT_MS", "2000"),
        ("KEYLOOM_COORDINATOR_RESULT_CHUNKS_AHEAD", "1"),
    ]);
    let cluster = Cluster::start_with(2, &env, &[]).await?;
    let session = connect(&cluster).await?;
    let mut job = start(&session).await?;
    let batches = vec![first_batch(&mut job).await?];
    // From now on neither client asks for rows, until that is too long for the second.
    let silent = Raw::connect(&cluster).await?;
    silent.submit(hand_job(&silent).await?).await?;
    let cancelled = "job cancelled: its client was not heard of for ";
    eventually(async || Ok(cluster.coordinator.log()), |log| log.contains(cancelled)).await?;
    check_rest(job, batches).await?;
    assert_eq!(cluster.coordinator.log().matches(cancelled).count(), 1);
    Ok(())
}

#[tokio::test]
async fn a_coordinator_that_stands_still_loses_no_worker() -> Result<()> {
    /// Several times as long as a worker may be silent.
    const STOP: Duration = Duration::from_secs(3);
    let env = small_window(&[("KEYLOOM_COORDINATOR_SCHEDULER__HEARTBEAT_TIMEOUT_MS", "1000")]);
    let cluster = Cluster::start_with(2, &env, &[("KEYLOOM_WORKER_HEARTBEAT_MS", "100")]).await?;
    let session = connect(&cluster).await?;
    let mut job = start(&session).await?;
    let batches = vec![first_batch(&mut job).await?];
    let begun = Instant::now();
    send(Signal::SIGSTOP, &cluster.coordinator)?;
    let mut rest = pin!(check_rest(job, batches));
    tokio::select! {
        ended = &mut rest => bail!("it did not wait for its coordinator: {ended:?}"),
        stood = eventually(async || Ok(begun.elapsed()), |stood| *stood > STOP) => drop(stood?),
    }
    send(Signal::SIGCONT, &cluster.coordinator)?;
    rest.await?;
    cluster.wait_for_workers(2).await?;
    let log = cluster.coordinator.log();
    assert!(!log.contains("worker gone"), "{log}");
    assert_eq!(log.matches("worker registered").count(), 2, "{log}");
    Ok(())
}

/// A connection that has done no more than its handshake; none if it was refused.
fn shake_hands(cluster: &Cluster) -> Result<Option<TcpStream>> {
    let stream = TcpStream::connect(cluster.address.trim_start_matches("tcp://"))?;
    stream.set_read_timeout(Some(BOUND))?;
    let written = (&stream).write_all(hello(BUILD, PROTOCOL, "client").as_bytes());
    let mut line = String::new();
    let read = BufReader::new(&stream).read_line(&mut line);
    let welcome = line.contains("\"refused\":null");
    Ok((written.is_ok() && read.is_ok() && welcome).then_some(stream))
}

#[tokio::test]
async fn clients_that_are_idle_keep_nobody_out() -> Result<()> {
    const CONNECTIONS: usize = 16;
    let env = [
        ("KEYLOOM_COORDINATOR_MAX_CONNECTIONS", "16"),
        ("KEYLOOM_COORDINATOR_IDLE_CONNECTION_MS", "100"),
    ];
    let cluster = Cluster::start_with(1, &env, &[]).await?;
    let mut idle = Vec::new();
    for _ in 0..CONNECTIONS {
        idle.extend(shake_hands(&cluster)?);
    }
    // They have to be idle for a while; until then a new one is refused.
    let connected = async || Ok(connect(&cluster).await.ok());
    let session = eventually(connected, Option::is_some).await?.context("connected")?;
    check_rest(start(&session).await?, Vec::new()).await?;
    let log = cluster.coordinator.log();
    assert!(log.contains("an idle connection was closed for another"), "{log}");
    Ok(())
}

/// The first half of a frame. What it says of its length is true.
fn half_a_frame() -> Vec<u8> {
    const LENGTH: usize = 1 << 20;
    let numbers = [0, LENGTH as u32, 0];
    let mut frame: Vec<u8> = numbers.into_iter().flat_map(u32::to_le_bytes).collect();
    frame.extend(checksum(&frame).to_le_bytes());
    frame.resize(frame.len() + LENGTH / 2, 0);
    frame
}

#[tokio::test]
async fn connections_with_half_a_frame_are_closed() -> Result<()> {
    const CONNECTIONS: usize = 40;
    let env = small_window(&[("KEYLOOM_COORDINATOR_RPC__FRAME_TIMEOUT_MS", "500")]);
    let cluster = Cluster::start_with(1, &env, &[]).await?;
    let frame = half_a_frame();
    let mut streams = Vec::new();
    for _ in 0..CONNECTIONS {
        let mut stream = shake_hands(&cluster)?.context("refused")?;
        // Were it slow, the first half would be late, too.
        let _ = stream.write_all(&frame);
        streams.push(stream);
    }
    for mut stream in streams {
        match stream.read_to_end(&mut Vec::new()) {
            Err(error) if error.kind() != io::ErrorKind::ConnectionReset => {
                return Err(error).context("it was not closed");
            }
            Ok(_) | Err(_) => {}
        }
    }
    let log = cluster.coordinator.log();
    assert!(log.contains("a frame did not go on within 500ms"), "{log}");
    let session = connect(&cluster).await?;
    check_rest(start(&session).await?, Vec::new()).await
}

#[tokio::test]
async fn a_blob_that_was_begun_goes_with_its_client() -> Result<()> {
    const BYTES: usize = 1_000_000;
    let env = [("KEYLOOM_COORDINATOR_BLOB_BYTES", "1000000")];
    let cluster = Cluster::start_with(0, &env, &[]).await?;
    let (first, second) = (Raw::connect(&cluster).await?, Raw::connect(&cluster).await?);
    let (one, two) = (vec![1; BYTES], vec![2; BYTES]);
    first.put_part(BlobId::of(&one), 0, BYTES, &one[..BYTES / 2]).await?;
    let put = async || second.put_part(BlobId::of(&two), 0, BYTES, &two).await;
    let error = put().await.err().context("there was room for it")?;
    assert_eq!(error.kind(), ErrorKind::ResourceExhausted, "{error}");
    assert!(error.message().contains("blob_bytes = 1000000"), "{error}");
    drop(first);
    soon(async || Ok(put().await), |put| put.is_ok()).await.map(drop)
}

/// One more job is refused.
async fn check_full(session: &Session) -> Result<()> {
    let refused = session.submit(session.sql(QUERY).await?).await;
    let error = refused.err().context("a job too many was accepted")?;
    assert_eq!(error.kind(), ErrorKind::ResourceExhausted, "{error}");
    assert!(error.message().contains("max_jobs = 3 on the coordinator"), "{error}");
    Ok(())
}

#[tokio::test]
async fn jobs_that_nobody_reads_are_bounded() -> Result<()> {
    let env = small_window(&[("KEYLOOM_COORDINATOR_MAX_JOBS", "3")]);
    let cluster = Cluster::start_with(1, &env, &[]).await?;
    let session = connect(&cluster).await?;
    let mut jobs = Vec::new();
    for _ in 0..3 {
        jobs.push(start(&session).await?);
    }
    check_full(&session).await?;
    check_rest(jobs.remove(0), Vec::new()).await?;
    // The coordinator hears a moment later that it was read.
    let next = eventually(async || Ok(start(&session).await.ok()), Option::is_some).await?;
    jobs.extend(next);
    check_full(&session).await?;
    jobs.remove(0).cancel().await?;
    check_rest(start(&session).await?, Vec::new()).await
}

/// A session with a table of so many tasks.
async fn connect_for_tasks(cluster: &Cluster, tasks: i64) -> Result<Session> {
    let settings = Settings { task_rows: 10, ..Settings::default() };
    let session = Session::connect_with(&cluster.address, settings).await?;
    session.register_batches("t", &[batch([("id", ints(0..10 * tasks))])])?;
    Ok(session)
}

#[tokio::test]
async fn a_job_of_too_many_tasks_fails_and_one_of_just_so_many_runs() -> Result<()> {
    const MAX_TASKS: i64 = 20;
    const IDS: &str = "SELECT id FROM t";
    let env = small_window(&[("KEYLOOM_COORDINATOR_MAX_TASKS_PER_JOB", "20")]);
    let cluster = Cluster::start_with(1, &env, &[]).await?;
    let session = connect_for_tasks(&cluster, MAX_TASKS + 1).await?;
    let error = failure(session.submit(session.sql(IDS).await?).await?, BOUND).await?;
    assert_eq!(error.kind(), ErrorKind::ResourceExhausted, "{error}");
    assert!(error.message().contains("more than max_tasks_per_job = 20 tasks"), "{error}");
    soon(async || running(&session).await, |running| *running == 0).await?;

    let session = connect_for_tasks(&cluster, MAX_TASKS).await?;
    let mut job = session.submit(session.sql(IDS).await?).await?;
    assert_eq!(whole(&job.collect().await?)?.column(0), &ints(0..10 * MAX_TASKS));
    assert_eq!(job.summary().context("no summary")?.tasks, 20);
    Ok(())
}

#[tokio::test]
async fn a_job_that_is_handed_in_several_times_runs_once() -> Result<()> {
    let cluster = Cluster::start_with(2, &SMALL_WINDOW, &[]).await?;
    let (one, two) = (Raw::connect(&cluster).await?, Raw::connect(&cluster).await?);
    let job = hand_job(&one).await?;
    let both = tokio::join!(one.submit(job.clone()), two.submit(job.clone()));
    assert_eq!(both, (Ok(()), Ok(())));
    let expected = ints(0..HAND_TASKS * HAND_ROWS);
    // However often it is handed in, and over whatever connection its rows are taken.
    for client in [&two, &one] {
        client.submit(job.clone()).await?;
    }
    let (rows, summary) = timeout(BOUND, two.rows(job.id)).await.context("no end")??;
    assert_eq!(rows.column(0), &expected);
    assert_eq!((summary.tasks, summary.rows), (HAND_TASKS as u32, rows.num_rows() as u64));
    one.submit(job).await?;
    let log = cluster.coordinator.log();
    assert_eq!(log.matches("job submitted").count(), 1, "{log}");
    Ok(())
}

#[tokio::test]
async fn a_store_is_attached_while_all_slots_are_taken() -> Result<()> {
    const IDS: Range<i64> = 10_000..14_000;
    let cluster = Cluster::start_with(2, &HELD, &[]).await?;
    let session = Session::connect_with(&cluster.address, settings()).await?;
    session.register_batches("t", &[batch([("id", ints(IDS))])])?;
    let mut job = session.submit(session.sql(WIDE).await?).await?;
    let mut batches = vec![first_batch(&mut job).await?];
    wait_until_busy(&session).await?;
    timeout(BOUND, prepare_store(&session)).await.context("it waits for a slot")??;
    assert_eq!(running(&session).await?, 4);
    batches.extend(job.collect().await?);
    assert_eq!(whole(&batches)?.column(0), &ints(IDS));
    assert_eq!(job.summary().context("no summary")?.tasks, 40);
    Ok(())
}
