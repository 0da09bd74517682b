//! How far a job is, for those who watch it: put together when they ask, from what its tasks have
//! reported when they were done, and told while they run.

use std::{collections::BTreeMap, sync::atomic::Ordering};

use keyloom_common::{
    output::WriteExec,
    report::{
        JobProgress, LogKind, StageProgress, StageWork, StoreProgress, TASK, TaskProgress,
        Underway, counter, words::plural,
    },
};
use keyloom_planner::Fragment;

use super::{
    context::{Begun, JobContext, StageReport, named},
    stores::stores_of,
};
use crate::{history::Happened, output::OutputState};

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
        let mut told = self.dispatcher.told(self.job);
        for (stage, begun) in begun {
            let report = reports.get(&stage);
            let told = told.remove(&self.stage(stage)).unwrap_or_default();
            stages.push(stage_progress(stage, begun, report, &told));
            for (alias, counted) in report.iter().flat_map(|report| report.metrics.stores()) {
                stores.entry(alias).or_default().add((&counted).into());
            }
            for (alias, counted) in told.stores {
                stores.entry(alias).or_default().add(counted);
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

    /// A stage has all of its tasks.
    pub(super) fn stage_fed(&self, stage: u32) {
        if let Some(is_fed) = self.open().get_mut(&stage) {
            *is_fed = true;
        }
        self.end_if_done(stage);
    }

    /// Tells of a stage's end, if all of its tasks are done.
    pub(super) fn end_if_done(&self, stage: u32) {
        if self.open().get(&stage) != Some(&true) {
            return;
        }
        let Some(progress) = self.progress_of(stage) else { return };
        let StageProgress { work, tasks, tasks_done, rows, .. } = progress;
        // Somebody else may see the end of it at the same time.
        if tasks_done < tasks || self.open().remove(&stage).is_none() {
            return;
        }
        let (tasks, rows) = (plural(tasks.into(), "task"), plural(rows, "row"));
        let text = format!("{}: {tasks}, {rows}", named(stage, work));
        self.tell(Happened::new(LogKind::StageDone, text).of_stage(stage));
    }

    /// Nobody wants a stage any more, which may be over.
    pub(super) fn stage_dropped(&self, stage: u32) {
        if self.open().remove(&stage).is_none() {
            return;
        }
        let Some(progress) = self.progress_of(stage) else { return };
        let StageProgress { work, tasks, tasks_done, .. } = progress;
        let text = format!("{}: {tasks_done} of {tasks} tasks done", named(stage, work));
        self.tell(Happened::new(LogKind::StageStopped, text).of_stage(stage));
    }

    fn progress_of(&self, stage: u32) -> Option<StageProgress> {
        let begun = self.begun().get(&stage).copied()?;
        // Those that run tell of nothing that is done.
        Some(stage_progress(stage, begun, self.lock().get(&stage), &TaskProgress::default()))
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

/// How far a stage is whose tasks that are done have reported this, and the others told that.
fn stage_progress(
    stage: u32,
    begun: Begun,
    report: Option<&StageReport>,
    told: &TaskProgress,
) -> StageProgress {
    let Begun { work, tasks } = begun;
    let tasks_done = report.map_or(0, |report| report.tasks);
    let (rows, bytes) = match (work, report) {
        // Its rows tell of what it has written.
        (StageWork::Writing, Some(StageReport { metrics, .. })) => {
            (metrics.sum(0, counter::ROWS_WRITTEN), metrics.sum(0, counter::BYTES_WRITTEN))
        }
        (_, Some(report)) => (report.rows, 0),
        (_, None) => (0, 0),
    };
    let (rows, bytes) = (rows.saturating_add(told.rows), bytes.saturating_add(told.bytes));
    let most = tasks.saturating_sub(tasks_done).saturating_mul(TASK);
    let thousandths = told.thousandths.min(most);
    StageProgress { stage: Some(stage), work, tasks, tasks_done, thousandths, rows, bytes }
}

/// What the coordinator does is one thing, which is not done.
fn own_stage(work: StageWork) -> StageProgress {
    let (tasks, rows, bytes) = (1, 0, 0);
    StageProgress { stage: None, work, tasks, tasks_done: 0, thousandths: 0, rows, bytes }
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
        let none = TaskProgress::default();
        let of = |work| stage_progress(2, Begun { work, tasks: 4 }, Some(&report), &none);
        let written = of(StageWork::Writing);
        assert_eq!((written.rows, written.bytes), (70, 700));
        assert_eq!((written.stage, written.tasks, written.tasks_done), (Some(2), 4, 1));
        let read = of(StageWork::Rows);
        assert_eq!((read.rows, read.bytes), (3, 0));
        let begun = stage_progress(0, Begun { work: StageWork::Keys, tasks: 4 }, None, &none);
        assert_eq!((begun.tasks, begun.tasks_done, begun.rows), (4, 0, 0));
    }

    #[test]
    fn what_tasks_that_run_have_told_is_added_to_what_those_that_are_done_reported() {
        let report = report(&[(counter::ROWS_WRITTEN, 70), (counter::BYTES_WRITTEN, 700)]);
        let told =
            TaskProgress { rows: 5, bytes: 50, thousandths: 3500, ..TaskProgress::default() };
        let of = |work, report| {
            let stage = stage_progress(2, Begun { work, tasks: 4 }, report, &told);
            (stage.tasks_done, stage.thousandths, stage.rows, stage.bytes)
        };
        assert_eq!(of(StageWork::Writing, Some(&report)), (1, 3000, 75, 750));
        assert_eq!(of(StageWork::Writing, None), (0, 3500, 5, 50));
        assert_eq!(of(StageWork::Lookups, Some(&report)), (1, 3000, 8, 50));
    }
}
