//! The scheduler: decides which worker runs which attempt of which task, as a pure state machine.
//!
//! [`State::on_event`] is the only way in, and its actions the only way out. There is no clock, no
//! I/O and no randomness inside: equal events at equal times give equal actions. Time is the
//! [`Duration`](std::time::Duration) since an epoch that the loop chooses once; time that runs
//! backwards stands still.
//!
//! What holds after every event:
//!
//! - A task has at most one current attempt, and exactly one attempt of it gets
//!   [`Action::TaskDone`]. Every other report is refused with [`Action::Discard`].
//! - A worker never holds more attempts at tasks that compute than it has slots, those that it runs
//!   for another one's shuffle among them, and at questions than `question_slots`. Attempts that
//!   only wait until what they write is stored take no slots, up to as many as it has.
//! - An attempt at a shuffle has the slots of all its workers from its launch on, and gives all back
//!   at once, with the slot of the worker that leads it. Slots are kept for one shuffle at a time,
//!   the first in turn, so that no two wait for what the other has; and no longer than
//!   `shuffle_wait_ms` for more than two.
//! - A stage has at most `max_tasks_ahead` tasks between their first launch and their consumption.
//!   A task keeps its place there while it waits for a retry: were it given away, tasks behind it
//!   could fill the window, and a reader in task order would wait forever.
//! - What a shuffle's attempt loses with a worker that takes part in it counts as the death of a
//!   worker, and never as a failure of its own.
//! - Where a task's stores are warm decides among workers with free slots alone: nothing waits for
//!   that.
//! - What a worker says that it runs and what it should run become the same: what it should not run
//!   is revoked, and what it does not run any more is lost.
//! - Every wait ends: on a worker by its heartbeat, on an attempt by its worker's word, on a retry
//!   by counts, on a missing worker and on a revoked attempt by time.

/// The attempts at the tasks of a job that was resumed so often have numbers from so many times
/// this on.
pub(crate) const ATTEMPTS_OF_A_RUN: u32 = 10_000;

mod action;
mod assign;
mod event;
mod fleet;
mod outcome;
mod peers;
mod settings;
mod slots;
mod stage;
mod state;
mod status;
#[cfg(test)]
mod tests;
mod together;
mod turns;
mod warmth;

pub(crate) use action::{Action, Departure};
pub(crate) use event::{Event, StageKind};
pub use settings::Settings;
pub(crate) use state::State;
pub(crate) use status::{Load, WorkerStatus};
pub(crate) use warmth::StoreDigest;
