//! The progress of a job, on stderr if that is a terminal.

use std::{
    io::{IsTerminal, stderr},
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use indicatif::{HumanCount, ProgressBar, ProgressStyle};
use keyloom_client::report::JobStatus;

use crate::text;

const NO_WORKERS: &str = "waiting for workers: none is registered";

/// A line that changes while a command works. Dropping it clears it.
#[derive(Debug)]
pub(crate) struct Progress {
    bar: ProgressBar,
    /// Whether it was said that there are no workers, where no line shows it.
    is_said: AtomicBool,
}

impl Progress {
    pub(crate) fn start() -> Self {
        if !stderr().is_terminal() {
            return Self::of(ProgressBar::hidden());
        }
        let bar = ProgressBar::no_length().with_style(style("{spinner} {msg}"));
        bar.enable_steady_tick(Duration::from_millis(100));
        Self::of(bar)
    }

    fn of(bar: ProgressBar) -> Self {
        Self { bar, is_said: AtomicBool::new(false) }
    }

    /// Inputs and stores are looked at, by workers if there are any.
    pub(crate) fn opening(&self, workers: bool) {
        self.bar.set_style(style("{spinner} {msg}"));
        self.bar.set_message(if workers { "opening inputs and stores" } else { NO_WORKERS });
    }

    /// Somebody has waited for a while, and there is no worker. Where the line is not shown, this
    /// is said once.
    pub(crate) fn no_workers(&self) {
        self.opening(false);
        if self.bar.is_hidden() && !self.is_said.swap(true, Ordering::Relaxed) {
            text::note(NO_WORKERS);
        }
    }

    /// A job runs. How many tasks it has may not be known yet.
    pub(crate) fn job(&self, status: JobStatus, rows: u64) {
        let JobStatus { tasks, tasks_done, .. } = status;
        if tasks < tasks_done.max(1) {
            self.bar.set_style(style("{spinner} {pos} tasks{msg}, {elapsed}"));
        } else {
            self.bar.set_style(style("{spinner} {wide_bar} {pos}/{len} tasks{msg}, {elapsed}"));
            self.bar.set_length(u64::from(tasks));
        }
        self.bar.set_position(u64::from(tasks_done));
        // Of rows that are dropped, none come.
        let rows = (rows > 0).then(|| format!(", {} rows", HumanCount(rows)));
        self.bar.set_message(rows.unwrap_or_default());
    }

    /// Does something with the line out of the way.
    pub(crate) fn aside<T>(&self, work: impl FnOnce() -> T) -> T {
        self.bar.suspend(work)
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

/// The templates are right; if one were not, the bar would only look plain.
fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_spinner())
}
