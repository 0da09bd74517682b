//! What a finished job did: its totals, and its plan with the counters of every task.

use std::{collections::BTreeMap, sync::Arc};

use datafusion::physical_plan::ExecutionPlan;
use keyloom_common::report::{JobSummary, StoreStats};

use super::analysis::{Ran, analyze};
use crate::gather::{DoneBy, JobContext};

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
    let analysis = analyze(cut, &reports, ran);
    JobSummary {
        rows,
        tasks: reports.values().map(|report| report.tasks).sum(),
        workers: DoneBy::count(reports.values().map(|report| &report.workers)),
        stores,
        missed_left_out,
        plan: analysis.plan(),
        analysis,
    }
}
