//! The scheduler's bounds, as data.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::fleet::Unnamed;

/// Bounds on waiting, on retries and on work ahead of the reader.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// A worker that was silent for so many milliseconds is lost. Default 10,000.
    pub heartbeat_timeout_ms: u64,
    /// A stage with tasks to launch fails after so many milliseconds without a worker.
    /// Default 30,000.
    pub no_worker_timeout_ms: u64,
    /// An attempt that its worker has named, and then does not name for so many milliseconds,
    /// though it says that it lives, is lost. Default 10,000.
    pub attempt_timeout_ms: u64,
    /// So many milliseconds a worker that lives may take to name what it was told to start: its
    /// threads may be busy. Default 120,000.
    pub order_timeout_ms: u64,
    /// So many workers may die while they run a task, or take part in it, beyond those that die
    /// without it within ten minutes; then its stage fails. Twice as many if another task was there
    /// each time. Default 4.
    pub max_task_deaths: u32,
    /// So many workers may die while they run a task, or tasks of a stage none of which ends
    /// meanwhile, whatever else dies; then the stage fails. Default 24.
    pub max_task_losses: u32,
    /// So many attempts of a task may fail with a transient error; then its stage fails.
    /// Attempts that ended with their worker, or with one that took part in them, do not count.
    /// Default 4.
    pub max_task_attempts: u32,
    /// How many milliseconds a task rests after its first transient error; each further one
    /// doubles it. 0 for no rest; at most `retry_backoff_max_ms`. Default 100.
    pub retry_backoff_ms: u64,
    /// The longest rest, in milliseconds. Default 5,000.
    pub retry_backoff_max_ms: u64,
    /// How many milliseconds a rested task then waits for a slot of a worker that has not failed
    /// it, while there is such a worker, before any will do; 0 for no wait. Default 5,000.
    pub retry_elsewhere_ms: u64,
    /// How many tasks of a stage may be launched or done and not yet consumed. Default 1,024.
    pub max_tasks_ahead: usize,
    /// How many questions, such as a store's columns, a worker answers at a time beside its tasks.
    /// Default 4.
    pub question_slots: u32,
    /// How many milliseconds a shuffle whose turn it is waits for a slot of each worker that
    /// shuffles, or of as many as have something to do, and keeps those that become free; then two
    /// will do. Default 10,000.
    pub shuffle_wait_ms: u64,
    /// How many milliseconds a task rests for whose rows there was no room; each further time
    /// doubles it, six times at most. Default 1,000.
    pub put_off_ms: u64,
    /// A revoked attempt holds its slot until the worker reports its end, but at most so many
    /// milliseconds. Default 5,000.
    pub revoke_grace_ms: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            heartbeat_timeout_ms: 10_000,
            no_worker_timeout_ms: 30_000,
            attempt_timeout_ms: 10_000,
            order_timeout_ms: 120_000,
            max_task_deaths: 4,
            max_task_losses: 24,
            max_task_attempts: 4,
            retry_backoff_ms: 100,
            retry_backoff_max_ms: 5_000,
            retry_elsewhere_ms: 5_000,
            max_tasks_ahead: 1_024,
            question_slots: 4,
            shuffle_wait_ms: 10_000,
            put_off_ms: 1_000,
            revoke_grace_ms: 5_000,
        }
    }
}

impl Settings {
    /// How long a task rests after its `failures`th transient error, counted from 1.
    pub(super) fn backoff(&self, failures: u32) -> Duration {
        let doublings = 2_u64.saturating_pow(failures.saturating_sub(1));
        let rest = self.retry_backoff_ms.saturating_mul(doublings);
        Duration::from_millis(rest.min(self.retry_backoff_max_ms))
    }

    pub(super) fn heartbeat_timeout(&self) -> Duration {
        Duration::from_millis(self.heartbeat_timeout_ms)
    }

    pub(super) fn unnamed(&self) -> Unnamed {
        let [at_first, again] =
            [self.order_timeout_ms, self.attempt_timeout_ms].map(Duration::from_millis);
        Unnamed { at_first, again }
    }

    /// How long a task rests that was put off so often before.
    pub(super) fn put_off(&self, times: u32) -> Duration {
        Duration::from_millis(self.put_off_ms.saturating_mul(1 << times.min(6)))
    }

    pub(super) fn no_worker_timeout(&self) -> Duration {
        Duration::from_millis(self.no_worker_timeout_ms)
    }

    pub(super) fn retry_elsewhere(&self) -> Duration {
        Duration::from_millis(self.retry_elsewhere_ms)
    }

    pub(super) fn shuffle_wait(&self) -> Duration {
        Duration::from_millis(self.shuffle_wait_ms)
    }

    pub(super) fn revoke_grace(&self) -> Duration {
        Duration::from_millis(self.revoke_grace_ms)
    }

    pub(super) fn window(&self) -> usize {
        self.max_tasks_ahead.max(1)
    }
}

/// Milliseconds as a person would say them.
pub(super) fn human(ms: u64) -> String {
    if ms.is_multiple_of(1_000) { format!("{} s", ms / 1_000) } else { format!("{ms} ms") }
}
