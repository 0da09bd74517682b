//! A look at the stages, for tests alone: the loop needs none.

use keyloom_common::StageId;

use crate::scheduler::{stage::Stage, state::State};

/// The tasks of one stage, counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StageStatus {
    /// The stage.
    pub stage: StageId,
    /// Tasks that wait: for a slot, for the window, or before a retry.
    pub pending: usize,
    /// Tasks whose current attempt runs.
    pub running: usize,
    /// Tasks whose output counts, consumed or not.
    pub done: usize,
    /// Whether all its tasks are known.
    pub closed: bool,
}

impl State {
    /// The stages that are not forgotten, by id.
    pub(crate) fn stages(&self) -> impl Iterator<Item = StageStatus> {
        self.stages.iter().map(|(id, stage)| stage_status(*id, stage))
    }

    /// One stage, unless it is unknown or forgotten.
    pub(crate) fn stage(&self, id: StageId) -> Option<StageStatus> {
        self.stages.get(&id).map(|stage| stage_status(id, stage))
    }
}

fn stage_status(id: StageId, stage: &Stage) -> StageStatus {
    StageStatus {
        stage: id,
        pending: stage.pending(),
        running: stage.running,
        done: stage.done,
        closed: stage.closed,
    }
}
