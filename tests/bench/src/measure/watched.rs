//! What it costs to see how a cluster is: jobs of one that counts, logs and is asked, and of one
//! that does not. Both are there at once, and take turns.

use std::time::Instant;

use anyhow::{Context, Result};
use keyloom_client::Session;

use super::{Bench, Measurement, joins};
use crate::cluster::Cluster;

/// Jobs of each, by turns.
const TIMES: usize = 15;

/// `plain` and `watched` are the medians of the times of jobs, `plain-least` and `watched-least` the
/// shortest.
pub(super) async fn measure(bench: &Bench) -> Result<Measurement> {
    let plain = Cluster::start(1, 2).await?;
    let watched = Cluster::start_watched(1, 2).await?;
    let sessions = [prepare(bench, &plain).await?, prepare(bench, &watched).await?];
    let mut times = [Vec::new(), Vec::new()];
    for turn in 0..=TIMES {
        for (session, times) in sessions.iter().zip(&mut times) {
            let clock = Instant::now();
            drop(joins::rows(session, &bench.workload.sql()).await?);
            // What is kept of the stores is kept after the first.
            if turn > 0 {
                times.push(clock.elapsed().as_secs_f64());
            }
        }
    }
    let mut measured = Measurement::default();
    for (name, mut times) in ["plain", "watched"].into_iter().zip(times) {
        times.sort_by(f64::total_cmp);
        measured.add_seconds(name, times[TIMES / 2]);
        measured.add_seconds(&format!("{name}-least"), times[0]);
    }
    measured.counts.insert("log_bytes".to_owned(), watched.log_bytes()? as f64);
    Ok(measured)
}

async fn prepare(bench: &Bench, cluster: &Cluster) -> Result<Session> {
    let session = cluster.session(bench.storage.settings().session).await?;
    let requests = bench.data.read_requests(&bench.workload)?;
    session.register_batches("requests", &[requests]).context("the request table")?;
    for store in bench.workload.stores() {
        session.attach(bench.storage.kv_store(store)?, store).await?;
    }
    Ok(session)
}
