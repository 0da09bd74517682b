//! What a storage owes and what it answered: whoever asks it writes, and who watches over it reads.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// What a storage owes, and what it answered.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    owed: AtomicUsize,
    answers: AtomicU64,
    /// Since the last answer.
    refusals: AtomicU64,
}

/// An answer that is owed until this is dropped.
#[derive(Debug)]
pub(super) struct Owed<'a>(&'a Ledger);

impl Ledger {
    pub(super) fn owe(&self) -> Owed<'_> {
        self.owed.fetch_add(1, Ordering::Relaxed);
        Owed(self)
    }

    /// Something came: an answer, or a part of one.
    pub(super) fn answered(&self) {
        self.answers.fetch_add(1, Ordering::Relaxed);
        self.refusals.store(0, Ordering::Relaxed);
    }

    /// A request was refused because too much is asked, which is no answer. How many were before
    /// it.
    pub(super) fn refused(&self) -> u64 {
        self.refusals.fetch_add(1, Ordering::Relaxed)
    }

    /// Whether something is owed now.
    pub(super) fn is_owed(&self) -> bool {
        self.owed.load(Ordering::Relaxed) > 0
    }

    /// How often it was refused since the last answer.
    pub(super) fn refusals(&self) -> u64 {
        self.refusals.load(Ordering::Relaxed)
    }

    pub(super) fn answers(&self) -> u64 {
        self.answers.load(Ordering::Relaxed)
    }
}

impl Drop for Owed<'_> {
    fn drop(&mut self) {
        self.0.owed.fetch_sub(1, Ordering::Relaxed);
    }
}
