//! Bad bytes never crash a process: what peers say is damaged in ways that checksums do not tell,
//! as if a peer had written it so.
//!
//! Damage is drawn at random; `KEYLOOM_SEED` repeats a run.

mod bodies;
mod corrupted;
mod damage;
mod recorder;
mod samples;

use anyhow::{Context, Result, ensure};
use keyloom_client::{MemoryOptions, Session, Settings, load_kv};
use proptest::{
    prelude::any,
    sample::Index,
    strategy::{Strategy, ValueTree},
};

use self::{
    damage::{damaged, damages, runner},
    recorder::{Recorder, Recording},
};
use crate::harness::{Cluster, Daemon, batch, ints, rows, strings};

/// So many connections are made with damaged frames, always the same ones: what comes of them takes
/// its time.
const CONNECTIONS: usize = 60;
const SEED: u64 = 1;

/// Quick news about what waits: of that, there is much here.
const COORDINATOR: [(&str, &str); 1] = [("KEYLOOM_COORDINATOR_RPC__LONG_POLL_MS", "5")];

const KEYS: i64 = 50;

async fn run_job(address: &str) -> Result<Vec<String>> {
    let settings = Settings { task_rows: 10, ..Settings::default() };
    let session = Session::connect_with(address, settings).await?;
    session.register_batches("t", &[batch([("id", ints(0..2 * KEYS))])])?;
    let names: Vec<_> = (0..KEYS).map(|key| format!("name {key}")).collect();
    let names = strings(names.iter().map(String::as_str));
    let store = MemoryOptions::batch(batch([("key", ints(0..KEYS)), ("name", names)]), "key");
    session.attach(load_kv("names", store)?, "names").await?;
    session.set_kv("names")?;
    let sql = "SELECT id, kv_get(id, on_error => 'null')['name'] AS name FROM t WHERE id % 7 > 0";
    rows(session.sql(sql).await?).await
}

/// Starts a worker, and records all that it and a client say while a job runs.
async fn record(cluster: &Cluster) -> Result<(Vec<Recording>, Vec<String>)> {
    let recorder = Recorder::start(&cluster.address).await?;
    let arguments = ["--coordinator", recorder.address(), "--slots", "2"];
    let _worker = Daemon::start("keyloom-worker", &arguments, &[])?;
    cluster.wait_for_workers(1).await?;
    let rows = run_job(recorder.address()).await?;
    Ok((recorder.recordings(), rows))
}

#[tokio::test]
async fn a_coordinator_lives_on_whatever_it_is_told() -> Result<()> {
    let mut cluster = Cluster::start_with(0, &COORDINATOR, &[]).await?;
    let (recordings, expected) = record(&cluster).await?;
    for of_worker in [false, true] {
        let of_them = |recording: &&Recording| recording.is_of_worker() == of_worker;
        let mut of_them = recordings.iter().filter(of_them);
        ensure!(of_them.any(Recording::has_bodies), "no rows or plans were recorded");
    }
    cluster.wait_for_workers(0).await?;
    let arguments = ["--coordinator", &cluster.address, "--slots", "2"];
    cluster.workers.push(Daemon::start("keyloom-worker", &arguments, &[])?);
    cluster.wait_for_workers(1).await?;

    let mut runner = runner("damaged frames", SEED);
    let spoken: Vec<_> = recordings.iter().filter(|said| !said.frames.is_empty()).collect();
    let case = (any::<Index>(), any::<Index>(), any::<bool>(), damages());
    for _ in 0..CONNECTIONS {
        let drawn = case.new_tree(&mut runner).map_err(anyhow::Error::msg)?.current();
        let (which, frame, in_bodies, damages) = &drawn;
        let mut said = (*which.get(&spoken)).clone();
        let frame = frame.index(said.frames.len());
        let frame = &mut said.frames[frame];
        let part = if *in_bodies { &mut frame.bodies } else { &mut frame.message };
        *part = damaged(part, damages);
        said.replay(&cluster.address).await.with_context(|| format!("after {drawn:?}"))?;
    }
    cluster.wait_for_workers(1).await.with_context(|| cluster.coordinator.log())?;
    assert_eq!(run_job(&cluster.address).await?, expected);
    Ok(())
}
