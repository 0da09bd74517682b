//! What a finished job did: its totals, and its plan with the counters of every task.

use std::{
    collections::{BTreeMap, HashSet},
    fmt::Write,
    sync::Arc,
};

use datafusion::physical_plan::ExecutionPlan;
use keyloom_common::report::{JobSummary, PlanMetrics, StoreStats};

use crate::gather::{JobContext, RemoteExec, StageReport};

pub(super) fn summary(cut: &Arc<dyn ExecutionPlan>, job: &JobContext, rows: u64) -> JobSummary {
    let reports = job.reports();
    let mut stores = BTreeMap::<String, StoreStats>::new();
    for report in reports.values() {
        for (alias, stats) in report.metrics.stores() {
            stores.entry(alias).or_default().add(&stats);
        }
    }
    let missed_left_out = job.misses.tell(&mut stores);
    let workers: HashSet<_> = reports.values().flat_map(|report| &report.workers).collect();
    let mut plan = String::new();
    render(cut, 0, &reports, &mut plan);
    JobSummary {
        rows,
        tasks: reports.values().map(|report| report.tasks).sum(),
        workers: u32::try_from(workers.len()).unwrap_or(u32::MAX),
        stores,
        missed_left_out,
        plan,
    }
}

/// The coordinator's nodes, and below each remote node its fragment.
fn render(
    plan: &Arc<dyn ExecutionPlan>,
    depth: usize,
    reports: &BTreeMap<u32, StageReport>,
    text: &mut String,
) {
    let Some(remote) = plan.downcast_ref::<RemoteExec>() else {
        let own = PlanMetrics::of_node(plan.as_ref());
        text.push_str(&own.render_node(plan.as_ref(), depth));
        for child in plan.children() {
            render(child, depth + 1, reports, text);
        }
        return;
    };
    let fragment = remote.fragment();
    let report = reports.get(&fragment.stage).cloned().unwrap_or_default();
    let indent = depth * 2;
    let _ = writeln!(
        text,
        "{:indent$}RemoteExec: stage={}, tasks={}, workers={}, rows={}",
        "",
        fragment.stage,
        report.tasks,
        report.workers.len(),
        report.rows
    );
    text.push_str(&report.metrics.render(&fragment.plan, depth + 1));
    for child in plan.children() {
        render(child, depth + 1, reports, text);
    }
}
