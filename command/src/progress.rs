//! The progress of a job, on stderr: lines that change if that is a terminal, else a line now and
//! then, and nothing if nothing is wanted.

mod parts;

use std::{
    io::{IsTerminal, stderr},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressStyle};
use keyloom_client::report::{JobProgress, JobStatus};

use self::parts::Parts;
use crate::{
    pace::{Counted, Pace, Seen},
    text,
};

const NO_WORKERS: &str = "waiting for workers: none is registered";

/// How often a line is written where none can change.
const EVERY: Duration = Duration::from_secs(10);

/// What shows how far a command is. Dropping it clears a line that changes.
#[derive(Debug)]
pub(crate) struct Progress {
    way: Way,
    bar: ProgressBar,
    /// Whether it was said that there are no workers, where no line shows it.
    is_said: AtomicBool,
    job: Mutex<Option<Followed>>,
}

/// How progress is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// By a line that changes.
    Bar,
    /// By a line now and then.
    Lines,
    /// Not at all.
    Nothing,
}

/// The job that is followed.
#[derive(Debug)]
struct Followed {
    pace: Pace,
    parts: Parts,
    /// When a line was last written, or might have been.
    told: Instant,
}

impl Progress {
    pub(crate) fn start(quiet: bool) -> Self {
        let way = match (quiet, stderr().is_terminal()) {
            (true, _) => Way::Nothing,
            (false, true) => Way::Bar,
            (false, false) => Way::Lines,
        };
        if way != Way::Bar {
            return Self::of(way, ProgressBar::hidden());
        }
        let bar = ProgressBar::no_length().with_style(style("{spinner} {msg}"));
        bar.enable_steady_tick(Duration::from_millis(100));
        Self::of(way, bar)
    }

    fn of(way: Way, bar: ProgressBar) -> Self {
        Self { way, bar, is_said: AtomicBool::new(false), job: Mutex::default() }
    }

    /// Inputs and stores are looked at, by workers if there are any.
    pub(crate) fn opening(&self, workers: bool) {
        self.bar.set_style(style("{spinner} {msg}"));
        self.bar.set_prefix("");
        self.bar.set_message(if workers { "opening inputs and stores" } else { NO_WORKERS });
    }

    /// Somebody has waited for a while, and there is no worker. Where no line changes, this is said
    /// once.
    pub(crate) fn no_workers(&self) {
        self.opening(false);
        if self.way == Way::Lines && !self.is_said.swap(true, Ordering::Relaxed) {
            text::note(NO_WORKERS);
        }
    }

    /// A job runs, of which so many rows have come. How many tasks it has may not be known yet.
    pub(crate) fn job(&self, status: JobStatus, progress: &JobProgress, rows: u64) {
        let now = Instant::now();
        // Of rows that are dropped, or that workers write, none come.
        let counted = Counted::of(status, progress, rows.max(progress.rows()));
        let mut job = self.followed();
        let followed = job.get_or_insert_with(|| Followed {
            pace: Pace::start(now, counted),
            parts: Parts::default(),
            told: now,
        });
        let seen = followed.pace.seen(now, counted);
        match self.way {
            Way::Bar => self.draw(status, &seen, followed.parts.lines(now, progress)),
            Way::Lines if now.saturating_duration_since(followed.told) >= EVERY => {
                followed.told = now;
                let parts = followed.parts.words(now, progress);
                text::note(&line(status, &(seen.text() + &parts)));
            }
            Way::Lines | Way::Nothing => {}
        }
    }

    /// The next job is another one.
    pub(crate) fn next_job(&self) {
        *self.followed() = None;
    }

    fn followed(&self) -> MutexGuard<'_, Option<Followed>> {
        self.job.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The bar of the job, and lines below it.
    fn draw(&self, status: JobStatus, seen: &Seen, below: String) {
        let JobStatus { tasks, tasks_done, .. } = status;
        let counted = if tasks < tasks_done.max(1) {
            self.bar.set_style(style("{spinner} {msg}, {elapsed}\n{prefix}"));
            format!("{tasks_done} tasks")
        } else {
            self.bar.set_style(style("{spinner} {wide_bar} {msg}, {elapsed}\n{prefix}"));
            let all = seen.share.all();
            self.bar.set_length(all);
            self.bar.set_position(seen.share.thousandths.min(all));
            format!("{tasks_done}/{tasks} tasks")
        };
        self.bar.set_prefix(below);
        self.bar.set_message(counted + &seen.text());
    }

    /// Does something with the line out of the way.
    pub(crate) fn aside<T>(&self, work: impl FnOnce() -> T) -> T {
        self.bar.suspend(work)
    }

    /// What writes warnings with the line out of the way.
    pub(crate) fn warns(&self) -> impl Fn(&str) + Send + Sync + use<> {
        let bar = self.bar.clone();
        move |words: &str| bar.suspend(|| text::note(&format!("warning: {words}")))
    }

    pub(crate) fn end(&self) {
        self.bar.finish_and_clear();
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.end();
    }
}

/// How far a job is, where no line changes.
fn line(status: JobStatus, seen: &str) -> String {
    let JobStatus { tasks, tasks_done, .. } = status;
    match tasks < tasks_done.max(1) {
        true => format!("{tasks_done} tasks done{seen}"),
        false => format!("{tasks_done}/{tasks} tasks done{seen}"),
    }
}

/// The templates are right; if one were not, the bar would only look plain.
fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_spinner())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_as_much_as_is_known() {
        let status = |tasks, tasks_done| JobStatus { tasks, tasks_done, ..JobStatus::default() };
        assert_eq!(line(status(0, 0), ""), "0 tasks done");
        assert_eq!(line(status(1, 2), ""), "2 tasks done");
        assert_eq!(line(status(8, 2), ", 7 rows"), "2/8 tasks done, 7 rows");
    }
}
