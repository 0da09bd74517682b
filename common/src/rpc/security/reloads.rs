//! How often files of certificates and tokens were read again, and how long what was read is valid.

use std::{
    iter::Sum,
    sync::atomic::{AtomicU64, Ordering},
};

/// How often files were read again since they were read first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reloads {
    /// How often what was read is in force.
    pub succeeded: u64,
    /// How often it could not be used, and the old stayed.
    pub failed: u64,
    /// When the first of the own certificates ends to be valid, in seconds since 1970, if there are
    /// any.
    pub valid_until: Option<u64>,
}

impl Sum for Reloads {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), |sum, one| Self {
            succeeded: sum.succeeded + one.succeeded,
            failed: sum.failed + one.failed,
            valid_until: [sum.valid_until, one.valid_until].into_iter().flatten().min(),
        })
    }
}

/// The same while it is being counted.
#[derive(Debug, Default)]
pub(super) struct ReloadCounts {
    succeeded: AtomicU64,
    failed: AtomicU64,
}

impl ReloadCounts {
    pub(super) fn succeed(&self) {
        self.succeeded.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn fail(&self) {
        self.failed.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn get(&self) -> Reloads {
        let [succeeded, failed] =
            [&self.succeeded, &self.failed].map(|count| count.load(Ordering::Relaxed));
        Reloads { succeeded, failed, valid_until: None }
    }
}
