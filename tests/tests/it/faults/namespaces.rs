//! Partitions: the link between two machines goes down, at either end. Neither side hears a word
//! of that, and both notice within a bound: tasks run elsewhere, what a client held is free, and a
//! worker comes back once there is a link again.
//!
//! The other machine is a network namespace, which takes root on Linux and `ip`. Where there can be
//! none, the tests say so on stderr, or fail if `KEYLOOM_TEST_ALL` is set.

use std::{fs, net::Ipv4Addr, time::Duration};

use anyhow::{Context, Result};
use nix::sys::signal::Signal;
use tokio::{
    io::{copy, sink},
    time::timeout,
};

use super::{
    check_rest,
    clients::{Client, GONE, WIDE},
    connect, first_batch, running, send, small_window, start,
    workers::{LOGGED, begun},
};
use crate::harness::{Cluster, Daemon, End, Machine, eventually, not_tested};

/// After so long a connection is closed whose other side is gone: `rpc.call_timeout_ms` and
/// `rpc.dead_peer_ms`, which are far longer by default.
const CALL: (&str, &str) = ("KEYLOOM_COORDINATOR_RPC__CALL_TIMEOUT_MS", "2000");
const DEAD_PEER: (&str, &str) = ("KEYLOOM_COORDINATOR_RPC__DEAD_PEER_MS", "1000");

/// Far more than that.
const BOUND: Duration = Duration::from_secs(25);

const HEARTBEAT_TIMEOUT: &str = "KEYLOOM_COORDINATOR_SCHEDULER__HEARTBEAT_TIMEOUT_MS";

const WORKER: [(&str, &str); 7] = [
    ("KEYLOOM_WORKER_RPC__CALL_TIMEOUT_MS", "2000"),
    ("KEYLOOM_WORKER_RPC__DEAD_PEER_MS", "1000"),
    ("KEYLOOM_WORKER_RPC__HANDSHAKE_TIMEOUT_MS", "1000"),
    ("KEYLOOM_WORKER_HEARTBEAT_MS", "100"),
    ("KEYLOOM_WORKER_RECONNECT_MS", "100"),
    ("KEYLOOM_WORKER_RECONNECT_MAX_MS", "500"),
    LOGGED,
];

/// What a worker says that has no coordinator (any more).
const ALONE: &str = "no coordinator; trying again";

/// Another machine, unless there can be none.
fn machine() -> Result<Option<Machine>> {
    match Machine::make()? {
        Ok(machine) => Ok(Some(machine)),
        Err(why) => not_tested("partitions, between network namespaces", &why).map(|()| None),
    }
}

/// A cluster that the other machine reaches, with one worker of this machine.
async fn start_cluster(
    machine: &Machine,
    env: &[(&'static str, &'static str)],
    worker_env: &[(&str, &str)],
) -> Result<Cluster> {
    let listen = format!("{}:0", machine.here());
    Cluster::start_at(&listen, 1, &small_window(env), worker_env).await
}

/// How many connections a process has open to an address, as far as it knows.
fn connections(daemon: &Daemon, to: Ipv4Addr) -> Result<usize> {
    const ESTABLISHED: &str = "01";
    let table = fs::read_to_string(format!("/proc/{}/net/tcp", daemon.pid()))?;
    // As it stands in memory.
    let to = format!("{:08X}:", u32::from_ne_bytes(to.octets()));
    let rows = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let open = rows.filter(|row| {
        matches!(row[..], [_, _, remote, state, ..]
            if remote.starts_with(&to) && state == ESTABLISHED)
    });
    Ok(open.count())
}

async fn wait_for_connections(
    cluster: &Cluster,
    machine: &Machine,
    wanted: impl Fn(usize) -> bool,
) -> Result<()> {
    let open = async || connections(&cluster.coordinator, machine.there());
    let waited = timeout(BOUND, eventually(open, |open| wanted(*open))).await;
    waited.with_context(|| format!("not within {BOUND:?}"))?.map(drop)
}

/// A worker of the other machine holds tasks when the link goes down.
async fn check_worker(end: End) -> Result<()> {
    let Some(machine) = machine()? else { return Ok(()) };
    let env = [CALL, DEAD_PEER, (HEARTBEAT_TIMEOUT, "1500")];
    let mut cluster = start_cluster(&machine, &env, &WORKER).await?;
    let arguments = ["--coordinator", &cluster.address, "--slots", "2"];
    let other = Daemon::start_on(&machine, "keyloom-worker", &arguments, &WORKER)?;
    cluster.workers.push(other);
    cluster.wait_for_workers(2).await?;
    let session = connect(&cluster).await?;
    let mut job = start(&session).await?;
    let id = job.id();
    let batches = vec![first_batch(&mut job).await?];
    wait_for_connections(&cluster, &machine, |open| open > 0).await?;
    machine.link_down(end)?;
    let rest = timeout(BOUND, check_rest(job, batches)).await;
    rest.with_context(|| format!("no end within {BOUND:?}"))??;
    // It held some, or was given some before it was lost.
    let near = begun(id, &cluster.workers[..1]);
    assert!(near.iter().any(|attempt| !attempt.ends_with("#0")), "{near:#?}");
    cluster.wait_for_workers(1).await?;

    // Both sides know: nothing of it is open here, and it looks for a coordinator.
    wait_for_connections(&cluster, &machine, |open| open == 0).await?;
    let log = async || Ok(cluster.workers[1].log());
    let noticed = timeout(BOUND, eventually(log, |log| log.contains(ALONE))).await;
    noticed.with_context(|| format!("it did not notice within {BOUND:?}"))??;

    machine.link_up(end)?;
    cluster.wait_for_workers(2).await?;
    drop(cluster.workers.remove(0));
    cluster.wait_for_workers(1).await?;
    check_rest(start(&session).await?, Vec::new()).await
}

#[tokio::test]
async fn tasks_run_elsewhere_when_the_coordinators_link_goes_down_and_the_worker_comes_back()
-> Result<()> {
    check_worker(End::Here).await
}

#[tokio::test]
async fn tasks_run_elsewhere_when_a_workers_link_goes_down_and_it_comes_back() -> Result<()> {
    check_worker(End::There).await
}

/// A client of the other machine has a job that takes all slots when the link goes down.
async fn check_client(end: End) -> Result<()> {
    let Some(machine) = machine()? else { return Ok(()) };
    let env = [
        CALL,
        DEAD_PEER,
        ("KEYLOOM_COORDINATOR_CLIENT_GONE_MS", "500"),
        ("KEYLOOM_COORDINATOR_RESULT_CHUNKS_AHEAD", "1"),
        // A worker that is stopped keeps its tasks for as long as there is their job.
        (HEARTBEAT_TIMEOUT, "600000"),
    ];
    let cluster = start_cluster(&machine, &env, &[]).await?;
    let session = connect(&cluster).await?;
    let worker = &cluster.workers[0];
    let folder = tempfile::tempdir()?;
    let client = Client::new(folder.path(), &cluster)?;
    let rpc = "call_timeout_ms = 2000\ndead_peer_ms = 1000\nhandshake_timeout_ms = 1000";
    let mut client = client.on(&machine, rpc)?.run(WIDE, ["--format", "csv"])?.spawn()?;
    // Nobody reads what it prints, so the job does not end before the worker is stopped.
    let log = async || Ok(cluster.coordinator.log());
    eventually(log, |log| log.contains("job submitted")).await?;
    send(Signal::SIGSTOP, worker)?;
    let mut printed = client.stdout.take().context("stdout is piped")?;
    let reading = tokio::spawn(async move { copy(&mut printed, &mut sink()).await });
    let tasks = async || running(&session, worker).await;
    eventually(tasks, |running| *running == 2).await?;

    machine.link_down(end)?;
    let tasks = async || running(&session, worker).await;
    let free = timeout(BOUND, eventually(tasks, |running| *running == 0)).await;
    free.with_context(|| format!("its slots are not free within {BOUND:?}"))??;
    let log = cluster.coordinator.log();
    assert!(log.contains(GONE), "{log}");
    wait_for_connections(&cluster, &machine, |open| open == 0).await?;
    let ended = timeout(BOUND, client.wait_with_output()).await;
    let ended = ended.with_context(|| format!("the client does not end within {BOUND:?}"))??;
    assert_eq!(ended.status.code(), Some(5), "{ended:?}");
    let silent = format!("the coordinator at {} is silent", cluster.address);
    assert!(String::from_utf8_lossy(&ended.stderr).contains(&silent), "{ended:?}");
    reading.await??;

    send(Signal::SIGCONT, worker)?;
    check_rest(start(&session).await?, Vec::new()).await
}

#[tokio::test]
async fn what_a_client_held_is_free_when_the_coordinators_link_goes_down() -> Result<()> {
    check_client(End::Here).await
}

#[tokio::test]
async fn what_a_client_held_is_free_when_its_own_link_goes_down() -> Result<()> {
    check_client(End::There).await
}
