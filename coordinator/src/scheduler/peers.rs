//! Workers that take part in attempts of others, and are lost. What fails for that is not its
//! task's doing: it counts as the loss of a worker that ran the task, whichever is known first,
//! that the worker is gone or that the attempt failed.

use std::collections::BTreeSet;

use keyloom_common::{AttemptId, TaskId, WorkerId};

use super::{StageKind, State};

/// A worker that took part in an attempt, and is gone.
#[derive(Debug)]
pub(super) struct LostPeer {
    /// The attempt's number.
    number: u32,
    /// The tasks that it ran, or took part in.
    pub(super) tasks: BTreeSet<TaskId>,
    /// Why it died; none if it had said that it would go.
    pub(super) reason: Option<String>,
}

impl State {
    /// Notes what a worker that is gone was to shuffles: to attempts that run, which may end well
    /// all the same, and to those that failed before it was known to be gone.
    pub(super) fn lose_peer(
        &mut self,
        peer: WorkerId,
        beside: &BTreeSet<AttemptId>,
        tasks: &BTreeSet<TaskId>,
        reason: Option<&String>,
    ) {
        for AttemptId { task: TaskId { stage, index }, number } in beside.iter().copied() {
            let task = self.stages.get_mut(&stage).and_then(|stage| stage.task_mut(index));
            let Some(task) = task.filter(|task| task.number == number) else { continue };
            // Of several that are lost, the first one is counted.
            if task.lost_peer.as_ref().is_none_or(|lost| lost.number != number) {
                let (tasks, reason) = (tasks.clone(), reason.cloned());
                task.lost_peer = Some(LostPeer { number, tasks, reason });
            }
        }
        for id in self.excuse(peer) {
            // Of one that it takes part in again, it is counted with that attempt.
            if let Some(reason) = reason
                && !tasks.contains(&id)
            {
                self.outlives(id, tasks, reason);
            }
        }
    }

    /// Takes back what counts against shuffles of attempts that failed with this peer, and says
    /// against which.
    fn excuse(&mut self, peer: WorkerId) -> Vec<TaskId> {
        let is_shuffle = |kind: StageKind| matches!(kind, StageKind::Shuffle { .. });
        let shuffles = self.stages.iter_mut().filter(|(_, stage)| is_shuffle(stage.kind));
        let excused = shuffles.flat_map(|(id, stage)| {
            let tasks = stage.excuse(peer).into_iter();
            tasks.map(move |index| TaskId { stage: *id, index })
        });
        excused.collect()
    }

    /// The peer that an attempt has lost, if it has.
    pub(super) fn take_lost_peer(&mut self, attempt: AttemptId) -> Option<LostPeer> {
        let stage = self.stages.get_mut(&attempt.task.stage)?;
        let task = stage.task_mut(attempt.task.index)?;
        task.lost_peer.take_if(|lost| lost.number == attempt.number)
    }
}
