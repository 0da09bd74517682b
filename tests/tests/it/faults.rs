//! What happens when processes die, stop, hang up or talk nonsense. Each test has a cluster of its
//! own.
//!
//! Jobs are cut into many small tasks of which few may run ahead of the client, so that a job whose
//! rows are not taken stays in its midst.

mod busy;
mod by_hand;
mod clients;
mod depth;
mod key_sets;
mod namespaces;
mod network;
mod nonsense;
mod outputs;
mod plans;
mod refused;
mod retries;
mod room;
mod spill_folders;
mod storage;
mod worker_memory;
mod workers;

use std::{
    io::{Read, Write},
    net::TcpStream,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use arrow::{
    array::{Array, ArrayRef, AsArray, BinaryArray, Int64Array, RecordBatch, StringArray},
    compute::concat_batches,
};
use keyloom_client::{
    EmbeddedSettings, Error, ErrorKind, Job, MemoryOptions, Session, Settings, load_kv,
    query::JobUpdate,
};
use keyloom_common::rpc::handshake::PROTOCOL;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokio::sync::OnceCell;

use crate::harness::{Cluster, Daemon, batch, eventually, ints};

const ROWS: i64 = 20_000;
const TASK_ROWS: usize = 100;
const TASKS: u32 = 200;

/// Few tasks ahead of the client, and quick news about what waits.
const SMALL_WINDOW: [(&str, &str); 2] = [
    ("KEYLOOM_COORDINATOR_SCHEDULER__MAX_TASKS_AHEAD", "12"),
    ("KEYLOOM_COORDINATOR_RPC__LONG_POLL_MS", "200"),
];

const QUERY: &str = "SELECT id, kv_get(id % 3000, on_error => 'null')['name'] AS name, \
                     kv_exists(id) AS known FROM t";

fn small_window(more: &[(&'static str, &'static str)]) -> Vec<(&'static str, &'static str)> {
    [&SMALL_WINDOW, more].concat()
}

fn settings() -> Settings {
    Settings { task_rows: TASK_ROWS, ..Settings::default() }
}

fn send(signal: Signal, daemon: &Daemon) -> Result<()> {
    let pid = i32::try_from(daemon.pid())?;
    kill(Pid::from_raw(pid), signal).with_context(|| format!("{signal} to {pid}"))
}

/// A worker for a cluster that runs already.
fn start_worker(cluster: &Cluster) -> Result<Daemon> {
    let arguments = ["--coordinator", &cluster.address, "--slots", "2"];
    Daemon::start("keyloom-worker", &arguments, &[])
}

/// Registers the table and the store of [`QUERY`].
async fn prepare(session: &Session) -> Result<()> {
    register_table(session)?;
    let names: ArrayRef =
        Arc::new(StringArray::from_iter_values((0..2000).map(|key| format!("name {key}"))));
    let store = batch([("key", ints(0..2000)), ("name", names)]);
    session.attach(load_kv("names", MemoryOptions::batch(store, "key"))?, "names").await?;
    Ok(session.set_kv("names")?)
}

fn register_table(session: &Session) -> Result<()> {
    let table = RecordBatch::try_from_iter([("id", ints(0..ROWS))])?;
    Ok(session.register_batches("t", &[table])?)
}

async fn connect(cluster: &Cluster) -> Result<Session> {
    let session = Session::connect_with(&cluster.address, settings()).await?;
    prepare(&session).await?;
    Ok(session)
}

fn whole(batches: &[RecordBatch]) -> Result<RecordBatch> {
    let schema = batches.first().context("no rows at all")?.schema();
    Ok(concat_batches(&schema, batches)?)
}

/// The rows of [`QUERY`] from a session that is its own cluster: they are the same for all tests.
async fn embedded_rows() -> Result<RecordBatch> {
    static KNOWN: OnceCell<RecordBatch> = OnceCell::const_new();
    KNOWN.get_or_try_init(run_embedded).await.cloned()
}

async fn run_embedded() -> Result<RecordBatch> {
    let embedded = EmbeddedSettings { session: settings(), ..EmbeddedSettings::default() };
    let session = Session::embedded_with(embedded).await?;
    prepare(&session).await?;
    let mut job = session.submit(session.sql(QUERY).await?).await?;
    whole(&job.collect().await?)
}

async fn start(session: &Session) -> Result<Job> {
    Ok(session.submit(session.sql(QUERY).await?).await?)
}

/// Takes the first rows.
async fn first_batch(job: &mut Job) -> Result<RecordBatch> {
    job.next_batch().await?.context("the job ended at once")
}

/// Stops a worker and takes rows until the next ones are tasks that it holds in all its slots.
async fn stop_holding_tasks(
    job: &mut Job,
    session: &Session,
    worker: &Daemon,
) -> Result<Vec<RecordBatch>> {
    send(Signal::SIGSTOP, worker)?;
    let mut batches = Vec::new();
    loop {
        match job.next_update().await? {
            JobUpdate::Batch(batch) => batches.push(batch),
            JobUpdate::Pending(_) if running(session, worker).await? == 2 => return Ok(batches),
            JobUpdate::Pending(_) => {}
            JobUpdate::Done => bail!("the job ended; no worker held it up"),
        }
    }
}

/// How many tasks the coordinator thinks that a worker runs.
async fn running(session: &Session, worker: &Daemon) -> Result<u32> {
    let suffix = format!(":{}", worker.pid());
    let workers = session.workers().await?;
    let worker = workers.into_iter().find(|other| other.name.ends_with(&suffix));
    Ok(worker.context("the worker is not registered")?.running)
}

/// Takes the other rows and compares all with the embedded run's.
async fn check_rest(mut job: Job, mut batches: Vec<RecordBatch>) -> Result<()> {
    batches.extend(job.collect().await?);
    let summary = job.summary().context("no summary")?;
    assert_eq!(summary.tasks, TASKS);
    assert_eq!(summary.stores["names"].distinct, 2 * ROWS as u64, "each attempt is counted once");
    assert_eq!(whole(&batches)?, embedded_rows().await?);
    Ok(())
}

/// Why a job fails, and that it does so within a bound.
async fn failure(mut job: Job, bound: Duration) -> Result<Error> {
    let failed = tokio::time::timeout(bound, job.collect()).await;
    failed.with_context(|| format!("no end within {bound:?}"))?.err().context("it did not fail")
}

#[tokio::test]
async fn tasks_of_a_killed_worker_run_elsewhere() -> Result<()> {
    let cluster = Cluster::start_with(3, &SMALL_WINDOW, &[]).await?;
    let session = connect(&cluster).await?;
    let mut job = start(&session).await?;
    let mut batches = vec![first_batch(&mut job).await?];
    let worker = &cluster.workers[0];
    batches.extend(stop_holding_tasks(&mut job, &session, worker).await?);
    send(Signal::SIGKILL, worker)?;
    check_rest(job, batches).await?;
    cluster.wait_for_workers(2).await
}

#[tokio::test]
async fn a_job_whose_workers_all_die_fails_within_the_bound() -> Result<()> {
    let env = small_window(&[("KEYLOOM_COORDINATOR_SCHEDULER__NO_WORKER_TIMEOUT_MS", "1000")]);
    let cluster = Cluster::start_with(3, &env, &[]).await?;
    let session = connect(&cluster).await?;
    let mut job = start(&session).await?;
    first_batch(&mut job).await?;
    for worker in &cluster.workers {
        send(Signal::SIGKILL, worker)?;
    }
    let error = failure(job, Duration::from_secs(10)).await?;
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert_eq!(
        error.message(),
        "no workers: waited 1 s for one to register; start one with keyloom-worker --coordinator \
         <address>"
    );
    Ok(())
}

#[tokio::test]
async fn a_job_without_workers_says_so_and_fails_within_the_bound() -> Result<()> {
    let env = small_window(&[("KEYLOOM_COORDINATOR_SCHEDULER__NO_WORKER_TIMEOUT_MS", "1000")]);
    let cluster = Cluster::start_with(0, &env, &[]).await?;
    let session = Session::connect(&cluster.address).await?;
    register_table(&session)?;
    let mut job = session.submit(session.sql("SELECT id FROM t").await?).await?;
    let JobUpdate::Pending(status) = job.next_update().await? else { panic!("rows from nowhere") };
    assert_eq!((status.workers, status.tasks_done), (0, 0));
    let error = failure(job, Duration::from_secs(10)).await?;
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.message().starts_with("no workers: waited 1 s"), "{error}");

    let attached = prepare_store(&session).await;
    let error = attached.err().context("attached without a worker")?;
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.message().contains("no workers: waited 1 s"), "{error}");
    Ok(())
}

async fn prepare_store(session: &Session) -> keyloom_client::Result<()> {
    let store = batch([("key", ints(0..3))]);
    session.attach(load_kv("late", MemoryOptions::batch(store, "key"))?, "late").await
}

#[tokio::test]
async fn a_worker_that_joins_late_takes_up_a_waiting_job() -> Result<()> {
    let cluster = Cluster::start_with(0, &SMALL_WINDOW, &[]).await?;
    let session = Session::connect_with(&cluster.address, settings()).await?;
    register_table(&session)?;
    let query = session.sql("SELECT id + 1 AS next FROM t").await?;
    let mut job = session.submit(query).await?;
    let JobUpdate::Pending(status) = job.next_update().await? else { panic!("rows from nowhere") };
    assert_eq!(status.workers, 0);
    let _late = start_worker(&cluster)?;
    let rows = whole(&job.collect().await?)?;
    assert_eq!(rows.column(0), &ints(1..=ROWS));
    assert_eq!(job.summary().context("no summary")?.workers, 1);
    Ok(())
}

#[tokio::test]
async fn a_terminated_worker_drains_and_no_rows_are_lost() -> Result<()> {
    let cluster = Cluster::start_with(3, &SMALL_WINDOW, &[]).await?;
    let session = connect(&cluster).await?;
    let mut job = start(&session).await?;
    let batches = vec![first_batch(&mut job).await?];
    send(Signal::SIGTERM, &cluster.workers[0])?;
    check_rest(job, batches).await?;
    cluster.wait_for_workers(2).await
}

#[tokio::test]
async fn a_worker_that_is_told_to_stop_while_idle_leaves_at_once() -> Result<()> {
    let cluster = Cluster::start_with(1, &SMALL_WINDOW, &[]).await?;
    send(Signal::SIGTERM, &cluster.workers[0])?;
    cluster.wait_for_workers(0).await
}

#[tokio::test]
async fn dropping_a_job_midway_frees_its_slots() -> Result<()> {
    let cluster = Cluster::start_with(1, &SMALL_WINDOW, &[]).await?;
    let session = connect(&cluster).await?;
    let mut job = start(&session).await?;
    first_batch(&mut job).await?;
    let worker = &cluster.workers[0];
    stop_holding_tasks(&mut job, &session, worker).await?;
    drop(job);
    eventually(async || running(&session, worker).await, |running| *running == 0).await?;
    send(Signal::SIGCONT, worker)?;
    check_rest(start(&session).await?, Vec::new()).await
}

#[tokio::test]
async fn tasks_of_a_stopped_worker_run_elsewhere_and_its_late_rows_are_refused() -> Result<()> {
    let env = small_window(&[("KEYLOOM_COORDINATOR_SCHEDULER__HEARTBEAT_TIMEOUT_MS", "1500")]);
    let cluster = Cluster::start_with(3, &env, &[("KEYLOOM_WORKER_HEARTBEAT_MS", "100")]).await?;
    let session = connect(&cluster).await?;
    let mut job = start(&session).await?;
    let mut batches = vec![first_batch(&mut job).await?];
    let worker = &cluster.workers[0];
    batches.extend(stop_holding_tasks(&mut job, &session, worker).await?);
    cluster.wait_for_workers(2).await?;
    send(Signal::SIGCONT, worker)?;
    check_rest(job, batches).await?;
    // It finds out that it is not registered any more, and registers again.
    cluster.wait_for_workers(3).await?;
    check_rest(start(&session).await?, Vec::new()).await
}

#[tokio::test]
async fn a_killed_coordinator_is_an_error_and_a_new_one_finds_its_workers() -> Result<()> {
    let mut cluster = Cluster::start_with(2, &SMALL_WINDOW, &[]).await?;
    let session = connect(&cluster).await?;
    let mut job = start(&session).await?;
    first_batch(&mut job).await?;
    send(Signal::SIGKILL, &cluster.coordinator)?;
    let error = failure(job, Duration::from_secs(10)).await?;
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");

    let listen = cluster.address.trim_start_matches("tcp://").to_owned();
    let arguments = ["--listen", listen.as_str()];
    cluster.coordinator = Daemon::start("keyloom-coordinator", &arguments, &SMALL_WINDOW)?;
    let address = cluster.address.as_str();
    eventually(async || Ok(Session::connect(address).await.is_ok()), |connected| *connected)
        .await?;
    cluster.wait_for_workers(2).await?;
    // The session of before serves on.
    check_rest(start(&session).await?, Vec::new()).await
}

#[tokio::test]
async fn a_session_without_a_coordinator_fails_within_a_bound() -> Result<()> {
    let cluster = Cluster::start_with(0, &SMALL_WINDOW, &[]).await?;
    let session = Session::connect(&cluster.address).await?;
    send(Signal::SIGKILL, &cluster.coordinator)?;
    let begun = Instant::now();
    let error = session.workers().await.err().context("answered by nobody")?;
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    let error = Session::connect(&cluster.address).await.err().context("answered by nobody")?;
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert!(error.message().contains(&cluster.address), "{error}");
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    Ok(())
}

/// Large values that are not all alike.
fn large(bytes: usize, seed: usize) -> Vec<u8> {
    (0..bytes / 8).flat_map(|word| (word * 31 + seed).to_le_bytes()).collect()
}

#[tokio::test]
async fn a_value_larger_than_a_frame_passes_as_input_and_as_answer() -> Result<()> {
    let cluster = Cluster::start_with(1, &[], &[]).await?;
    let session = Session::connect(&cluster.address).await?;
    let (given, stored) = (large(40 << 20, 1), large(40 << 20, 2));
    let column = |value: &[u8]| -> ArrayRef { Arc::new(BinaryArray::from(vec![value])) };
    let table = batch([("id", ints([7])), ("given", column(&given))]);
    session.register_batches("t", &[table])?;
    let store = batch([("key", ints([7])), ("stored", column(&stored))]);
    session.attach(load_kv("large", MemoryOptions::batch(store, "key"))?, "large").await?;
    let query = "SELECT id, given, kv_get(id, source => 'large')['stored'] AS stored FROM t";
    let rows = whole(&session.submit(session.sql(query).await?).await?.collect().await?)?;
    assert_eq!(rows.num_rows(), 1);
    let bytes = |column: usize| rows.column(column).as_binary::<i32>().value(0);
    assert!(bytes(1) == given, "what was given came back changed");
    assert!(bytes(2) == stored, "what was stored came back changed");
    Ok(())
}

#[tokio::test]
async fn a_batch_larger_than_a_frame_passes_in_order() -> Result<()> {
    let cluster = Cluster::start_with(1, &[], &[]).await?;
    let session = Session::connect(&cluster.address).await?;
    let values: Vec<_> = (0..24).map(|row| large(1 << 20, row)).collect();
    let column: ArrayRef = Arc::new(BinaryArray::from_iter_values(&values));
    let store = batch([("key", ints(0..24)), ("value", Arc::clone(&column))]);
    session.attach(load_kv("large", MemoryOptions::batch(store, "key"))?, "large").await?;
    let keys: ArrayRef = Arc::new(Int64Array::from_iter_values((0..48).map(|row| (row * 5) % 24)));
    session.register_batches("t", &[batch([("id", Arc::clone(&keys))])])?;
    let query = "SELECT id, kv_get(id, source => 'large')['value'] AS value FROM t";
    let rows = whole(&session.submit(session.sql(query).await?).await?.collect().await?)?;
    assert_eq!(rows.column(0), &keys);
    let found = rows.column(1).as_binary::<i32>();
    assert_eq!(found.null_count(), 0);
    for (row, key) in keys.as_primitive::<arrow::datatypes::Int64Type>().values().iter().enumerate()
    {
        assert!(found.value(row) == values[usize::try_from(*key)?], "row {row}");
    }
    Ok(())
}

/// Sends bytes to the coordinator and returns all that it answers before it hangs up.
fn talk(cluster: &Cluster, bytes: &[u8]) -> Result<String> {
    let mut stream = TcpStream::connect(cluster.address.trim_start_matches("tcp://"))?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    // It may hang up while we still write.
    let _ = stream.write_all(bytes);
    let _ = stream.shutdown(std::net::Shutdown::Write);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

fn hello(build: &str, protocol: u32, role: &str) -> String {
    format!("{{\"keyloom\":{protocol},\"build\":\"{build}\",\"role\":\"{role}\"}}\n")
}

#[tokio::test]
async fn a_peer_of_another_build_is_refused_by_name() -> Result<()> {
    let cluster = Cluster::start_with(0, &[], &[]).await?;
    let build = keyloom_common::BUILD;
    for (role, name) in [("client", "Client"), ("worker", "Worker")] {
        let answer = talk(&cluster, hello("0.0.0-other", 1, role).as_bytes())?;
        let answer: serde_json::Value = serde_json::from_str(&answer)?;
        assert_eq!(answer["build"], build);
        assert_eq!(
            answer["refused"],
            format!(
                "this {name} is build 0.0.0-other (protocol 1), the coordinator is build {build} \
                 (protocol {PROTOCOL}); use one build on all machines"
            )
        );
    }
    let answer = talk(&cluster, hello(build, 999, "worker").as_bytes())?;
    assert!(answer.contains("(protocol 999)"), "{answer}");
    Ok(())
}
