//! How far a job's output is, for whoever asks.

use std::sync::{Mutex, MutexGuard, PoisonError};

use keyloom_common::output::Committed;

/// How far an output is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum OutputState {
    /// The job has none, or has not begun it.
    #[default]
    None,
    /// Tasks write it, and nobody sees any of it.
    Writing,
    /// A worker was asked to make it visible: from now on it only goes forward.
    Committing,
    /// It can be seen.
    Committed(Committed),
}

/// The same, as it changes.
#[derive(Debug, Default)]
pub(crate) struct OutputProgress(Mutex<OutputState>);

impl OutputProgress {
    pub(super) fn set(&self, state: OutputState) {
        *self.lock() = state;
    }

    /// How far it is now.
    pub(crate) fn state(&self) -> OutputState {
        self.lock().clone()
    }

    /// What can be seen of it.
    pub(crate) fn committed(&self) -> Option<Committed> {
        match self.state() {
            OutputState::Committed(committed) => Some(committed),
            OutputState::None | OutputState::Writing | OutputState::Committing => None,
        }
    }

    fn lock(&self) -> MutexGuard<'_, OutputState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
