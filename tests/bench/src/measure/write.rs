//! A table of Parquet files with two lookups, which workers write as Parquet files, against the
//! same by DataFusion alone.

mod alone;
mod files;

use std::{path::Path, time::Instant};

use anyhow::{Context, Result, ensure};
use keyloom_client::{JobOptions, Output, Session, report::JobSummary};

use self::files::Files;
use super::{Bench, Measurement, job::start_cluster};
use crate::{cluster::Cluster, workloads::Variant};

/// How many times as many rows are written to see whether the coordinator's memory grows with them.
const TIMES: u64 = 10;

/// The folders that are written.
const COLD: &str = "cold";
const WARM: &str = "warm";
const LARGE: &str = "large";

/// `cold` begins before there is a session, and ends when all rows can be seen; `warm` is the same
/// statement again, into another folder. `large` is ten times the rows by two workers of another
/// cluster: `coordinator-small` and `coordinator-large` are the memory of the coordinators when
/// they have run one job.
pub(super) async fn measure(bench: &Bench) -> Result<Measurement> {
    let scratch = bench.data.scratch()?;
    let mut measured = match bench.variant {
        Variant::DataFusion => alone::measure(bench, scratch.path()).await?,
        _ => by_workers(bench, scratch.path()).await?,
    };
    let rows = bench.data.scale()?.rows(bench.workload.requests.rows);
    for (folder, times) in [(COLD, 1), (WARM, 1), (LARGE, TIMES)] {
        let folder = scratch.path().join(folder);
        if folder.exists() {
            let found = Files::of(&folder)?.rows()?;
            ensure!(found == rows * times, "{found} rows are in {}", folder.display());
        }
    }
    let written = Files::of(&scratch.path().join(WARM))?;
    measured.counts.insert("rows".to_owned(), written.rows()? as f64);
    measured.counts.insert("files".to_owned(), written.count() as f64);
    measured.counts.insert("file_bytes".to_owned(), written.bytes()? as f64);
    if bench.digest {
        measured.digest = Some(written.digest()?);
    }
    Ok(measured)
}

async fn by_workers(bench: &Bench, to: &Path) -> Result<Measurement> {
    let requests = bench.data.several(&bench.workload, 1)?;
    let cluster = start_cluster(bench.variant).await?;
    let mut measured = Measurement::default();

    let clock = Instant::now();
    let session = open(bench, cluster.as_ref(), &requests).await?;
    measured.add_seconds("attach", clock.elapsed().as_secs_f64());
    write(bench, &session, &to.join(COLD)).await?;
    measured.add_seconds("cold", clock.elapsed().as_secs_f64());
    if let (Variant::TwoWorkers, Some(cluster)) = (bench.variant, &cluster) {
        let peak = cluster.coordinator_peak_bytes()?;
        measured.peaks.insert("coordinator-small".to_owned(), peak);
    }

    let clock = Instant::now();
    let summary = write(bench, &session, &to.join(WARM)).await?;
    measured.add_seconds("warm", clock.elapsed().as_secs_f64());
    measured.add_own_peak()?;
    measured.counts.insert("tasks".to_owned(), f64::from(summary.tasks));
    if let Some(cluster) = &cluster {
        let peaks = &mut measured.peaks;
        peaks.insert("coordinator".to_owned(), cluster.coordinator_peak_bytes()?);
        peaks.insert("worker".to_owned(), cluster.worker_peak_bytes()?);
    }
    drop((session, cluster));
    if bench.variant == Variant::TwoWorkers {
        measure_large(bench, to, &mut measured).await?;
    }
    Ok(measured)
}

/// Many times the rows, by a cluster that has done nothing else.
async fn measure_large(bench: &Bench, to: &Path, measured: &mut Measurement) -> Result<()> {
    let requests = bench.data.several(&bench.workload, TIMES)?;
    let cluster = start_cluster(bench.variant).await?.context("workers make a cluster")?;
    let session = open(bench, Some(&cluster), &requests).await?;
    let clock = Instant::now();
    write(bench, &session, &to.join(LARGE)).await?;
    measured.add_seconds("large", clock.elapsed().as_secs_f64());
    let peaks = &mut measured.peaks;
    peaks.insert("coordinator-large".to_owned(), cluster.coordinator_peak_bytes()?);
    peaks.insert("worker-large".to_owned(), cluster.worker_peak_bytes()?);
    Ok(())
}

/// A session with the stores, and a folder as the request table.
async fn open(bench: &Bench, cluster: Option<&Cluster>, requests: &Path) -> Result<Session> {
    let settings = bench.storage.settings();
    let session = match cluster {
        Some(cluster) => cluster.session(settings.session).await?,
        None => Session::embedded_with(settings).await?,
    };
    for store in bench.workload.stores() {
        session.attach(bench.storage.kv_store(store)?, store).await?;
    }
    session.register("requests", text(requests)?).await?;
    Ok(session)
}

/// Has the workers write all rows into a folder.
async fn write(bench: &Bench, session: &Session, to: &Path) -> Result<JobSummary> {
    let query = session.sql(&bench.workload.fields_sql()).await?;
    let output = Output::new(format!("{}/", text(to)?));
    let options = JobOptions { output: Some(output), ..JobOptions::default() };
    Ok(session.submit_with(query, options).await?.finish().await?)
}

fn text(path: &Path) -> Result<&str> {
    path.to_str().context("the path of the data is not UTF-8")
}
