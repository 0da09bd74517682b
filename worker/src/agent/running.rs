//! The attempts that a life of a worker has, as its heartbeats name them: from the order to start
//! one until the coordinator has heard how it ended.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use keyloom_common::AttemptId;
use tokio_util::sync::CancellationToken;

/// Shared by the life and its heartbeats.
#[derive(Clone, Debug, Default)]
pub(super) struct Running(Arc<Mutex<HashMap<AttemptId, CancellationToken>>>);

impl Running {
    /// Notes an attempt, and returns what is cancelled when it is to stop.
    pub(super) fn start(&self, attempt: AttemptId) -> CancellationToken {
        let stop = CancellationToken::new();
        self.lock().insert(attempt, stop.clone());
        stop
    }

    /// Stops an attempt, if it runs.
    pub(super) fn stop(&self, attempt: AttemptId) {
        if let Some(stop) = self.lock().get(&attempt) {
            stop.cancel();
        }
    }

    /// Forgets an attempt.
    pub(super) fn end(&self, attempt: AttemptId) {
        self.lock().remove(&attempt);
    }

    /// The attempts.
    pub(super) fn all(&self) -> Vec<AttemptId> {
        self.lock().keys().copied().collect()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<AttemptId, CancellationToken>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
