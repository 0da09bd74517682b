//! What the log says of a job's end: how it ended, its rows, and how long it was known.

use std::time::Instant;

use keyloom_common::{ErrorKind, JobId, Result};
use tracing::Span;

/// The end of a job, which is told once. A job that is dropped before it ends was cancelled.
#[derive(Debug)]
pub(super) struct Ending {
    job: JobId,
    since: Instant,
    is_told: bool,
}

impl Ending {
    /// Of a job that begins, or begins to wait for its turn.
    pub(super) fn of(job: JobId) -> Self {
        Self { job, since: Instant::now(), is_told: false }
    }

    /// Says how the job ended: with so many rows, or why not.
    pub(super) fn tell(mut self, outcome: &Result<u64>) {
        self.is_told = true;
        let (job, seconds) = (self.job, self.seconds());
        match outcome {
            Ok(rows) => tracing::info!(%job, rows, seconds, "job done"),
            Err(error) if error.kind() == ErrorKind::Cancelled => {
                tracing::info!(%job, seconds, "job cancelled");
            }
            Err(error) => {
                Span::current().record("otel.status_code", "error");
                tracing::warn!(%job, seconds, %error, "job failed");
            }
        }
    }

    /// To the millisecond.
    fn seconds(&self) -> f64 {
        (self.since.elapsed().as_secs_f64() * 1e3).round() / 1e3
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        if !self.is_told {
            tracing::info!(job = %self.job, seconds = self.seconds(), "job cancelled");
        }
    }
}
