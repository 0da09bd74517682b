//! Workers with little memory: they do the same work in smaller pieces and take no more than they
//! are given, or say by name that it is too little.

use std::time::Duration;

use anyhow::{Context, Result};
use keyloom_client::{ErrorKind, LanceOptions, MemoryOptions, Session, Settings, load_kv};
use tokio::time::timeout;

use super::room::peak_bytes;
use crate::harness::{Cluster, batch, check_rows, ints, show_rows, strings, write_lance};

const MIB: u64 = 1 << 20;

/// What a worker is given.
const MEMORY: u64 = 64 * MIB;

/// What comes on top of it: the program, batches between operators, what readers decode in, and
/// what the allocator keeps.
const MARGIN: u64 = 256 * MIB;

const ALIASES: i64 = 8;
const KEYS: i64 = 500;
const ROWS: i64 = 4_000;

/// The digits of a key, of which there are eight, make its text of 16 KiB.
const TIMES: usize = 2_048;

/// Nothing takes longer.
const BOUND: Duration = Duration::from_secs(120);

/// A worker with little memory, whatever its other bounds. Each task is to have as many answers as
/// it may.
async fn small() -> Result<Cluster> {
    let answers = [("KEYLOOM_COORDINATOR_ANSWER_BYTES", "1073741824")];
    let memory = MEMORY.to_string();
    let bounds = [
        ("KEYLOOM_WORKER_MEMORY_BYTES", memory.as_str()),
        ("KEYLOOM_WORKER_LOOKUP__WINDOW_BYTES", "1073741824"),
        ("KEYLOOM_WORKER_LOOKUP__MEMORY_BYTES", "1073741824"),
        ("KEYLOOM_WORKER_KEEP_FREED_BYTES", "1048576"),
    ];
    Cluster::start_with(1, &answers, &bounds).await
}

/// A session with so many ids, one task for each slot.
async fn connect(cluster: &Cluster) -> Result<Session> {
    let settings = Settings { task_rows: usize::try_from(ROWS / 2)?, ..Settings::default() };
    let session = Session::connect_with(&cluster.address, settings).await?;
    session.register_batches("ids", &[batch([("id", ints(0..ROWS))])])?;
    Ok(session)
}

fn digits(key: i64) -> String {
    format!("{key:08}")
}

fn key(id: i64, alias: i64) -> i64 {
    (id * 7 + alias) % KEYS
}

#[tokio::test]
async fn wide_lookups_under_many_aliases_take_no_more_memory_than_there_is() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let uri = folder.path().join("texts.lance").to_string_lossy().into_owned();
    let texts: Vec<_> = (0..KEYS).map(|key| digits(key).repeat(TIMES)).collect();
    let texts = strings(texts.iter().map(String::as_str));
    write_lance(&uri, &[batch([("key", ints(0..KEYS)), ("text", texts)])], 200).await?;
    let cluster = small().await?;
    let session = connect(&cluster).await?;
    let mut found = Vec::new();
    for alias in 0..ALIASES {
        let name = format!("texts{alias}");
        let store = load_kv(&name, LanceOptions::new(uri.as_str()).key("key"))?;
        session.attach(store, name.as_str()).await?;
        let text = format!("kv_get((id * 7 + {alias}) % {KEYS}, source => '{name}')['text']");
        found.push(format!("substr({text}, 8001, 8)"));
    }
    let query = format!("SELECT id, concat({}) AS found FROM ids", found.join(", "));
    let mut job = session.submit(session.sql(&query).await?).await?;
    let batches = timeout(BOUND, job.collect()).await;
    let batches = batches.with_context(|| format!("no end within {BOUND:?}"))??;
    let rows = show_rows(&batches)?;
    assert_eq!(rows.len(), usize::try_from(ROWS)?);
    for (id, row) in (0..).zip(rows) {
        let found: String = (0..ALIASES).map(|alias| digits(key(id, alias))).collect();
        assert_eq!(row, format!("{id} | {found}"));
    }
    let peak = peak_bytes(&cluster.workers[0])?;
    assert!(peak < MEMORY + MARGIN, "{peak} bytes at most, {MEMORY} of them given");
    Ok(())
}

#[tokio::test]
async fn a_store_that_is_larger_than_the_memory_is_refused_by_name() -> Result<()> {
    let cluster = small().await?;
    let session = connect(&cluster).await?;
    let texts: Vec<_> = (0..MEMORY / MIB / 2).map(|_| "x".repeat(1 << 20)).collect();
    let keys = ints(0..i64::try_from(texts.len())?);
    let large = batch([("key", keys), ("text", strings(texts.iter().map(String::as_str)))]);
    let large = load_kv("large", MemoryOptions::batch(large, "key"))?;
    let error = session.attach(large, "large").await.err().context("it was attached")?;
    assert_eq!(error.kind(), ErrorKind::ResourceExhausted, "{error}");
    assert!(error.message().contains("memory_bytes"), "{error}");

    let small = batch([("key", ints([1, 2])), ("name", strings(["one", "two"]))]);
    session.attach(load_kv("small", MemoryOptions::batch(small, "key"))?, "small").await?;
    let query = "SELECT kv_get(id, source => 'small')['name'] FROM ids WHERE id IN (1, 2)";
    check_rows(session.sql(query).await?, &["one", "two"]).await
}
