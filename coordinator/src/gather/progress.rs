//! How far a job is, for those who watch it: put together when they ask, from what its tasks have
//! told when they were done.

use std::{collections::BTreeMap, sync::atomic::Ordering};

use keyloom_common::{
    output::WriteExec,
    report::{JobProgress, Metric, StageProgress, StageWork, StoreProgress, Underway, counter},
};
use keyloom_planner::Fragment;

use super::{
    context::{Begun, JobContext, StageReport},
    stores::stores_of,
};
use crate::output::OutputState;

/// What a fragment's tasks are for.
pub(super) fn work_of(fragment: &Fragment) -> StageWork {
    let looks_up = || stores_of(&fragment.plan).is_ok_and(|stores| !stores.is_empty());
    match fragment {
        Fragment { collects: true, .. } => StageWork::Keys,
        Fragment { plan, .. } if plan.is::<WriteExec>() => StageWork::Writing,
        Fragment { .. } if looks_up() => StageWork::Lookups,
        Fragment { .. } => StageWork::Rows,
    }
}

impl JobContext {
    /// How far the job is, part by part.
    pub(crate) fn progress(&self) -> JobProgress {
        let begun = self.begun().clone();
        let (mut stages, mut stores) = (Vec::new(), BTreeMap::<String, StoreProgress>::new());
        let reports = self.lock();
        for (stage, begun) in begun {
            let report = reports.get(&stage);
            stages.push(stage_progress(stage, begun, report));
            for (alias, counted) in report.iter().flat_map(|report| report.metrics.stores()) {
                stores.entry(alias).or_default().add(&counted);
            }
        }
        drop(reports);
        let are_done = !stages.is_empty() && stages.iter().all(StageProgress::is_done);
        stages.extend(self.own(are_done).map(own_stage));
        JobProgress::bounded(stages, stores)
    }

    /// The same, and as a whole.
    pub(crate) fn underway(&self) -> Underway {
        Underway { status: self.status(), progress: self.progress() }
    }

    /// What the coordinator does itself at this moment, if nothing else is done or it ends the job.
    fn own(&self, are_done: bool) -> Option<StageWork> {
        match self.output.state() {
            OutputState::Committing => Some(StageWork::Committing),
            OutputState::Committed(_) => None,
            OutputState::None | OutputState::Writing => {
                let computes = self.computes.load(Ordering::Relaxed) && are_done;
                computes.then_some(StageWork::Computing)
            }
        }
    }
}

fn stage_progress(stage: u32, begun: Begun, report: Option<&StageReport>) -> StageProgress {
    let Begun { work, tasks } = begun;
    let tasks_done = report.map_or(0, |report| report.tasks);
    let mut progress =
        StageProgress { stage: Some(stage), work, tasks, tasks_done, rows: 0, bytes: 0 };
    match (work, report) {
        // Its rows tell of what it has written.
        (StageWork::Writing, Some(report)) => {
            let counted = report.metrics.node(0);
            progress.rows = sum(counted, counter::ROWS_WRITTEN);
            progress.bytes = sum(counted, counter::BYTES_WRITTEN);
        }
        (_, Some(report)) => progress.rows = report.rows,
        (_, None) => {}
    }
    progress
}

fn sum(counted: &[Metric], name: &str) -> u64 {
    let values = counted.iter().filter(|metric| metric.name == name).map(|metric| metric.value);
    values.fold(0, u64::saturating_add)
}

/// What the coordinator does is one thing, which is not done.
fn own_stage(work: StageWork) -> StageProgress {
    StageProgress { stage: None, work, tasks: 1, tasks_done: 0, rows: 0, bytes: 0 }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Of a task whose first node has counted this.
    fn report(counted: &[(&str, u64)]) -> StageReport {
        let counted = counted.iter().map(
            |(name, value)| json!({"name": name, "store": null, "value": value, "unit": "count"}),
        );
        let nodes = json!({"nodes": [counted.collect::<Vec<_>>()]});
        let metrics = serde_json::from_value(nodes).unwrap();
        StageReport { metrics, tasks: 1, rows: 3, ..StageReport::default() }
    }

    #[test]
    fn of_what_is_written_rows_count_and_not_the_pieces_that_tell_of_them() {
        let report = report(&[(counter::ROWS_WRITTEN, 70), (counter::BYTES_WRITTEN, 700)]);
        let of = |work| stage_progress(2, Begun { work, tasks: 4 }, Some(&report));
        let written = of(StageWork::Writing);
        assert_eq!((written.rows, written.bytes), (70, 700));
        assert_eq!((written.stage, written.tasks, written.tasks_done), (Some(2), 4, 1));
        let read = of(StageWork::Rows);
        assert_eq!((read.rows, read.bytes), (3, 0));
        let begun = stage_progress(0, Begun { work: StageWork::Keys, tasks: 4 }, None);
        assert_eq!((begun.tasks, begun.tasks_done, begun.rows), (4, 0, 0));
    }
}
