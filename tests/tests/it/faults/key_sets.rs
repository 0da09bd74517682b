//! Workers that die while the keys of a job are collected, or while these are looked up: jobs end
//! with the right rows.

use std::sync::Arc;

use anyhow::{Context, Result};
use arrow::array::{ArrayRef, RecordBatch, StringArray};
use keyloom_client::{Job, KeyPath, LanceOptions, Session, load_kv};
use nix::sys::signal::Signal;

use super::{
    ROWS, SMALL_WINDOW, TASKS, first_batch, register_table, send, settings, start,
    stop_holding_tasks,
};
use crate::harness::{Cluster, batch, ints, keys_scanned, show_rows, write_lance};

/// Rows of the store, which [`super::QUERY`] asks by two keys of each row.
const STORED: i64 = 2_000;
const FRAGMENT_ROWS: usize = 500;
const KEYS: u64 = 2 * STORED as u64;

const WORKERS: usize = 3;

/// A session with the table and the store of [`super::QUERY`], whose keys are scanned.
async fn connect(cluster: &Cluster, uri: &str) -> Result<Session> {
    let names: ArrayRef =
        Arc::new(StringArray::from_iter_values((0..STORED).map(|key| format!("name {key}"))));
    write_lance(uri, &[batch([("key", ints(0..STORED)), ("name", names)])], FRAGMENT_ROWS).await?;
    let session = Session::connect_with(&cluster.address, settings()).await?;
    register_table(&session)?;
    let options = LanceOptions::new(uri).key("key").key_path(KeyPath::Scan);
    session.attach(load_kv("names", options)?, "names").await?;
    session.set_kv("names")?;
    Ok(session)
}

/// Takes the other rows and compares all. No worker reads the store's keys twice for a set.
async fn check_rest(mut job: Job, mut batches: Vec<RecordBatch>) -> Result<()> {
    batches.extend(job.collect().await?);
    let row = |id: i64| {
        let key = id % 3000;
        let name = if key < STORED { format!("name {key}") } else { "NULL".to_owned() };
        format!("{id} | {name} | {}", id < STORED)
    };
    let expected: Vec<_> = (0..ROWS).map(row).collect();
    assert!(show_rows(&batches)? == expected, "other rows");
    let summary = job.summary().context("no summary")?;
    // Those that collect and those that look up.
    assert!(summary.tasks > TASKS, "{} tasks", summary.tasks);
    let scanned = keys_scanned(summary, "names")?;
    assert!((KEYS..=KEYS * WORKERS as u64).contains(&scanned), "{scanned}: {}", summary.plan);
    Ok(())
}

#[tokio::test]
async fn a_worker_that_is_killed_while_keys_are_collected_changes_no_row() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let cluster = Cluster::start_with(WORKERS, &SMALL_WINDOW, &[]).await?;
    let session = connect(&cluster, &dir.path().join("names.lance").to_string_lossy()).await?;
    let mut job = start(&session).await?;
    let worker = &cluster.workers[0];
    let batches = stop_holding_tasks(&mut job, &session, worker).await?;
    send(Signal::SIGKILL, worker)?;
    check_rest(job, batches).await?;
    cluster.wait_for_workers(WORKERS - 1).await
}

#[tokio::test]
async fn a_worker_that_is_killed_amid_lookups_of_collected_keys_changes_no_row() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let cluster = Cluster::start_with(WORKERS, &SMALL_WINDOW, &[]).await?;
    let session = connect(&cluster, &dir.path().join("names.lance").to_string_lossy()).await?;
    let mut job = start(&session).await?;
    let mut batches = vec![first_batch(&mut job).await?];
    let worker = &cluster.workers[0];
    batches.extend(stop_holding_tasks(&mut job, &session, worker).await?);
    send(Signal::SIGKILL, worker)?;
    check_rest(job, batches).await?;
    cluster.wait_for_workers(WORKERS - 1).await
}
