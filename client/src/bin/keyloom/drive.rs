//! Taking a job's rows to the last, unless the user interrupts it.

use std::time::Duration;

use datafusion::arrow::array::RecordBatch;
use keyloom_client::{
    Job,
    query::Event,
    report::{JobStatus, JobSummary},
};

use crate::{error::Failure, watch::Watch};

/// How long the coordinator may take to hear that a job is not wanted any more.
const CANCELLING: Duration = Duration::from_secs(3);

/// Hands each batch to `take`. A job that ends early is cancelled first.
pub(crate) async fn drive(
    mut job: Job,
    watch: &Watch,
    take: impl FnMut(RecordBatch) -> Result<(), Failure>,
) -> Result<JobSummary, Failure> {
    let taken = tokio::select! {
        taken = take_all(&mut job, watch, take) => taken,
        () = watch.interrupted() => Err(Failure::interrupted()),
    };
    let summary = job.summary().cloned();
    if summary.is_none() {
        // A coordinator that does not hear it finds out by itself, later.
        let _ = tokio::time::timeout(CANCELLING, job.cancel()).await;
    }
    taken.map(|()| summary.unwrap_or_default())
}

async fn take_all(
    job: &mut Job,
    watch: &Watch,
    mut take: impl FnMut(RecordBatch) -> Result<(), Failure>,
) -> Result<(), Failure> {
    watch.status(JobStatus { workers: 1, ..job.status() }, 0);
    loop {
        match job.next_event().await.map_err(Failure::running)? {
            Event::Batch(batch) => {
                take(batch)?;
                watch.rows(job.rows());
            }
            Event::Pending(status) => watch.status(status, job.rows()),
            Event::Done => return Ok(()),
        }
    }
}
