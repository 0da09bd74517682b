//! How a finished job ran: its stages, the nodes of its plan with their times, and what was asked
//! of stores.

mod nodes;
mod stages;
mod stores;

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use datafusion::physical_plan::ExecutionPlan;
use keyloom_common::report::{Analysis, WorkerStatus};

use super::notes::notes;
use crate::gather::StageReport;

/// When a job ran, and who was there at its end.
#[derive(Debug)]
pub(super) struct Ran<'a> {
    /// When its turn had come.
    pub(super) begun: Instant,
    /// How long it took from then to its last row.
    pub(super) took: Duration,
    pub(super) workers: &'a [WorkerStatus],
}

impl Ran<'_> {
    /// A time's share of the whole, in percent to a tenth.
    fn share_percent(&self, seconds: f64) -> f64 {
        let all = self.took.as_secs_f64();
        if all > 0.0 { (seconds / all * 1e3).round() / 10.0 } else { 0.0 }
    }
}

/// What a cut plan's stages have reported, as one.
pub(super) fn analyze(
    cut: &Arc<dyn ExecutionPlan>,
    reports: &BTreeMap<u32, StageReport>,
    ran: &Ran<'_>,
) -> Analysis {
    let stages = reports.iter().map(|(stage, report)| stages::stage(*stage, report, ran));
    let stages: Vec<_> = stages.collect();
    let mut analysis = Analysis {
        seconds: ran.took.as_secs_f64(),
        slots: ran.workers.iter().map(|worker| worker.slots).fold(0, u32::saturating_add),
        nodes: nodes::nodes(cut, &stages, reports, ran),
        stores: stores::stores(cut, reports),
        stages,
        notes: Vec::new(),
    };
    analysis.notes = notes(&analysis);
    analysis
}
