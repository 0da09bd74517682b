//! How far the tasks are that run now, as their workers said last.
//!
//! What an attempt told is there until it is taken back, because the attempt failed or its worker
//! is gone, or until what its task reported at the end is counted instead: each row counts once.

use std::collections::{BTreeMap, HashMap};

use keyloom_common::{AttemptId, JobId, StageId, TaskId, report::TaskProgress};

/// What was told of each task by its current attempt, of which this is the number.
#[derive(Debug, Default)]
pub(super) struct Told(HashMap<TaskId, (u32, TaskProgress)>);

impl Told {
    /// Notes how far the current attempt at a task is.
    pub(super) fn note(&mut self, attempt: AttemptId, progress: TaskProgress) {
        self.0.insert(attempt.task, (attempt.number, progress.bounded()));
    }

    /// Takes back what an attempt told, and not what another at its task did.
    pub(super) fn take_back(&mut self, attempt: AttemptId) {
        if self.0.get(&attempt.task).is_some_and(|(number, _)| *number == attempt.number) {
            self.0.remove(&attempt.task);
        }
    }

    /// Takes back what was told of a task, whose report is counted.
    pub(super) fn counted(&mut self, task: TaskId) {
        self.0.remove(&task);
    }

    /// Forgets a stage.
    pub(super) fn forget(&mut self, stage: StageId) {
        self.0.retain(|task, _| task.stage != stage);
    }

    /// What was told of a job, stage by stage.
    pub(super) fn of_job(&self, job: JobId) -> BTreeMap<StageId, TaskProgress> {
        let mut stages = BTreeMap::<StageId, TaskProgress>::new();
        let tasks = self.0.iter().filter(|(task, _)| task.stage.job == job);
        for (task, (_, progress)) in tasks {
            stages.entry(task.stage).or_default().add(progress);
        }
        stages
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const JOB: JobId = JobId::from_u128(1);

    fn attempt(job: JobId, stage: u32, index: u32, number: u32) -> AttemptId {
        AttemptId { task: TaskId { stage: StageId { job, index: stage }, index }, number }
    }

    fn rows(rows: u64) -> TaskProgress {
        TaskProgress { rows, ..TaskProgress::default() }
    }

    /// The rows of the job's stages, by their numbers.
    fn told(told: &Told) -> Vec<(u32, u64)> {
        let stages = told.of_job(JOB).into_iter();
        stages.map(|(stage, progress)| (stage.index, progress.rows)).collect()
    }

    #[test]
    fn tasks_add_up_stage_by_stage_and_each_counts_as_it_told_last() {
        let mut all = Told::default();
        for (stage, index, count) in [(0, 0, 5), (0, 1, 6), (1, 0, 7), (0, 0, 8)] {
            all.note(attempt(JOB, stage, index, 0), rows(count));
        }
        all.note(attempt(JobId::from_u128(2), 0, 0, 0), rows(100));
        assert_eq!(told(&all), [(0, 14), (1, 7)]);
        all.counted(attempt(JOB, 0, 1, 0).task);
        assert_eq!(told(&all), [(0, 8), (1, 7)]);
        all.forget(StageId { job: JOB, index: 0 });
        assert_eq!(told(&all), [(1, 7)]);
    }

    #[test]
    fn what_a_failed_attempt_told_is_taken_back_and_not_what_the_next_one_tells() {
        let mut all = Told::default();
        let [first, second] = [0, 1].map(|number| attempt(JOB, 0, 0, number));
        all.note(first, rows(5));
        all.take_back(first);
        assert!(told(&all).is_empty());
        all.note(second, rows(2));
        all.take_back(first);
        assert_eq!(told(&all), [(0, 2)]);
    }
}
