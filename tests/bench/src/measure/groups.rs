//! Rows grouped by what they look up, by workers that shuffle them, against DataFusion alone.

use std::time::Instant;

use anyhow::{Context, Result};
use arrow::array::RecordBatch;
use keyloom_client::{Session, Shuffle};

use super::{Bench, Measurement, alone, digest, joins};
use crate::{cluster::Cluster, workloads::Variant};

/// `cold` begins before there is a session, and ends when all groups are in memory; `warm` is the
/// same statement again.
pub(super) async fn measure(bench: &Bench) -> Result<Measurement> {
    match bench.variant {
        Variant::DataFusion => by_datafusion(bench).await,
        _ => by_workers(bench).await,
    }
}

async fn by_datafusion(bench: &Bench) -> Result<Measurement> {
    let requests = bench.data.several(&bench.workload, 1)?;
    let sql = bench.workload.groups_sql(&bench.workload.joins_sql());
    let mut measured = Measurement::default();

    let clock = Instant::now();
    let session = alone::open(bench, &requests).await?;
    drop(session.sql(&sql).await?.collect().await?);
    measured.add_seconds("cold", clock.elapsed().as_secs_f64());

    let clock = Instant::now();
    let groups = session.sql(&sql).await?.collect().await?;
    measured.add_seconds("warm", clock.elapsed().as_secs_f64());
    finish(bench, measured, &groups)
}

async fn by_workers(bench: &Bench) -> Result<Measurement> {
    let requests = bench.data.several(&bench.workload, 1)?;
    let sql = bench.workload.groups_sql(&bench.workload.fields_sql());
    let mut settings = bench.storage.settings();
    settings.session.shuffle = Shuffle::Always;
    let cluster = match bench.variant {
        Variant::TwoWorkers => Some(Cluster::start_shuffling(2, 1).await?),
        _ => None,
    };
    let mut measured = Measurement::default();

    let clock = Instant::now();
    let session = match &cluster {
        Some(cluster) => cluster.session(settings.session).await?,
        None => Session::embedded_with(settings).await?,
    };
    for store in bench.workload.stores() {
        session.attach(bench.storage.kv_store(store)?, store).await?;
    }
    let requests = requests.to_str().context("the path of the data is not UTF-8")?;
    session.register("requests", requests).await?;
    drop(joins::rows(&session, &sql).await?);
    measured.add_seconds("cold", clock.elapsed().as_secs_f64());

    let clock = Instant::now();
    let groups = joins::rows(&session, &sql).await?;
    measured.add_seconds("warm", clock.elapsed().as_secs_f64());
    if let Some(cluster) = &cluster {
        let peaks = &mut measured.peaks;
        peaks.insert("coordinator".to_owned(), cluster.coordinator_peak_bytes()?);
        peaks.insert("worker".to_owned(), cluster.worker_peak_bytes()?);
    }
    finish(bench, measured, &groups)
}

fn finish(bench: &Bench, mut measured: Measurement, groups: &[RecordBatch]) -> Result<Measurement> {
    measured.add_own_peak()?;
    measured.add_result(groups, false)?;
    if bench.digest {
        measured.digest = Some(digest::of_any_order(groups)?);
    }
    Ok(measured)
}
