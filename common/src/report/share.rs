//! How much of a job is done, for bars and for the time that is left: its tasks, and of those that
//! run what their workers have told.

use super::{JobProgress, JobStatus, StageProgress};

/// A task, in the parts in which it is told how much is done of one that runs.
pub const TASK: u32 = 1000;

/// How much of some tasks is done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Share {
    /// Tasks known so far.
    pub tasks: u32,
    /// What is done of them, in thousandths of a task.
    pub thousandths: u64,
}

/// What was done when somebody looked before: it is not shown that it went back, as it does where
/// an attempt is lost.
#[derive(Clone, Copy, Debug, Default)]
pub struct Furthest(u64);

impl Share {
    /// Of a job. Its parts may be older than what is known of the whole, and some may be left out.
    pub fn of_job(status: JobStatus, progress: &JobProgress) -> Self {
        let stages = progress.stages.iter().filter(|stage| stage.stage.is_some());
        let of_stages: u64 = stages.map(|stage| Self::of_stage(stage).thousandths).sum();
        Self::new(status.tasks, whole(status.tasks_done).max(of_stages))
    }

    /// Of a stage.
    pub fn of_stage(stage: &StageProgress) -> Self {
        Self::new(stage.tasks, whole(stage.tasks_done) + u64::from(stage.thousandths))
    }

    fn new(tasks: u32, thousandths: u64) -> Self {
        Self { tasks, thousandths }
    }

    /// All of its tasks, in thousandths of one.
    pub fn all(self) -> u64 {
        whole(self.tasks)
    }

    /// What is not done yet, in thousandths of a task.
    pub fn left(self) -> u64 {
        self.all().saturating_sub(self.thousandths)
    }

    /// How much of all is done, from 0 to 1; none before tasks are known.
    pub fn done(self) -> Option<f64> {
        let all = self.all();
        (all > 0).then(|| self.thousandths.min(all) as f64 / all as f64)
    }

    /// The same in whole percent.
    pub fn percent(self) -> Option<u64> {
        self.thousandths.min(self.all()).saturating_mul(100).checked_div(self.all())
    }
}

impl Furthest {
    /// What is shown of the tasks now.
    pub fn seen(&mut self, share: Share) -> Share {
        self.0 = self.0.max(share.thousandths);
        Share { thousandths: self.0, ..share }
    }
}

fn whole(tasks: u32) -> u64 {
    u64::from(tasks) * u64::from(TASK)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::StageWork;

    fn stage(number: Option<u32>, tasks_done: u32, thousandths: u32) -> StageProgress {
        let (work, rows, bytes) = (StageWork::Lookups, 0, 0);
        StageProgress { stage: number, work, tasks: 4, tasks_done, thousandths, rows, bytes }
    }

    fn of_job(tasks_done: u32, stages: &[StageProgress]) -> Share {
        let status = JobStatus { tasks: 8, tasks_done, workers: 1 };
        let progress = JobProgress { stages: stages.to_vec(), ..JobProgress::default() };
        Share::of_job(status, &progress)
    }

    #[test]
    fn parts_of_tasks_that_run_count_once() {
        assert_eq!(of_job(0, &[]).done(), Some(0.0));
        let stages = [stage(Some(0), 4, 0), stage(Some(1), 1, 1500)];
        assert_eq!(of_job(5, &stages), Share { tasks: 8, thousandths: 6500 });
        assert_eq!(of_job(5, &stages).left(), 1500);
        // One more is done, and what was told of it is told no more.
        assert_eq!(of_job(6, &stages), Share { tasks: 8, thousandths: 6500 });
        assert_eq!(of_job(7, &stages).thousandths, 7000);
        // The coordinator's own is no task.
        assert_eq!(of_job(1, &[stage(None, 4, 0)]).thousandths, 1000);
    }

    #[test]
    fn there_is_never_more_than_all() {
        let share = Share::of_stage(&stage(Some(0), 4, 7000));
        assert_eq!((share.done(), share.percent(), share.left()), (Some(1.0), Some(100), 0));
        assert_eq!((Share::default().done(), Share::default().percent()), (None, None));
        assert_eq!(Share { tasks: 3, thousandths: 889 }.percent(), Some(29));
    }

    #[test]
    fn what_is_shown_never_goes_back() {
        let mut furthest = Furthest::default();
        let mut shown = |tasks_done, thousandths| {
            furthest.seen(Share::of_stage(&stage(Some(0), tasks_done, thousandths))).thousandths
        };
        assert_eq!(shown(1, 800), 1800);
        // Its attempt is lost, and another begins.
        assert_eq!(shown(1, 0), 1800);
        assert_eq!(shown(1, 600), 1800);
        assert_eq!(shown(2, 0), 2000);
    }
}
