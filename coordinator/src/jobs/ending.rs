//! What the log says of a job's end, what is counted of it, and what is remembered: how it ended,
//! its rows, and how long it was known.

use std::{sync::Arc, time::Instant};

use keyloom_common::{Error, ErrorKind, Result, report::JobSummary};
use tracing::Span;

use crate::{gather::JobContext, history::End, metrics::Metrics};

/// The end of a job, which is told once. A job that is dropped before it ends was cancelled.
#[derive(Debug)]
pub(super) struct Ending {
    job: Arc<JobContext>,
    metrics: Arc<Metrics>,
    since: Instant,
    is_told: bool,
}

impl Ending {
    /// Of a job that begins, or begins to wait for its turn.
    pub(super) fn of(job: &Arc<JobContext>) -> Self {
        let metrics = Arc::clone(job.dispatcher.metrics());
        metrics.jobs.submitted.inc();
        Self { job: Arc::clone(job), metrics, since: Instant::now(), is_told: false }
    }

    /// Says how the job ended: with so many rows, or why not. It is remembered when this is done.
    pub(super) async fn tell(mut self, last: &Result<JobSummary>) {
        self.is_told = true;
        // Before anybody can hear of the end, and hand in the next job.
        self.job.leave_place();
        let outcome = last.as_ref().map(|summary| summary.rows).map_err(Error::clone);
        self.metrics.jobs.end(&outcome, self.since.elapsed());
        let (job, seconds) = (self.job.job, self.seconds());
        match &outcome {
            Ok(rows) => tracing::info!(%job, rows, seconds, "job done"),
            Err(error) if error.kind() == ErrorKind::Cancelled => {
                tracing::info!(%job, seconds, "job cancelled");
            }
            Err(error) => {
                Span::current().record("otel.status_code", "error");
                tracing::warn!(%job, seconds, %error, "job failed");
            }
        }
        self.remember(last).await;
    }

    async fn remember(&self, last: &Result<JobSummary>) {
        let Some(record) = self.job.record() else { return };
        match last {
            // Somebody wanted that, and it is known; or the coordinator ends.
            Err(error) if error.kind() == ErrorKind::Cancelled => {
                record.known.interrupt(self.job.status());
            }
            _ => {
                let (status, committed) = (self.job.status(), self.job.output.committed());
                record.known.end(End { outcome: last.clone(), committed, status });
            }
        }
        if last.is_ok() {
            record.history.settle(self.job.job);
        }
        record.history.written().await;
    }

    /// To the millisecond.
    fn seconds(&self) -> f64 {
        (self.since.elapsed().as_secs_f64() * 1e3).round() / 1e3
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        if !self.is_told {
            self.job.leave_place();
            let cancelled = Err(Error::cancelled("the job was dropped"));
            self.metrics.jobs.end(&cancelled, self.since.elapsed());
            if let Some(record) = self.job.record() {
                record.known.interrupt(self.job.status());
            }
            tracing::info!(job = %self.job.job, seconds = self.seconds(), "job cancelled");
        }
    }
}
