//! How reports of tasks are counted, for fuzzers.

use std::collections::BTreeMap;

use keyloom_common::{
    misses::{MaxMisses, MissPolicy},
    report::{PlanMetrics, counted_ns},
    rpc::TaskReport,
};

use super::misses::{JobMisses, TellingTask};
use crate::settings::Settings;

/// Places of a fragment's nodes.
const PLACES: [usize; 4] = [0, 1, 2, 3];

/// Counts a report as that of two tasks, as a job does.
pub(crate) fn count_report(report: &TaskReport) {
    let TaskReport::Rows { metrics, lookups, .. } = report else { return };
    if report.check().is_err() {
        return;
    }
    let mut all = PlanMetrics::default();
    let policy = MissPolicy { max: Some(MaxMisses::Share(500_000)), keep: true };
    let misses = JobMisses::new(policy, &Settings::default());
    for index in 0..2 {
        all.merge(metrics, &PLACES);
        let task = TellingTask { stage: 0, index, places: &PLACES, numbered_from: Some(1) };
        // There may be too many.
        let _ = misses.add(task, lookups);
    }
    let _ = misses.check_all();
    let mut stores = BTreeMap::new();
    for (alias, counted) in all.stores() {
        let known = stores.entry(alias).or_insert(counted);
        known.add(&counted);
    }
    misses.tell(&mut stores);
    let _ = PLACES.map(|place| counted_ns(all.node(place)));
    let _ = misses.take_rows(1000);
}
