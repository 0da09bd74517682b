//! What a finished job did: its totals, and its plan with the counters of every task.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

use datafusion::physical_plan::ExecutionPlan;
use keyloom_common::report::{JobSummary, StoreStats};

use super::analysis::{Ran, analyze};
use crate::gather::JobContext;

pub(super) fn summary(
    cut: &Arc<dyn ExecutionPlan>,
    job: &JobContext,
    rows: u64,
    ran: &Ran<'_>,
) -> JobSummary {
    let reports = job.reports();
    let mut stores = BTreeMap::<String, StoreStats>::new();
    for report in reports.values() {
        for (alias, stats) in report.metrics.stores() {
            stores.entry(alias).or_default().add(&stats);
        }
    }
    let missed_left_out = job.misses.tell(&mut stores);
    let workers: HashSet<_> = reports.values().flat_map(|report| &report.workers).collect();
    let analysis = analyze(cut, &reports, ran);
    JobSummary {
        rows,
        tasks: reports.values().map(|report| report.tasks).sum(),
        workers: u32::try_from(workers.len()).unwrap_or(u32::MAX),
        stores,
        missed_left_out,
        plan: analysis.plan(),
        analysis,
    }
}
