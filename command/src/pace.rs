//! How fast a job gets on, and how long it may still take: from what was counted so far.

use std::time::{Duration, Instant};

use indicatif::{HumanCount, HumanDuration};
use keyloom_client::report::JobStatus;

/// Before that, nothing is foretold.
const WARM: Duration = Duration::from_secs(2);

/// A job that is looked at now and then.
#[derive(Debug)]
pub(crate) struct Pace {
    since: Instant,
    /// Tasks that were done when it was first looked at.
    tasks_before: u32,
}

/// How a job gets on, in numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Seen {
    /// Rows that came.
    pub(crate) rows: u64,
    /// Rows a second.
    pub(crate) rate: Option<f64>,
    /// How long it takes still.
    pub(crate) left: Option<Duration>,
}

impl Pace {
    /// A job that is looked at for the first time.
    pub(crate) fn start(now: Instant, status: JobStatus) -> Self {
        Self { since: now, tasks_before: status.tasks_done }
    }

    /// How it gets on.
    pub(crate) fn seen(&self, now: Instant, status: JobStatus, rows: u64) -> Seen {
        let took = now.saturating_duration_since(self.since);
        if took < WARM {
            return Seen { rows, ..Seen::default() };
        }
        let rate = (rows > 0).then(|| rows as f64 / took.as_secs_f64());
        Seen { rows, rate, left: self.left(took, status) }
    }

    /// Tasks are about equal. Before they are all known, the job may be of any length.
    fn left(&self, took: Duration, status: JobStatus) -> Option<Duration> {
        let done = status.tasks_done.checked_sub(self.tasks_before).filter(|done| *done > 0)?;
        let left = status.tasks.checked_sub(status.tasks_done).filter(|left| *left > 0)?;
        Some(took.mul_f64(f64::from(left) / f64::from(done)))
    }
}

impl Seen {
    /// What stands behind the number of tasks: `, 1,200 rows (600/s), 3 seconds left`.
    pub(crate) fn text(&self) -> String {
        let rate = self.rate.map(|rate| format!(" ({}/s)", HumanCount(rate as u64)));
        // Of rows that are dropped, or that workers write, none come.
        let rows = (self.rows > 0)
            .then(|| format!(", {} rows{}", HumanCount(self.rows), rate.unwrap_or_default()));
        let left = self.left.map(|left| format!(", {} left", HumanDuration(left)));
        rows.unwrap_or_default() + &left.unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(tasks: u32, tasks_done: u32) -> JobStatus {
        JobStatus { tasks, tasks_done, ..JobStatus::default() }
    }

    #[test]
    fn what_is_left_takes_as_long_as_what_was_done() {
        let start = Instant::now();
        let pace = Pace::start(start, status(0, 0));
        let after = |seconds: u64| start + Duration::from_secs(seconds);
        assert_eq!(pace.seen(after(1), status(8, 1), 7), Seen { rows: 7, ..Seen::default() });
        let seen = pace.seen(after(4), status(8, 2), 2400);
        let left = Some(Duration::from_secs(12));
        assert_eq!(seen, Seen { rows: 2400, rate: Some(600.0), left });
        assert_eq!(seen.text(), ", 2,400 rows (600/s), 12 seconds left");
        assert_eq!(pace.seen(after(4), status(2, 2), 0).text(), "");
    }

    #[test]
    fn tasks_that_were_done_before_are_not_of_this_pace() {
        let start = Instant::now();
        let pace = Pace::start(start, status(10, 6));
        let now = start + Duration::from_secs(4);
        assert_eq!(pace.seen(now, status(10, 6), 0).left, None);
        assert_eq!(pace.seen(now, status(10, 8), 0).left, Some(Duration::from_secs(4)));
    }
}
