//! A stage by the times of its tasks.

use keyloom_common::{
    WorkerId,
    report::{SlowTask, StageRun},
};

use super::Ran;
use crate::gather::{DoneBy, StageReport};

pub(super) fn stage(stage: u32, report: &StageReport, ran: &Ran<'_>) -> StageRun {
    let times = &report.times;
    let (start, took) = match &times.all {
        Some(all) => {
            let start = all.start.saturating_duration_since(ran.begun);
            (start, all.end.saturating_duration_since(all.start))
        }
        None => Default::default(),
    };
    let seconds = took.as_secs_f64();
    StageRun {
        stage,
        tasks: report.tasks,
        workers: DoneBy::count([&report.workers]),
        rows: report.rows,
        start_seconds: start.as_secs_f64(),
        seconds,
        share_percent: ran.share_percent(seconds),
        task_seconds: times.total.as_secs_f64(),
        slowest: times.slowest.map(|(task, worker, took)| SlowTask {
            task,
            worker: name(worker, ran),
            seconds: took.as_secs_f64(),
        }),
    }
}

/// The name of a worker, or its id if it is gone.
fn name(id: WorkerId, ran: &Ran<'_>) -> String {
    let worker = ran.workers.iter().find(|worker| worker.id == id);
    worker.map_or_else(|| id.to_string(), |worker| worker.name.clone())
}
