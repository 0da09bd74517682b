//! What strangers cost: jobs while thousands of connections say nothing, and while thousands say
//! what nobody understands.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use keyloom_client::{MemoryOptions, Session, Settings, load_kv};
use keyloom_common::rpc::parse_address;
use keyloom_program::open_files;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
    time::{sleep, timeout},
};

use super::{Bench, Measurement};
use crate::cluster::Cluster;

/// Connections that say nothing. Whom the coordinator hangs up on connects again.
const IDLE: usize = 5_000;
/// After so long.
const REST: Duration = Duration::from_secs(5);

/// Connections that talk nonsense.
#[derive(Clone, Copy, Debug)]
struct Flood {
    name: &'static str,
    /// So many of them, at least.
    least: usize,
    at_once: usize,
}

const FLOODS: [Flood; 2] = [
    Flood { name: "malformed", least: 10_000, at_once: 256 },
    Flood { name: "crowd", least: 1_000, at_once: 1_000 },
];

/// Of those of a flood that fail, so many are told, and each pauses for so long.
const MOST_TOLD: usize = 5;
const PAUSE: Duration = Duration::from_millis(100);

/// How often jobs and connections are timed; what counts is the median.
const TIMES: usize = 9;

/// Rows of a job at scale 1, and of its store.
const ROWS: u64 = 1_000_000;
const KEYS: i64 = 100_000;

/// No connection lasts longer.
const BOUND: Duration = Duration::from_secs(60);

/// `job-…` is a job over a connection that is there, and `connect-…` a new one over which something
/// is asked: `…-alone`, and while strangers are silent or talk nonsense. The coordinator's memory
/// is the most that it held until the end of each.
pub(super) async fn measure(bench: &Bench) -> Result<Measurement> {
    open_files::raise("idle connections", IDLE, 1)?;
    let cluster = Cluster::start_secured(1, 2).await?;
    let session = prepare(&cluster, bench.data.scale()?.rows(ROWS)).await?;
    let mut measured = Measurement::default();
    // What is kept of the store is kept from now on.
    time_job(&session).await?;
    time(&cluster, &session, "alone", &mut measured).await?;

    let opened = Arc::new(AtomicUsize::new(0));
    let mut silent = JoinSet::new();
    for _ in 0..IDLE {
        silent.spawn(be_silent(cluster.address().to_owned(), Arc::clone(&opened)));
    }
    let clock = Instant::now();
    while opened.load(Ordering::Relaxed) < IDLE {
        ensure!(clock.elapsed() < BOUND, "{IDLE} connections cannot be opened");
        sleep(Duration::from_millis(10)).await;
    }
    time(&cluster, &session, "idle", &mut measured).await?;
    measured.counts.insert("idle".to_owned(), opened.load(Ordering::Relaxed) as f64);
    silent.shutdown().await;

    for flood in FLOODS {
        beside(flood, &cluster, &session, &mut measured).await?;
    }
    time_job(&session).await?;
    Ok(measured)
}

/// Times while strangers talk nonsense, and waits for their ends.
async fn beside(
    flood: Flood,
    cluster: &Cluster,
    session: &Session,
    measured: &mut Measurement,
) -> Result<()> {
    let talk = Arc::new(Talk::of(flood));
    let mut talking = JoinSet::new();
    for _ in 0..flood.at_once {
        talking.spawn(talk_nonsense(cluster.address().to_owned(), Arc::clone(&talk)));
    }
    time(cluster, session, flood.name, measured).await?;
    talk.enough.store(true, Ordering::Relaxed);
    while let Some(ended) = talking.join_next().await {
        ended??;
    }
    let talked = talk.talked.load(Ordering::Relaxed);
    measured.counts.insert(flood.name.to_owned(), talked as f64);
    note_failures(flood.name, talk.failed.load(Ordering::Relaxed), measured);
    let peak = cluster.coordinator_peak_bytes()?;
    measured.peaks.insert(format!("coordinator-{}", flood.name), peak);
    Ok(())
}

/// A session with a table of numbers, and a store of names for some of them.
async fn prepare(cluster: &Cluster, rows: u64) -> Result<Session> {
    let session = cluster.session(Settings::default()).await?;
    let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(0..i64::try_from(rows)?));
    session.register_batches("t", &[RecordBatch::try_from_iter([("id", ids)])?])?;
    let names = (0..KEYS).map(|key| format!("name {key}"));
    let columns: [(&str, ArrayRef); 2] = [
        ("key", Arc::new(Int64Array::from_iter_values(0..KEYS))),
        ("name", Arc::new(StringArray::from_iter_values(names))),
    ];
    let store = MemoryOptions::batch(RecordBatch::try_from_iter(columns)?, "key");
    session.attach(load_kv("names", store)?, "names").await?;
    Ok(session)
}

/// Times jobs and connections, and notes the coordinator's memory.
async fn time(
    cluster: &Cluster,
    session: &Session,
    when: &str,
    measured: &mut Measurement,
) -> Result<()> {
    let (mut jobs, mut connections, mut failed) = (Vec::new(), Vec::new(), 0);
    for _ in 0..TIMES {
        for (timed, times) in [
            (time_job(session).await, &mut jobs),
            (time_connection(cluster).await, &mut connections),
        ] {
            match timed {
                Ok(seconds) => times.push(seconds),
                Err(error) => {
                    eprintln!("connections, {when}: {error:#}");
                    failed += 1;
                }
            }
        }
    }
    note_failures(when, failed, measured);
    measured.add_seconds(&format!("job-{when}"), median(jobs)?);
    measured.add_seconds(&format!("connect-{when}"), median(connections)?);
    measured.peaks.insert(format!("coordinator-{when}"), cluster.coordinator_peak_bytes()?);
    Ok(())
}

fn note_failures(when: &str, failed: usize, measured: &mut Measurement) {
    *measured.counts.entry(format!("failures-{when}")).or_default() += failed as f64;
}

/// How long a new connection takes until something is answered over it.
async fn time_connection(cluster: &Cluster) -> Result<f64> {
    let clock = Instant::now();
    cluster.session(Settings::default()).await?.workers().await?;
    Ok(clock.elapsed().as_secs_f64())
}

/// How long a job takes whose rows are read.
async fn time_job(session: &Session) -> Result<f64> {
    let query = format!(
        "SELECT id, kv_get(id % {}, source => 'names', on_error => 'null')['name'] AS name FROM t",
        2 * KEYS
    );
    let clock = Instant::now();
    let mut job = session.submit(session.sql(&query).await?).await?;
    while job.next_batch().await?.is_some() {}
    Ok(clock.elapsed().as_secs_f64())
}

fn median(mut times: Vec<f64>) -> Result<f64> {
    times.sort_by(f64::total_cmp);
    times.get(times.len() / 2).copied().context("nothing was timed")
}

/// Connects and says nothing, again and again. It ends when it is dropped.
async fn be_silent(address: String, opened: Arc<AtomicUsize>) {
    let host_port = parse_address(&address).unwrap_or_default();
    loop {
        if let Ok(mut stream) = TcpStream::connect(host_port).await {
            opened.fetch_add(1, Ordering::Relaxed);
            let _ = stream.read(&mut [0]).await;
        }
        // It costs processor time here, too, to come back.
        sleep(REST).await;
    }
}

/// What strangers who talk nonsense share.
#[derive(Debug)]
struct Talk {
    flood: Flood,
    talked: AtomicUsize,
    failed: AtomicUsize,
    /// Whether nothing is timed any more.
    enough: AtomicBool,
}

impl Talk {
    fn of(flood: Flood) -> Self {
        let (talked, failed, enough) = Default::default();
        Self { flood, talked, failed, enough }
    }
}

/// Connects and says what nobody understands until the coordinator hangs up, again and again: until
/// there were enough of these, and nothing is timed any more.
async fn talk_nonsense(address: String, talk: Arc<Talk>) -> Result<()> {
    let host_port = parse_address(&address)?;
    loop {
        let number = talk.talked.fetch_add(1, Ordering::Relaxed);
        if number >= talk.flood.least && talk.enough.load(Ordering::Relaxed) {
            return Ok(());
        }
        if let Err(error) = say_nonsense(host_port, number).await {
            // The first ones tell enough.
            if talk.failed.fetch_add(1, Ordering::Relaxed) < MOST_TOLD {
                eprintln!("connections, {}: nonsense {number}: {error:#}", talk.flood.name);
            }
            sleep(PAUSE).await;
        }
    }
}

async fn say_nonsense(host_port: &str, number: usize) -> Result<()> {
    let mut stream = TcpStream::connect(host_port).await?;
    // It may hang up while we still write.
    let _ = stream.write_all(&nonsense(number)).await;
    let closed = timeout(BOUND, stream.read_to_end(&mut Vec::new())).await;
    // However it hangs up.
    let _ = closed.with_context(|| format!("it is listened to for {BOUND:?}"))?;
    Ok(())
}

/// The beginnings of protocols, with lengths that are right and wrong; all of it is complete enough
/// to be refused at once.
fn nonsense(number: usize) -> Vec<u8> {
    match number % 5 {
        0 => b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec(),
        1 => vec![0; 1 + number % 4_096],
        2 => vec![0xff; 20_000],
        // A ClientHello of the right length that holds nothing.
        3 => [&[0x16, 3, 1, 0, 44, 1, 0, 0, 40, 3, 3][..], &[7; 38]].concat(),
        _ => b"{\"keyloom\":1}\n{}\n".to_vec(),
    }
}
