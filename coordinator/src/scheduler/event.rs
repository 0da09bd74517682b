//! What the scheduler is told: all that can change its state.

use keyloom_common::{AttemptId, Error, StageId, TaskId, WorkerId};

use super::StoreDigest;

/// What the tasks of a stage are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum StageKind {
    /// Parts of a job, which take the slots of workers.
    #[default]
    Work,
    /// Parts of a job that several workers run together: each takes a slot of one of those that
    /// shuffle, which leads it, and of its peers, all at once.
    Shuffle {
        /// The most workers that have something to do.
        workers: u32,
    },
    /// Questions that somebody waits for, such as a store's columns: they are short, and wait for
    /// no slot that a task has.
    Question,
}

impl StageKind {
    /// Whether its tasks wait for no slot.
    pub(crate) fn is_question(self) -> bool {
        matches!(self, Self::Question)
    }
}

/// Something that happened.
///
/// An event that names a worker, stage or task that the state does not know (any more) is ignored;
/// a report of an attempt is then answered with [`Action::Discard`](super::Action::Discard), unless
/// another worker runs that attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// A worker registered. Ignored if this life is already registered.
    WorkerJoined {
        /// Its life.
        worker: WorkerId,
        /// How many attempts it runs at a time. 0 counts as 1: a worker that takes nothing would
        /// keep jobs waiting without end.
        slots: u32,
        /// Whether others reach it to shuffle.
        shuffles: bool,
    },
    /// A worker said that it lives, and which attempts it has.
    Heartbeat {
        /// Its life.
        worker: WorkerId,
        /// The attempts whose ends it has not reported.
        attempts: Vec<AttemptId>,
    },
    /// A worker's connection closed.
    WorkerLeft {
        /// Its life.
        worker: WorkerId,
        /// Why, for the error of a task that dies with its workers.
        reason: String,
    },
    /// A worker asked to leave: it gets nothing new, and goes once it has reported what it runs.
    WorkerDraining {
        /// Its life.
        worker: WorkerId,
    },
    /// A stage begins; its tasks follow. A stage's id is never used twice.
    StageOpened {
        /// The stage.
        stage: StageId,
        /// What its tasks are.
        kind: StageKind,
        /// What its tasks look up, each store once: of the workers with a free slot, one where most
        /// of it is warm is better.
        stores: Vec<StoreDigest>,
    },
    /// The first attempts at tasks of a stage that are added from now on have this number.
    AttemptsNumbered {
        /// The stage.
        stage: StageId,
        /// The number.
        from: u32,
    },
    /// A stage has one more task. Indices ascend: one that does not is ignored as a repetition.
    TaskAdded {
        /// The task.
        task: TaskId,
    },
    /// A stage has all its tasks. It is forgotten once each of them is done and consumed, which
    /// may be now. Stopping early is [`Event::StageCancelled`].
    StageClosed {
        /// The stage.
        stage: StageId,
    },
    /// Nobody wants a stage any more: what runs of it is revoked, and it is forgotten.
    StageCancelled {
        /// The stage.
        stage: StageId,
    },
    /// An attempt has computed all that it writes, and waits until that is stored.
    TaskComputed {
        /// The worker that runs it.
        worker: WorkerId,
        /// The attempt.
        attempt: AttemptId,
    },
    /// A worker ended an attempt, and all its output is there.
    TaskFinished {
        /// The worker that ran it.
        worker: WorkerId,
        /// The attempt.
        attempt: AttemptId,
    },
    /// A worker ended an attempt with an error. A worker that stops a revoked attempt reports it
    /// like this too, and so gives back the slot.
    TaskFailed {
        /// The worker that ran it.
        worker: WorkerId,
        /// The attempt.
        attempt: AttemptId,
        /// What went wrong; its kind decides about a retry.
        error: Error,
    },
    /// An attempt was stopped because there was no room for its rows. It is made again later, and
    /// nothing counts against its task.
    TaskPutOff {
        /// The worker that ran it.
        worker: WorkerId,
        /// The attempt.
        attempt: AttemptId,
    },
    /// The reader of a stage takes this task's rows next: there is room for them.
    TaskDue {
        /// The task.
        task: TaskId,
    },
    /// A task's output was handed on, so that it no longer counts against the window.
    TaskConsumed {
        /// The task.
        task: TaskId,
    },
    /// Time passed. Silent workers and stages without workers are judged here and nowhere else, so
    /// a loop that was held up feeds the heartbeats that queued before it ticks.
    Tick,
}
