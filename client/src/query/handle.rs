//! A job that is known by its id: it may have been submitted by another program, or long ago.

use std::{sync::Arc, time::Duration};

use keyloom_common::{
    ErrorKind, JobId, Result,
    report::{JobInfo, JobLog},
};

use super::Job;
use crate::link::Link;

/// How long to rest before a job's end is asked for again: as little at first, twice as long each
/// time, and so long at most.
const REST: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(1));

/// How long a coordinator that is gone is asked again for a job's end: it may be restarting.
const GONE: Duration = Duration::from_secs(60);

/// A job by its id. Dropping it changes nothing.
#[derive(Clone, Debug)]
pub struct JobHandle {
    link: Arc<Link>,
    id: JobId,
}

impl JobHandle {
    pub(crate) fn new(link: Arc<Link>, id: JobId) -> Self {
        Self { link, id }
    }

    /// The job's id.
    pub fn id(&self) -> JobId {
        self.id
    }

    /// What is known of it.
    ///
    /// # Errors
    /// `not_found` if nothing is (any more), `permission_denied` if it is another client's.
    pub async fn info(&self) -> Result<JobInfo> {
        self.link.connection.job(self.id).await
    }

    /// What happened to it, in order: when it was handed in and by whom, when its stages began and
    /// ended, what went wrong on the way, and how it ended.
    ///
    /// # Errors
    /// As [`Self::info`].
    pub async fn logs(&self) -> Result<JobLog> {
        self.link.connection.job_log(self.id).await
    }

    /// Waits until nothing more becomes of it by itself, and gives what is known of it then: how it
    /// ended is in there, and no error of this. A coordinator that is restarted meanwhile is waited
    /// for, a minute or two.
    ///
    /// # Errors
    /// As [`Self::info`].
    pub async fn wait(&self) -> Result<JobInfo> {
        let (mut rest, longest) = REST;
        let mut gone = Duration::ZERO;
        loop {
            match self.info().await {
                Ok(info) if info.state.is_end() => return Ok(info),
                Ok(_) => gone = Duration::ZERO,
                Err(error) if error.kind() == ErrorKind::Unavailable && gone < GONE => {
                    gone += longest;
                }
                Err(error) => return Err(error),
            }
            tokio::time::sleep(rest).await;
            rest = (rest * 2).min(longest);
        }
    }

    /// Stops it, and has what it has written removed. One that is done stays as it is, but its rows
    /// go.
    ///
    /// # Errors
    /// If the coordinator cannot be told, or does not let this client.
    pub async fn cancel(&self) -> Result<()> {
        self.link.connection.cancel(self.id).await
    }

    /// Goes on with it, if it ended before its output was committed. One that runs stays as it is.
    ///
    /// # Errors
    /// Why it cannot be resumed.
    pub async fn resume(&self) -> Result<()> {
        self.link.connection.resume(self.id).await
    }

    /// Its rows, from the first one on: once, of a job that was submitted as detached. Waits until
    /// the first rows are there, or it has ended. The rows of a job that writes an output are the
    /// one that says what was written.
    ///
    /// # Errors
    /// Why it failed, or `not_found` if its rows are not there (any more).
    pub async fn results(&self) -> Result<Job> {
        Job::attach(Arc::clone(&self.link), self.id).await
    }
}
