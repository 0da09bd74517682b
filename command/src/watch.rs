//! What a command shows while it works, and whether it was interrupted.

use std::{convert::Infallible, future::pending, sync::OnceLock, time::Duration};

use keyloom_client::{
    JobId, Session,
    report::{JobProgress, JobStatus},
};
use tokio_util::sync::CancellationToken;

use crate::{error::Failure, progress::Progress};

/// After so long a wait it is said that there are no workers, if so.
const WAIT: Duration = Duration::from_secs(1);

/// The eyes on a command.
#[derive(Debug)]
pub(crate) struct Watch {
    interrupted: CancellationToken,
    progress: Progress,
    /// The session on a cluster, whose workers may be waited for.
    cluster: OnceLock<Session>,
    /// The job that was asked for, once there is one.
    job: OnceLock<JobId>,
}

impl Watch {
    /// Eyes that show how far the command is, unless it is to be quiet.
    pub(crate) fn start(quiet: bool) -> Self {
        Self {
            interrupted: CancellationToken::new(),
            progress: Progress::start(quiet),
            cluster: OnceLock::new(),
            job: OnceLock::new(),
        }
    }

    /// Asks the command to clean up and end.
    pub(crate) fn interrupt(&self) {
        self.interrupted.cancel();
    }

    /// Whether the command is to end.
    pub(crate) fn is_interrupted(&self) -> bool {
        self.interrupted.is_cancelled()
    }

    /// Waits until the command is to end.
    pub(crate) async fn interrupted(&self) {
        self.interrupted.cancelled().await;
    }

    /// Does one thing on the way to a job; it may be dropped half-way.
    pub(crate) async fn step<T>(
        &self,
        work: impl Future<Output = keyloom_client::Result<T>>,
    ) -> Result<T, Failure> {
        tokio::select! {
            done = work => done.map_err(Failure::before),
            () = self.interrupted() => Err(Failure::interrupted()),
            never = self.miss_workers() => match never {},
        }
    }

    /// Says after a while that there are no workers, if so.
    async fn miss_workers(&self) -> Infallible {
        if let Some(session) = self.cluster.get() {
            tokio::time::sleep(WAIT).await;
            // If the coordinator is gone, what is being done fails by itself.
            if session.workers().await.is_ok_and(|workers| workers.is_empty()) {
                self.no_workers();
            }
        }
        pending().await
    }

    /// From now on, the workers of a cluster may be waited for.
    pub(crate) fn on_cluster(&self, session: &Session) {
        // A command opens one session.
        let _ = self.cluster.set(session.clone());
    }

    /// The job that was asked for runs.
    pub(crate) fn started(&self, job: JobId) {
        // A command runs one; others before it read what it needs.
        let _ = self.job.set(job);
        self.progress.next_job();
    }

    /// The job that was asked for, if it was started.
    pub(crate) fn job(&self) -> Option<JobId> {
        self.job.get().copied()
    }

    /// Shows what is being done before there is a job.
    pub(crate) async fn opening(&self, session: &Session) -> Result<(), Failure> {
        let workers = self.step(session.workers()).await?;
        self.progress.opening(!workers.is_empty());
        Ok(())
    }

    /// Shows how far a job is.
    pub(crate) fn progress(&self, status: JobStatus, progress: &JobProgress, rows: u64) {
        self.progress.job(status, progress, rows);
    }

    /// Says that there are no workers to wait for.
    pub(crate) fn no_workers(&self) {
        self.progress.no_workers();
    }

    /// Does something that writes to the terminal, where progress may be shown.
    pub(crate) fn aside<T>(&self, work: impl FnOnce() -> T) -> T {
        self.progress.aside(work)
    }

    /// What writes warnings to the terminal, where progress may be shown.
    pub(crate) fn warns(&self) -> impl Fn(&str) + Send + Sync + use<> {
        self.progress.warns()
    }

    /// Shows nothing any more.
    pub(crate) fn end(&self) {
        self.progress.end();
    }
}
