//! What the log says of a job's end, and what is counted of it: how it ended, its rows, and how
//! long it was known.

use std::{sync::Arc, time::Instant};

use keyloom_common::{Error, ErrorKind, JobId, Result};
use tracing::Span;

use crate::metrics::Metrics;

/// The end of a job, which is told once. A job that is dropped before it ends was cancelled.
#[derive(Debug)]
pub(super) struct Ending {
    job: JobId,
    metrics: Arc<Metrics>,
    since: Instant,
    is_told: bool,
}

impl Ending {
    /// Of a job that begins, or begins to wait for its turn.
    pub(super) fn of(job: JobId, metrics: &Arc<Metrics>) -> Self {
        metrics.jobs.submitted.inc();
        Self { job, metrics: Arc::clone(metrics), since: Instant::now(), is_told: false }
    }

    /// Says how the job ended: with so many rows, or why not.
    pub(super) fn tell(mut self, outcome: &Result<u64>) {
        self.is_told = true;
        self.metrics.jobs.end(outcome, self.since.elapsed());
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
            let cancelled = Err(Error::cancelled("the job was dropped"));
            self.metrics.jobs.end(&cancelled, self.since.elapsed());
            tracing::info!(job = %self.job, seconds = self.seconds(), "job cancelled");
        }
    }
}
