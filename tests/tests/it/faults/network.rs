//! A faulty network between real processes: no flipped bit, reset or stall changes a row, and all
//! jobs end.

use std::{pin::pin, sync::Arc, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use arrow::array::{ArrayRef, RecordBatch, StringArray};
use keyloom_client::{EmbeddedSettings, MemoryOptions, Session, Settings, load_kv};
use keyloom_common::{WorkerId, rpc::Limits};
use nix::sys::signal::Signal;
use tokio::time::timeout;

use super::{
    SMALL_WINDOW, check_rest, connect, first_batch, prepare, send, settings, small_window, start,
    stop_holding_tasks, whole,
};
use crate::harness::{
    Cluster, Daemon, Direction, HANDSHAKE_MS, IMPATIENT_COORDINATOR, IMPATIENT_WORKER, Proxy,
    batch, eventually, ints,
};

/// The table and the store of a job that is small enough to be run for each flip.
const SWEPT_ROWS: i64 = 2_000;
const SWEPT_KEYS: i64 = 1_000;

/// So many bits are flipped in each direction, one a job.
const POSITIONS: usize = 40;

/// So many registrations of a worker have a bit flipped in each direction.
const REGISTRATIONS: usize = 12;

/// So many jobs may pass before the byte to be damaged does. A worker's share of a job varies.
const JOBS_PER_FLIP: usize = 20;

/// No job takes longer, whatever the network does.
const BOUND: Duration = Duration::from_secs(30);

/// Two workers, the second of which has its connections through a proxy.
async fn start_with_proxied_worker(
    coordinator_env: &[(&str, &str)],
    worker_env: &[(&str, &str)],
) -> Result<(Cluster, Proxy)> {
    let mut cluster = Cluster::start_with(1, coordinator_env, worker_env).await?;
    let proxy = Proxy::start(&cluster.address).await?;
    let arguments = ["--coordinator", proxy.address(), "--slots", "2"];
    cluster.workers.push(Daemon::start("keyloom-worker", &arguments, worker_env)?);
    cluster.wait_for_workers(2).await?;
    Ok((cluster, proxy))
}

async fn connect_through(proxy: &Proxy) -> Result<Session> {
    let session = Session::connect_with(proxy.address(), settings()).await?;
    prepare(&session).await?;
    Ok(session)
}

/// Runs a small job in a session that has run none. Its rows are always the same; the contents that
/// it sends, and that workers read, have a salt, so that they travel anew for each.
async fn swept_rows(session: &Session, salt: i64) -> Result<RecordBatch> {
    let salted = |rows: i64| ints((0..rows).map(|_| salt));
    let table = batch([("id", ints(0..SWEPT_ROWS)), ("salt", salted(SWEPT_ROWS))]);
    session.register_batches("t", &[table])?;
    let names = (0..SWEPT_KEYS).map(|key| format!("name {key}"));
    let names: ArrayRef = Arc::new(StringArray::from_iter_values(names));
    let columns = [("key", ints(0..SWEPT_KEYS)), ("name", names), ("salt", salted(SWEPT_KEYS))];
    let store = load_kv("names", MemoryOptions::batch(batch(columns), "key"))?;
    session.attach(store, "names").await?;
    session.set_kv("names")?;
    whole(&start(session).await?.collect().await?)
}

/// Small jobs, one after the other, of sessions that connect to an address.
struct Jobs<'a> {
    address: &'a str,
    expected: RecordBatch,
    run: i64,
}

impl<'a> Jobs<'a> {
    async fn new(address: &'a str) -> Result<Self> {
        let embedded = EmbeddedSettings { session: settings(), ..EmbeddedSettings::default() };
        let session = Session::embedded_with(embedded).await?;
        Ok(Self { address, expected: swept_rows(&session, 0).await?, run: 0 })
    }

    /// Runs the next one and compares its rows.
    async fn check_next(&mut self, fault: &str) -> Result<()> {
        self.run += 1;
        let rows = async {
            let session = Session::connect_with(self.address, settings()).await?;
            swept_rows(&session, self.run).await
        };
        let rows = timeout(BOUND, rows).await;
        let rows = rows.with_context(|| format!("no end within {BOUND:?} with {fault}"))?;
        let rows = rows.with_context(|| format!("failed with {fault}"))?;
        assert!(rows == self.expected, "other rows with {fault}");
        Ok(())
    }
}

/// Flips bits one by one, spread over what passes in a clean job, in jobs of sessions that connect
/// to the address. One flip breaks one connection, so all jobs end well.
async fn sweep(cluster: &Cluster, proxy: &Proxy, address: &str) -> Result<()> {
    let mut jobs = Jobs::new(address).await?;
    for direction in Direction::BOTH {
        let before = proxy.bytes(direction);
        jobs.check_next("no fault").await?;
        // A job that waits for less has a little less to say.
        let bytes = (proxy.bytes(direction) - before) / 10 * 9;
        for position in 0..POSITIONS {
            // Amid each part: a job's first bytes are a handshake, which has tests of its own.
            let byte = (2 * position + 1) * bytes / (2 * POSITIONS);
            let bit = position % 8;
            let fault = format!("bit {bit} of byte {byte} {direction:?} flipped");
            proxy.flip(direction, byte, bit);
            let mut passed = 0;
            while proxy.flip_waits() {
                ensure!(passed < JOBS_PER_FLIP, "{passed} jobs passed before {fault}");
                passed += 1;
                jobs.check_next(&fault).await?;
            }
            let workers = cluster.wait_for_workers(cluster.workers.len()).await;
            workers.with_context(|| format!("a worker stays away after {fault}"))?;
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_bit_flipped_on_a_clients_connection_changes_no_row() -> Result<()> {
    let cluster = Cluster::start_with(2, &IMPATIENT_COORDINATOR, &IMPATIENT_WORKER).await?;
    let proxy = Proxy::start(&cluster.address).await?;
    sweep(&cluster, &proxy, proxy.address()).await
}

#[tokio::test]
async fn a_bit_flipped_on_a_workers_connections_changes_no_row() -> Result<()> {
    let (cluster, proxy) =
        start_with_proxied_worker(&IMPATIENT_COORDINATOR, &IMPATIENT_WORKER).await?;
    sweep(&cluster, &proxy, &cluster.address).await
}

#[tokio::test]
async fn a_clients_damaged_handshake_is_no_refusal() -> Result<()> {
    let cluster = Cluster::start_with(0, &IMPATIENT_COORDINATOR, &[]).await?;
    let proxy = Proxy::start(&cluster.address).await?;
    let rpc = Limits { handshake_timeout_ms: HANDSHAKE_MS, ..Limits::default() };
    let settings = Settings { rpc, ..settings() };
    let connect = || timeout(BOUND, Session::connect_with(proxy.address(), settings.clone()));
    for direction in Direction::BOTH {
        let before = proxy.bytes(direction);
        connect().await??;
        let bytes = proxy.bytes(direction) - before;
        // The last one ends the line.
        for byte in (0..bytes).step_by(9).chain([bytes - 1]) {
            let bit = byte % 8;
            let fault = format!("bit {bit} of byte {byte} {direction:?} flipped");
            proxy.flip(direction, byte, bit);
            let connected = connect().await;
            match connected.with_context(|| format!("no end within {BOUND:?} with {fault}"))? {
                Ok(session) => assert_eq!(session.workers().await?.len(), 0, "{fault}"),
                Err(error) => assert!(error.kind().is_transient(), "{error} with {fault}"),
            }
            assert!(!proxy.flip_waits(), "connected before {fault}");
        }
    }
    Ok(())
}

/// The id under which a worker is registered now.
async fn id(session: &Session, worker: &Daemon) -> Result<Option<WorkerId>> {
    let suffix = format!(":{}", worker.pid());
    let workers = session.workers().await?;
    Ok(workers.into_iter().find(|other| other.name.ends_with(&suffix)).map(|worker| worker.id))
}

/// Ends a worker's life by a reset and waits for the next one, in which a bit of a byte is flipped,
/// if one is named.
async fn register_again(
    session: &Session,
    proxy: &Proxy,
    worker: &Daemon,
    flip: Option<(Direction, usize)>,
) -> Result<()> {
    let before = id(session, worker).await?;
    proxy.reset();
    if let Some((direction, byte)) = flip {
        proxy.flip(direction, byte, byte % 8);
    }
    let lives_again = |id: &Option<WorkerId>| id.is_some() && *id != before && !proxy.flip_waits();
    eventually(async || id(session, worker).await, lives_again).await.map(drop)
}

#[tokio::test]
async fn a_worker_registers_whatever_bit_of_its_registration_flips() -> Result<()> {
    let (cluster, proxy) =
        start_with_proxied_worker(&IMPATIENT_COORDINATOR, &IMPATIENT_WORKER).await?;
    let session = connect(&cluster).await?;
    let worker = &cluster.workers[1];
    for direction in Direction::BOTH {
        let before = proxy.bytes(direction);
        register_again(&session, &proxy, worker, None).await?;
        let bytes = proxy.bytes(direction) - before;
        for position in 0..REGISTRATIONS {
            let byte = position * bytes / REGISTRATIONS;
            let registered = register_again(&session, &proxy, worker, Some((direction, byte)));
            registered.await.with_context(|| {
                let log = worker.log();
                format!("bit {} of byte {byte} {direction:?} flipped\n{log}", byte % 8)
            })?;
        }
    }
    cluster.wait_for_workers(2).await?;
    check_rest(start(&session).await?, Vec::new()).await
}

/// Resets all connections while questions are on their way: another session's answer says that they
/// have been sent.
async fn reset_questions(proxy: &Proxy, other: &Session) -> Result<()> {
    proxy.stall();
    other.workers().await?;
    proxy.reset();
    proxy.resume();
    Ok(())
}

#[tokio::test]
async fn a_client_whose_connection_is_reset_asks_again() -> Result<()> {
    let cluster = Cluster::start_with(2, &SMALL_WINDOW, &[]).await?;
    let proxy = Proxy::start(&cluster.address).await?;
    let direct = Session::connect(&cluster.address).await?;
    let session = connect_through(&proxy).await?;
    let mut job = start(&session).await?;
    let mut batches = vec![first_batch(&mut job).await?];
    for _ in 0..5 {
        let (reset, next) = tokio::join!(reset_questions(&proxy, &direct), job.next_batch());
        reset?;
        batches.push(next?.context("the job ended early")?);
    }
    check_rest(job, batches).await
}

#[tokio::test]
async fn tasks_of_a_worker_whose_connections_are_reset_run_elsewhere() -> Result<()> {
    let (cluster, proxy) = start_with_proxied_worker(&SMALL_WINDOW, &IMPATIENT_WORKER).await?;
    let session = connect(&cluster).await?;
    let mut job = start(&session).await?;
    let mut batches = vec![first_batch(&mut job).await?];
    // Stopped, so that it is certain to hold tasks.
    let worker = &cluster.workers[1];
    batches.extend(stop_holding_tasks(&mut job, &session, worker).await?);
    proxy.reset();
    check_rest(job, batches).await?;
    send(Signal::SIGCONT, worker)?;
    cluster.wait_for_workers(2).await?;
    check_rest(start(&session).await?, Vec::new()).await
}

#[tokio::test]
async fn tasks_of_a_worker_that_is_cut_off_run_elsewhere_and_it_comes_back() -> Result<()> {
    let env = small_window(&[("KEYLOOM_COORDINATOR_SCHEDULER__HEARTBEAT_TIMEOUT_MS", "1500")]);
    let worker_env = [("KEYLOOM_WORKER_HEARTBEAT_MS", "100")];
    let (cluster, proxy) = start_with_proxied_worker(&env, &worker_env).await?;
    let session = connect(&cluster).await?;
    let mut job = start(&session).await?;
    let batches = vec![first_batch(&mut job).await?];
    proxy.stall();
    check_rest(job, batches).await?;
    cluster.wait_for_workers(1).await?;
    proxy.resume();
    cluster.wait_for_workers(2).await?;
    check_rest(start(&session).await?, Vec::new()).await
}

#[tokio::test]
async fn a_session_that_does_not_hear_that_its_job_was_taken_hands_it_in_again_and_it_runs_once()
-> Result<()> {
    // Far more than it takes to come back.
    let env = [("KEYLOOM_COORDINATOR_CLIENT_GONE_MS", "60000")];
    let cluster = Cluster::start_with(0, &env, &[]).await?;
    let proxy = Proxy::start(&cluster.address).await?;
    let session = Session::connect(proxy.address()).await?;
    // Nothing is asked for it but to take it.
    let query = session.sql("SELECT n + 1 AS next FROM (VALUES (1), (2), (3)) AS v(n)").await?;
    let taken = || cluster.coordinator.log().matches("job submitted").count();
    proxy.stall_one_way(Direction::ToClient);
    let lose_answer = async {
        eventually(async || Ok(taken()), |taken| *taken == 1).await?;
        proxy.reset();
        proxy.resume();
        anyhow::Ok(())
    };
    let (job, lost) = tokio::join!(session.submit(query), lose_answer);
    lost?;
    let rows = timeout(BOUND, job?.collect()).await.context("no end")??;
    assert_eq!(whole(&rows)?.column(0), &ints(2..=4));
    assert_eq!(taken(), 1, "{}", cluster.coordinator.log());
    Ok(())
}

async fn run_other_jobs(cluster: &Cluster) -> Result<()> {
    let session = connect(cluster).await?;
    for _ in 0..2 {
        check_rest(start(&session).await?, Vec::new()).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_client_whose_connection_stalls_keeps_its_job() -> Result<()> {
    let cluster = Cluster::start_with(2, &SMALL_WINDOW, &[]).await?;
    let proxy = Proxy::start(&cluster.address).await?;
    let session = connect_through(&proxy).await?;
    let mut job = start(&session).await?;
    let batches = vec![first_batch(&mut job).await?];
    proxy.stall();
    let mut rest = pin!(check_rest(job, batches));
    tokio::select! {
        ended = &mut rest => bail!("it did not wait for its connection: {ended:?}"),
        others = run_other_jobs(&cluster) => others?,
    }
    proxy.resume();
    rest.await
}
