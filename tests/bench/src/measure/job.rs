//! A workload as two jobs of one Keyloom session.

use std::time::Instant;

use anyhow::{Context, Result};
use arrow::array::RecordBatch;
use keyloom_client::{Session, report::JobSummary};
use keyloom_common::store::KEY_MAP_BYTES_A_ROW;

use super::{Bench, Measurement};
use crate::{cluster::Cluster, workloads::Variant};

/// `cold` begins before there is a session, and ends when all rows are in memory; `warm` is the
/// same query again.
pub(super) async fn measure(bench: &Bench) -> Result<Measurement> {
    let requests = bench.data.read_requests(&bench.workload)?;
    let cluster = start_cluster(bench.variant).await?;
    let settings = bench.storage.settings();
    let mut measured = Measurement::default();

    let clock = Instant::now();
    let session = match &cluster {
        Some(cluster) => cluster.session(settings.session).await?,
        None => Session::embedded_with(settings).await?,
    };
    session.register_batches("requests", &[requests])?;
    for store in bench.workload.stores() {
        session.attach(bench.storage.kv_store(store)?, store).await?;
    }
    measured.add_seconds("attach", clock.elapsed().as_secs_f64());
    let (result, _) = run(bench, &session).await?;
    measured.add_seconds("cold", clock.elapsed().as_secs_f64());
    drop(result);

    let clock = Instant::now();
    let (result, summary) = run(bench, &session).await?;
    measured.add_seconds("warm", clock.elapsed().as_secs_f64());
    measured.add_own_peak()?;
    if let Some(cluster) = &cluster {
        let peaks = &mut measured.peaks;
        peaks.insert("coordinator".to_owned(), cluster.coordinator_peak_bytes()?);
        peaks.insert("worker".to_owned(), cluster.worker_peak_bytes()?);
    }
    let values: u64 = summary.stores.values().map(|store| store.bytes).sum();
    measured.counts.insert("value_bytes".to_owned(), values as f64);
    measured.counts.insert("tasks".to_owned(), f64::from(summary.tasks));
    let keys = bench.workload.stores().into_iter().map(|store| bench.data.rows(store));
    let keys: u64 = keys.sum::<Result<_>>()?;
    measured.counts.insert("key_map_bytes".to_owned(), (keys * KEY_MAP_BYTES_A_ROW) as f64);
    measured.add_result(&result, bench.digest && !drops_rows(bench.variant))?;
    Ok(measured)
}

/// The cluster of a variant, unless its session is one by itself.
pub(super) async fn start_cluster(variant: Variant) -> Result<Option<Cluster>> {
    let (workers, slots) = match variant {
        Variant::OneWorker => (1, 2),
        Variant::OneSlot => (1, 1),
        Variant::TwoWorkers | Variant::TwoSlots => (2, 1),
        Variant::Mtls => return Cluster::start_secured(1, 2).await.map(Some),
        _ => return Ok(None),
    };
    Cluster::start(workers, slots).await.map(Some)
}

fn drops_rows(variant: Variant) -> bool {
    matches!(variant, Variant::OneSlot | Variant::TwoSlots)
}

async fn run(bench: &Bench, session: &Session) -> Result<(Vec<RecordBatch>, JobSummary)> {
    let query = session.sql(&bench.workload.sql()).await?;
    if drops_rows(bench.variant) {
        let job = session.submit_discarding(query).await?;
        return Ok((vec![], job.finish().await?));
    }
    let mut job = session.submit(query).await?;
    let rows = job.collect().await?;
    Ok((rows, job.summary().cloned().context("a job that ended without a summary")?))
}
