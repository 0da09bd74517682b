//! Parquet of many row groups and columns, as the request table of one lookup.

use std::time::Instant;

use anyhow::{Context, Result, ensure};
use arrow::array::RecordBatch;
use keyloom_client::Settings;

use super::{Bench, Measurement};
use crate::{
    cluster::Cluster,
    data::row_groups::{GROUP_ROWS, GROUPS},
    relay::Relay,
    workloads::Variant,
};

/// In how many files the row groups are, where they are in many.
const FILES: u64 = 100;

/// `register` begins before there is a session, and ends when the columns are known; `submit` goes
/// on until the coordinator has the job, and `cold` until all rows are in memory.
pub(super) async fn measure(bench: &Bench) -> Result<Measurement> {
    let groups = bench.data.scale()?.rows(GROUPS);
    let (files, settings) = match bench.variant {
        Variant::OneFile => (1, Settings::default()),
        _ => (FILES, a_task_each(groups)?),
    };
    let folder = bench.data.row_groups(files)?;
    let folder = folder.to_str().context("the path of the data is not UTF-8")?;
    let mut cluster = Cluster::coordinator(&[]).await?;
    let relay = Relay::start(cluster.address()).await?;
    cluster.add_workers(1, 2, relay.address()).await?;

    let mut measured = Measurement::default();
    let clock = Instant::now();
    let session = cluster.session(settings).await?;
    for store in bench.workload.stores() {
        session.attach(bench.storage.kv_store(store)?, store).await?;
    }
    session.register("requests", folder).await?;
    measured.add_seconds("register", clock.elapsed().as_secs_f64());
    let mut job = session.submit(session.sql(&bench.workload.sql()).await?).await?;
    measured.add_seconds("submit", clock.elapsed().as_secs_f64());
    let result = job.collect().await?;
    measured.add_seconds("cold", clock.elapsed().as_secs_f64());

    let rows: usize = result.iter().map(RecordBatch::num_rows).sum();
    ensure!(rows as u64 == groups * GROUP_ROWS, "{rows} rows of {groups} row groups");
    let summary = job.summary().context("a job that ended without a summary")?;
    measured.counts.insert("tasks".to_owned(), f64::from(summary.tasks));
    measured.counts.insert("bytes_to_workers".to_owned(), relay.sent() as f64);
    measured.peaks.insert("coordinator".to_owned(), cluster.coordinator_peak_bytes()?);
    measured.peaks.insert("worker".to_owned(), cluster.worker_peak_bytes()?);
    measured.add_result(&result, bench.digest)?;
    Ok(measured)
}

/// Settings under which each row group is a task.
fn a_task_each(groups: u64) -> Result<Settings> {
    let (task_rows, max_tasks) = (usize::try_from(GROUP_ROWS)?, usize::try_from(groups)?);
    Ok(Settings { task_rows, max_tasks, ..Settings::default() })
}
