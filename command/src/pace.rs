//! How fast a job or a stage of it gets on, and how long it may still take: from what was counted
//! so far.

use std::time::{Duration, Instant};

use indicatif::{HumanCount, HumanDuration};
use keyloom_client::report::{Furthest, JobProgress, JobStatus, Share, StageProgress};

/// Before that, nothing is foretold.
const WARM: Duration = Duration::from_secs(2);

/// What is looked at now and then.
#[derive(Debug)]
pub(crate) struct Pace {
    since: Instant,
    /// What was done when it was first looked at.
    before: Counted,
    /// What was shown of it.
    furthest: Furthest,
}

/// What was counted so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counted {
    share: Share,
    rows: u64,
}

/// How a job gets on, in numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Seen {
    /// How much is done, which never goes back.
    pub(crate) share: Share,
    /// Rows that came.
    pub(crate) rows: u64,
    /// Rows a second.
    pub(crate) rate: Option<f64>,
    /// How long it takes still.
    pub(crate) left: Option<Duration>,
}

impl Pace {
    /// What is looked at for the first time.
    pub(crate) fn start(now: Instant, counted: Counted) -> Self {
        Self { since: now, before: counted, furthest: Furthest::default() }
    }

    /// How it gets on.
    pub(crate) fn seen(&mut self, now: Instant, counted: Counted) -> Seen {
        let share = self.furthest.seen(counted.share);
        let (took, rows) = (now.saturating_duration_since(self.since), counted.rows);
        if took < WARM {
            return Seen { share, rows, ..Seen::default() };
        }
        let more = rows.saturating_sub(self.before.rows);
        let rate = (more > 0).then(|| more as f64 / took.as_secs_f64());
        Seen { share, rows, rate, left: self.left(took, share) }
    }

    /// Tasks are about equal. Before they are all known, the job may be of any length.
    fn left(&self, took: Duration, share: Share) -> Option<Duration> {
        let before = self.before.share.thousandths;
        let done = share.thousandths.checked_sub(before).filter(|done| *done > 0)?;
        let left = Some(share.left()).filter(|left| *left > 0)?;
        Some(took.mul_f64(left as f64 / done as f64))
    }
}

impl Counted {
    /// Of a job with so many rows.
    pub(crate) fn of(status: JobStatus, progress: &JobProgress, rows: u64) -> Self {
        Self { share: Share::of_job(status, progress), rows }
    }

    /// Of a stage.
    pub(crate) fn of_stage(stage: &StageProgress) -> Self {
        Self { share: Share::of_stage(stage), rows: stage.rows }
    }
}

impl Seen {
    /// What stands behind the number of tasks: `, 1,200 rows (600/s), 3 seconds left`.
    pub(crate) fn text(&self) -> String {
        let rate = self.rate.map(|rate| format!(" ({}/s)", HumanCount(rate as u64)));
        // Before workers have told of some, nobody knows of any.
        let rows = (self.rows > 0)
            .then(|| format!(", {} rows{}", HumanCount(self.rows), rate.unwrap_or_default()));
        let left = self.left.map(|left| format!(", {} left", HumanDuration(left)));
        rows.unwrap_or_default() + &left.unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn share(tasks: u32, thousandths: u64) -> Share {
        Share { tasks, thousandths }
    }

    fn counted(tasks: u32, tasks_done: u64, rows: u64) -> Counted {
        Counted { share: share(tasks, tasks_done * 1000), rows }
    }

    #[test]
    fn what_is_left_takes_as_long_as_what_was_done() {
        let start = Instant::now();
        let mut pace = Pace::start(start, Counted::default());
        let after = |seconds: u64| start + Duration::from_secs(seconds);
        let early = Seen { share: share(8, 1000), rows: 7, ..Seen::default() };
        assert_eq!(pace.seen(after(1), counted(8, 1, 7)), early);
        let seen = pace.seen(after(4), counted(8, 2, 2400));
        let left = Some(Duration::from_secs(12));
        assert_eq!(seen, Seen { share: share(8, 2000), rows: 2400, rate: Some(600.0), left });
        assert_eq!(seen.text(), ", 2,400 rows (600/s), 12 seconds left");
        assert_eq!(pace.seen(after(4), counted(2, 2, 0)).text(), "");
    }

    #[test]
    fn parts_of_tasks_that_run_count_and_nothing_goes_back() {
        let start = Instant::now();
        let mut pace = Pace::start(start, Counted::default());
        let mut seen = |seconds: u64, thousandths| {
            let counted = Counted { share: share(4, thousandths), rows: 0 };
            let Seen { share, left, .. } = pace.seen(start + Duration::from_secs(seconds), counted);
            (share.thousandths, left.map(|left| left.as_secs()))
        };
        // None of four tasks is done yet.
        assert_eq!(seen(4, 800), (800, Some(16)));
        assert_eq!(seen(6, 2000), (2000, Some(6)));
        // An attempt is lost.
        assert_eq!(seen(8, 1200), (2000, Some(8)));
        assert_eq!(seen(10, 2500), (2500, Some(6)));
        assert_eq!(seen(12, 4000), (4000, None));
    }

    #[test]
    fn what_was_done_before_is_not_of_this_pace() {
        let start = Instant::now();
        let mut pace = Pace::start(start, counted(10, 6, 600));
        let now = start + Duration::from_secs(4);
        let unchanged = pace.seen(now, counted(10, 6, 600));
        assert_eq!((unchanged.left, unchanged.rate), (None, None));
        let seen = pace.seen(now, counted(10, 8, 800));
        assert_eq!((seen.left, seen.rate), (Some(Duration::from_secs(4)), Some(50.0)));
    }
}
