//! Whoever waits for a worker of a cluster that has none is told.

use std::time::Duration;

use crate::told::Told;

/// After so long a wait it is said that there is no worker, if so.
pub(crate) const TELL_AFTER: Duration = Duration::from_secs(1);

/// How a session says that it waits.
#[derive(Debug, Default)]
pub(crate) struct Waits(pub(crate) Told);

impl Waits {
    /// Says that the cluster at an address has no worker.
    pub(crate) fn say(&self, address: &str) {
        self.0.say(&format!(
            "waiting for a worker: none is registered with the coordinator at {address}; start \
             one with keyloom-worker --coordinator {address}"
        ));
    }
}
