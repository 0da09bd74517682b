//! Whoever waits for a worker of a cluster that has none is told.

use std::{
    fmt,
    sync::{Mutex, PoisonError},
    time::Duration,
};

/// After so long a wait it is said that there is no worker, if so.
pub(crate) const TELL_AFTER: Duration = Duration::from_secs(1);

/// What hears of a wait.
type Tell = Box<dyn Fn(&str) + Send + Sync>;

/// How a session says that it waits: in the log, unless somebody wants to hear of it.
#[derive(Default)]
pub(crate) struct Waits(Mutex<Option<Tell>>);

impl Waits {
    /// From now on, this hears of waits.
    pub(crate) fn tell(&self, tell: Tell) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(tell);
    }

    /// Says that the cluster at an address has no worker.
    pub(crate) fn say(&self, address: &str) {
        let words = format!(
            "waiting for a worker: none is registered with the coordinator at {address}; start \
             one with keyloom-worker --coordinator {address}"
        );
        match self.0.lock().unwrap_or_else(PoisonError::into_inner).as_ref() {
            Some(tell) => tell(&words),
            None => tracing::warn!("{words}"),
        }
    }
}

impl fmt::Debug for Waits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Waits").finish_non_exhaustive()
    }
}
