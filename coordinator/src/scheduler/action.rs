//! What the scheduler asks for: the loop carries it out, in order.

use std::time::Duration;

use keyloom_common::{AttemptId, Error, StageId, WorkerId};

/// How a worker went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Departure {
    /// As it had said, when it had nothing left to run.
    Drained,
    /// It was not heard of for too long.
    Silent,
    /// Its connection closed.
    Disconnected,
}

/// Something to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Start an attempt on a worker.
    Launch {
        /// A registered worker with a free slot.
        worker: WorkerId,
        /// The attempt.
        attempt: AttemptId,
    },
    /// Start an attempt at a shuffle on the first of these workers, with the others.
    LaunchTogether {
        /// Registered workers each of which gave it a slot, until its end. One alone shuffles with
        /// nobody.
        workers: Vec<WorkerId>,
        /// The attempt.
        attempt: AttemptId,
    },
    /// Tell a worker to stop an attempt. The worker reports its end as it would any other.
    Revoke {
        /// The worker that runs it.
        worker: WorkerId,
        /// The attempt.
        attempt: AttemptId,
    },
    /// The output of this attempt is the one that counts. At most one a task.
    TaskDone {
        /// The attempt.
        attempt: AttemptId,
    },
    /// The output of this attempt is to be thrown away. May come twice for an attempt, but never
    /// for one that runs, or whose output counts and is not consumed.
    Discard {
        /// The attempt.
        attempt: AttemptId,
    },
    /// A stage is lost. What ran of it is revoked by the actions that follow, and it is forgotten:
    /// all its output is to be thrown away.
    StageFailed {
        /// The stage.
        stage: StageId,
        /// Why.
        error: Error,
    },
    /// A worker is no longer registered: drop what is queued for it, which it is told when it asks
    /// for orders. Its attempts are dealt with by other actions.
    WorkerGone {
        /// Its life.
        worker: WorkerId,
        /// How it went.
        how: Departure,
        /// Why, in words.
        reason: String,
    },
    /// A stage has tasks to launch and there is no worker. Said once each time this begins.
    Waiting {
        /// The stage.
        stage: StageId,
        /// How many tasks wait.
        tasks: usize,
        /// When the stage fails if no worker registers.
        fails_at: Duration,
    },
}
