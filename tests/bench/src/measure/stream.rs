//! Large results that the client drops as they come: does the coordinator's memory grow with them?

use std::time::Instant;

use anyhow::Result;
use keyloom_client::Settings;

use super::{Bench, Measurement};
use crate::{cluster::Cluster, workloads::Workload};

/// How many times the result is as large the second time.
const TIMES: usize = 4;
/// The names of a column that is there several times.
const NAMES: [&str; TIMES] = ["first", "second", "third", "fourth"];

/// `small` and `large` are the times, `coordinator-small` and `coordinator-large` the memory, each
/// of a cluster of its own.
pub(super) async fn measure(bench: &Bench) -> Result<Measurement> {
    let mut measured = Measurement::default();
    for (name, columns) in [("small", 1), ("large", TIMES)] {
        let calls = bench.workload.calls.iter().flat_map(|call| {
            NAMES[..columns].iter().map(|name| crate::workloads::Call { name, ..*call })
        });
        let workload = Workload { calls: calls.collect(), ..bench.workload.clone() };
        let cluster = Cluster::start(1, 2).await?;
        let session = cluster.session(Settings::default()).await?;
        session.register_batches("requests", &[bench.data.read_requests(&workload)?])?;
        for store in workload.stores() {
            session.attach(bench.storage.kv_store(store)?, store).await?;
        }
        let clock = Instant::now();
        let mut job = session.submit(session.sql(&workload.sql()).await?).await?;
        while job.next_batch().await?.is_some() {}
        measured.add_seconds(name, clock.elapsed().as_secs_f64());
        let peak = cluster.coordinator_peak_bytes()?;
        measured.peaks.insert(format!("coordinator-{name}"), peak);
    }
    measured.add_own_peak()?;
    Ok(measured)
}
