//! A job as it is known from before it starts until its client has its result.

use std::sync::{Arc, OnceLock};

use futures::FutureExt;
use keyloom_common::{
    Error, Result,
    rpc::{Identity, guarded},
};
use tokio_util::sync::CancellationToken;

use super::job::RunningJob;

/// A job that was handed in.
#[derive(Debug)]
pub(crate) struct Entry {
    /// Who handed it in.
    pub(super) whose: Identity,
    /// The job, or what became of starting it. Whoever hands it in again meanwhile waits for that.
    pub(super) started: OnceLock<Result<Arc<RunningJob>>>,
    /// Cancelled when the job is to end, though it may be just starting.
    pub(super) stop: CancellationToken,
}

impl Entry {
    pub(super) fn new(whose: Identity) -> Self {
        Self { whose, started: OnceLock::new(), stop: CancellationToken::new() }
    }

    /// Starts the job, unless it was started before. Also a panic is an outcome: an entry without
    /// one would stay for ever.
    pub(super) fn start(
        &self,
        start: impl FnOnce() -> Result<Arc<RunningJob>>,
    ) -> &Result<Arc<RunningJob>> {
        self.started.get_or_init(|| {
            let started = guarded(async move { start() }).now_or_never();
            started.unwrap_or_else(|| Err(Error::internal("the job's start did not end")))
        })
    }

    /// Fails once the job is to end.
    pub(super) fn check(&self) -> Result<()> {
        match self.stop.is_cancelled() {
            true => Err(Error::cancelled("the job was stopped")),
            false => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use keyloom_common::ErrorKind;

    use super::*;

    #[tokio::test]
    async fn a_start_that_panics_is_an_outcome() {
        let entry = Entry::new(Identity::anybody());
        let error = entry.start(|| panic!("out of bounds")).as_ref().unwrap_err();
        let expected = (ErrorKind::Internal, "panicked: out of bounds");
        assert_eq!((error.kind(), error.message()), expected);
    }
}
