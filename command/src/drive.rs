//! Taking a job's rows to the last, unless the user interrupts it.

use std::time::{Duration, Instant};

use datafusion::arrow::array::RecordBatch;
use keyloom_client::{Job, query::JobUpdate, report::JobSummary};

use crate::{error::Failure, watch::Watch};

/// How long the coordinator may take to hear that a job is not wanted any more.
const CANCELLING: Duration = Duration::from_secs(3);

/// A job whose rows were all taken.
#[derive(Debug)]
pub(crate) struct Taken {
    pub(crate) summary: JobSummary,
    /// The rows that missed their keys, if the job was to keep them.
    pub(crate) missed: Vec<RecordBatch>,
    /// When the last row had come.
    pub(crate) at: Instant,
}

/// Hands each batch to `take`. However the job ends, the coordinator knows that it is not wanted
/// any more.
pub(crate) async fn drive(
    mut job: Job,
    watch: &Watch,
    take: impl FnMut(RecordBatch) -> Result<(), Failure>,
) -> Result<Taken, Failure> {
    let taken = tokio::select! {
        taken = take_all(&mut job, watch, take) => taken,
        () = watch.interrupted() => Err(Failure::interrupted()),
    };
    let at = Instant::now();
    let summary = job.summary().cloned().unwrap_or_default();
    let missed = job.take_missed();
    // A coordinator that does not hear it finds out by itself, later.
    let _ = tokio::time::timeout(CANCELLING, job.cancel()).await;
    taken.map(|()| Taken { summary, missed, at })
}

async fn take_all(
    job: &mut Job,
    watch: &Watch,
    mut take: impl FnMut(RecordBatch) -> Result<(), Failure>,
) -> Result<(), Failure> {
    watch.progress(job.status(), job.progress(), 0);
    loop {
        match job.next_update().await.map_err(Failure::running)? {
            JobUpdate::Batch(batch) => {
                take(batch)?;
                watch.progress(job.status(), job.progress(), job.rows());
            }
            JobUpdate::Pending(status) if status.workers == 0 => watch.no_workers(),
            JobUpdate::Pending(status) => watch.progress(status, job.progress(), job.rows()),
            JobUpdate::Done => return Ok(()),
        }
    }
}
