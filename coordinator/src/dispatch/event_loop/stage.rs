//! What the loop keeps of a stage: its reader, the work of its tasks, and the attempts at them.

use std::{collections::HashMap, time::Instant};

use keyloom_common::{AttemptId, WorkerId, rpc::Work, trace::TraceParent};
use tokio::sync::mpsc;

use crate::{
    dispatch::{Incident, StageUpdate},
    scheduler::StageKind,
};

/// What the loop keeps of a stage: who reads it, and the work of its tasks.
pub(super) struct StageEntry {
    pub(super) kind: StageKind,
    pub(super) updates: mpsc::UnboundedSender<StageUpdate>,
    pub(super) work: HashMap<u32, Work>,
    /// What its tasks are done for.
    pub(super) trace: Option<TraceParent>,
    /// The attempts at tasks that are not done, by their tasks.
    pub(super) launched: HashMap<u32, Vec<Launched>>,
}

/// An attempt that was launched, as far as its end is known.
#[derive(Debug)]
pub(super) struct Launched {
    pub(super) attempt: AttemptId,
    /// The one that reports its end, and then the others of a shuffle.
    pub(super) workers: Vec<WorkerId>,
    pub(super) at: Instant,
    pub(super) end: Option<End>,
}

/// How an attempt ended that does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Failed,
    /// It was stopped, as one is for whose rows there is no room.
    Stopped,
}

impl StageEntry {
    /// Tells whoever reads it.
    pub(super) fn tell(&self, incident: Incident) {
        // A reader that is gone cancels its stage.
        let _ = self.updates.send(StageUpdate::Met(incident));
    }

    /// The tasks that a worker ran which is gone: that is the end of their attempts.
    pub(super) fn lose(&mut self, worker: WorkerId) -> Vec<u32> {
        let mut tasks = Vec::new();
        for (task, attempts) in &mut self.launched {
            let runs = |last: &&mut Launched| last.end.is_none() && last.workers.contains(&worker);
            if let Some(lost) = attempts.last_mut().filter(runs) {
                lost.end = Some(End::Failed);
                tasks.push(*task);
            }
        }
        tasks.sort_unstable();
        tasks
    }
}
