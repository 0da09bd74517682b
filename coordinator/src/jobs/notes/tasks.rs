//! Tasks that keep others waiting, and slots that have nothing to do.

use keyloom_common::report::{Analysis, Note, NoteKind, StageRun, words};

/// Of fewer tasks none stands out.
const LEAST_TASKS: u32 = 4;

/// A task that takes so many times as long as the others is slow.
const SLOW_TIMES: f64 = 3.0;

/// It is no matter what takes less time than this, in seconds.
const LEAST_SECONDS: f64 = 0.5;

/// What takes less of the whole than this share is not what it waits for.
const LEAST_SHARE_PERCENT: f64 = 25.0;

/// One task took much longer than the others.
pub(super) fn slow_task(stage: &StageRun) -> Option<Note> {
    let (slowest, others) = (stage.slowest.as_ref()?, stage.others_seconds()?);
    let is_slow = slowest.seconds >= others * SLOW_TIMES && slowest.seconds >= LEAST_SECONDS;
    if !is_slow || stage.tasks < LEAST_TASKS || stage.share_percent < LEAST_SHARE_PERCENT {
        return None;
    }
    let text = format!(
        "stage {}: task {} took {} on {}, the others {} on average",
        stage.stage,
        slowest.task,
        words::time(slowest.seconds),
        slowest.worker,
        words::time(others)
    );
    Some(Note { kind: NoteKind::SlowTask, text })
}

/// Workers had room for more tasks than there were.
pub(super) fn few_tasks(stage: &StageRun, slots: u32) -> Option<Note> {
    let is_long = stage.seconds >= LEAST_SECONDS && stage.share_percent >= LEAST_SHARE_PERCENT;
    if !is_long || stage.tasks >= slots {
        return None;
    }
    let text = format!(
        "stage {}: {} for {} slots; smaller row groups or files, or less task_rows and task_bytes, \
         make more",
        stage.stage,
        words::plural(stage.tasks.into(), "task"),
        words::count(slots.into())
    );
    Some(Note { kind: NoteKind::FewTasks, text })
}

/// The first task began long after the job.
pub(super) fn late_start(analysis: &Analysis) -> Option<Note> {
    let starts = analysis.stages.iter().map(|stage| stage.start_seconds);
    let first = starts.min_by(f64::total_cmp)?;
    if first < LEAST_SECONDS || first * 100.0 < analysis.seconds * LEAST_SHARE_PERCENT {
        return None;
    }
    let text = format!("the job: {} passed until its first task began", words::time(first));
    Some(Note { kind: NoteKind::LateStart, text })
}

#[cfg(test)]
mod tests {
    use keyloom_common::report::SlowTask;

    use super::*;

    /// A stage of tasks that took so long together, one of them four seconds.
    fn stage(tasks: u32, task_seconds: f64) -> StageRun {
        let slowest = SlowTask { task: 3, worker: "worker-1".to_owned(), seconds: 4.0 };
        StageRun {
            tasks,
            task_seconds,
            slowest: Some(slowest),
            seconds: 4.5,
            share_percent: 90.0,
            ..StageRun::default()
        }
    }

    #[test]
    fn a_task_that_takes_much_longer_than_the_others_is_named() {
        let note = slow_task(&stage(9, 8.0)).unwrap();
        assert_eq!(note.kind, NoteKind::SlowTask);
        let expected = "stage 0: task 3 took 4.00 s on worker-1, the others 500.0 ms on average";
        assert_eq!(note.text, expected);
        assert_eq!(slow_task(&stage(9, 20.0)), None, "the others took two seconds");
        assert_eq!(slow_task(&stage(3, 5.0)), None, "there are few");
        let short = StageRun { share_percent: 5.0, ..stage(9, 8.0) };
        assert_eq!(slow_task(&short), None, "nothing waits for it");
        assert_eq!(slow_task(&StageRun::default()), None);
    }

    #[test]
    fn fewer_tasks_than_slots_are_noted_where_that_costs_time() {
        let note = few_tasks(&stage(2, 8.0), 16).unwrap();
        assert_eq!(note.kind, NoteKind::FewTasks);
        let expected = "stage 0: 2 tasks for 16 slots; smaller row groups or files, or less \
                        task_rows and task_bytes, make more";
        assert_eq!(note.text, expected);
        assert_eq!(few_tasks(&stage(16, 8.0), 16), None);
        assert_eq!(few_tasks(&StageRun { seconds: 0.1, ..stage(2, 8.0) }, 16), None);
    }

    #[test]
    fn a_first_task_that_begins_late_is_noted() {
        let begun = |starts: &[f64]| {
            let stage = |&start_seconds: &f64| StageRun { start_seconds, ..StageRun::default() };
            let stages = starts.iter().map(stage).collect();
            late_start(&Analysis { seconds: 4.0, stages, ..Analysis::default() })
        };
        let note = begun(&[2.5, 1.3]).unwrap();
        assert_eq!(note.kind, NoteKind::LateStart);
        assert_eq!(note.text, "the job: 1.30 s passed until its first task began");
        assert_eq!(begun(&[2.5, 0.1]), None);
        assert_eq!(begun(&[0.6]), None, "that is little of the whole");
        assert_eq!(begun(&[]), None);
    }
}
