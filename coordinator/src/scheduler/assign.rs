//! Who gets the free slots: stages by turns, a stage's lowest task first, the freest worker.

use std::ops::Bound;

use keyloom_common::{AttemptId, StageId, TaskId, WorkerId};

use super::stage::Task;
use super::{Action, State};

/// How many retries of a stage are looked at for one that a free worker may take. More can only be
/// there if a worker fails task after task; the rest wait behind them.
const RETRIES_SEEN: usize = 32;

impl State {
    /// Launches tasks until no worker has a free slot or no stage has a task for one.
    pub(super) fn assign(&mut self) {
        // A stage that has nothing for the workers of this moment keeps its turn and is passed by:
        // slots only get fewer in here. One that is served goes to the back, ahead of the cursor.
        let mut passed = Bound::Unbounded;
        while self.fleet.has_free_slot() {
            let Some(&turn) = self.turns.range((passed, Bound::Unbounded)).next() else { return };
            passed = Bound::Excluded(turn);
            if let Some((task, worker)) = self.place(turn.1) {
                self.launch(task, worker);
            }
        }
    }

    /// The first of a stage's tasks that a worker with a free slot may take, and the worker.
    fn place(&self, id: StageId) -> Option<(TaskId, WorkerId)> {
        let stage = self.stages.get(&id)?;
        let mut retries = stage.retries().take(RETRIES_SEEN);
        let retry =
            retries.find_map(|(index, task)| Some((index, self.fleet.choose(&task.failed_on)?)));
        let (index, worker) = match retry {
            Some(retry) => retry,
            None => (stage.next_fresh(self.settings.window())?, self.fleet.choose(&[])?),
        };
        Some((TaskId { stage: id, index }, worker))
    }

    fn launch(&mut self, task: TaskId, worker: WorkerId) {
        let Some(stage) = self.stages.get_mut(&task.stage) else { return };
        if let Some(at) = stage.task(task.index).and_then(Task::timer) {
            self.timers.remove(&(at, task));
        }
        if let Some(turn) = stage.turn.take() {
            self.turns.remove(&(turn, task.stage));
        }
        let number = stage.start(task.index, worker);
        let attempt = AttemptId { task, number };
        self.fleet.launch(worker, attempt);
        self.actions.push(Action::Launch { worker, attempt });
        self.change(task.stage, |_| ());
    }
}
