//! What a command shows while it works, and whether it was interrupted.

use keyloom_client::{Session, report::JobStatus};
use tokio_util::sync::CancellationToken;

use crate::{error::Failure, progress::Progress};

/// The eyes on a command.
#[derive(Debug)]
pub(crate) struct Watch {
    interrupted: CancellationToken,
    progress: Progress,
}

impl Watch {
    pub(crate) fn start() -> Self {
        Self { interrupted: CancellationToken::new(), progress: Progress::start() }
    }

    /// Asks the command to clean up and end.
    pub(crate) fn interrupt(&self) {
        self.interrupted.cancel();
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
        }
    }

    /// Shows what is being done before there is a job.
    pub(crate) async fn opening(&self, session: &Session) -> Result<(), Failure> {
        let workers = self.step(session.workers()).await?;
        self.progress.opening(!workers.is_empty());
        Ok(())
    }

    /// Shows how far a job is.
    pub(crate) fn progress(&self, status: JobStatus, rows: u64) {
        self.progress.job(status, rows);
    }

    /// Shows that a job waits for workers.
    pub(crate) fn no_workers(&self) {
        self.progress.opening(false);
    }

    /// Does something that writes to the terminal, where progress may be shown.
    pub(crate) fn aside<T>(&self, work: impl FnOnce() -> T) -> T {
        self.progress.aside(work)
    }

    /// Shows nothing any more.
    pub(crate) fn end(&self) {
        self.progress.end();
    }
}
