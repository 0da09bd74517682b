//! Who gets the free slots: stages by turns, a stage's lowest task first, the worker where most of
//! its stores are warm, of those the freest one. Questions have slots of their own.

use std::{collections::BTreeSet, ops::Bound};

use keyloom_common::{AttemptId, StageId, TaskId, WorkerId};

use super::stage::{Phase, Task};
use super::turns::Turn;
use super::{Action, State};

/// How many retries of a stage are looked at for one that a free worker may take. More can only be
/// there if a worker fails task after task; the rest wait behind them.
const RETRIES_SEEN: usize = 32;

impl State {
    /// Launches tasks until no worker has a free slot or no stage has a task for one.
    pub(super) fn assign(&mut self) {
        self.assign_questions();
        let rest = self.assign_to_first_shuffle();
        self.assign_work(rest, Bound::Unbounded);
    }

    /// Launches tasks of stages whose turns lie within these bounds.
    pub(super) fn assign_work(&mut self, after: Bound<Turn>, before: Bound<Turn>) {
        // A stage that has nothing for the workers of this moment keeps its turn and is passed by:
        // slots only get fewer in here. One that is served goes to the back, ahead of the cursor.
        let mut passed = after;
        while self.fleet.has_free_slot() {
            let Some(&turn) = self.turns.work.range((passed, before)).next() else { return };
            passed = Bound::Excluded(turn);
            if let Some((task, worker)) = self.place(turn.1) {
                self.launch(task, worker);
            }
        }
    }

    /// Launches questions while workers take more.
    fn assign_questions(&mut self) {
        let slots = self.settings.question_slots;
        if self.turns.questions.is_empty() {
            return;
        }
        for (_, id) in self.turns.questions.clone() {
            if self.fleet.choose_for_question(slots, &[]).is_none() {
                return;
            }
            while let Some((index, avoided)) = self.next_question(id)
                && let Some(worker) = self.fleet.choose_for_question(slots, &avoided)
            {
                self.launch(TaskId { stage: id, index }, worker);
            }
        }
    }

    /// The next task of a stage of questions, and the workers that are better not asked.
    fn next_question(&self, id: StageId) -> Option<(u32, Vec<WorkerId>)> {
        let stage = self.stages.get(&id)?;
        match stage.retries().next() {
            Some((index, task)) => Some((index, self.avoided(task))),
            None => Some((stage.next_fresh(self.settings.window())?, Vec::new())),
        }
    }

    /// The workers that a task is better not launched on again: those that failed it, and those
    /// that run what was there, too, each time that a worker died of it. Apart, they show which it
    /// is.
    pub(super) fn avoided(&self, task: &Task) -> Vec<WorkerId> {
        let Phase::Queued { choosy_until: Some(_) } = task.phase else { return Vec::new() };
        let company = task.deaths.company.iter().filter_map(|other| {
            match self.stages.get(&other.stage)?.task(other.index)?.phase {
                Phase::Running { worker } => Some(worker),
                Phase::Resting { .. } | Phase::Queued { .. } | Phase::Done => None,
            }
        });
        let avoided: BTreeSet<_> = company.chain(task.failed_on.iter().copied()).collect();
        avoided.into_iter().collect()
    }

    /// The first of a stage's tasks that a worker with a free slot may take, and the worker.
    fn place(&self, id: StageId) -> Option<(TaskId, WorkerId)> {
        let stage = self.stages.get(&id)?;
        let choose = |avoided: &[WorkerId]| self.fleet.choose(avoided, &stage.stores);
        let mut retries = stage.retries().take(RETRIES_SEEN);
        let retry = retries.find_map(|(index, task)| Some((index, choose(&self.avoided(task))?)));
        let (index, worker) = match retry {
            Some(retry) => retry,
            None => (stage.next_fresh(self.settings.window())?, choose(&[])?),
        };
        Some((TaskId { stage: id, index }, worker))
    }

    fn launch(&mut self, task: TaskId, worker: WorkerId) {
        let Some(attempt) = self.start(task, worker) else { return };
        self.actions.push(Action::Launch { worker, attempt });
        self.change(task.stage, |_| ());
    }

    /// Begins the next attempt of a task, which takes a slot of a worker. Whoever asks for it
    /// refreshes the stage.
    pub(super) fn start(&mut self, task: TaskId, worker: WorkerId) -> Option<AttemptId> {
        let stage = self.stages.get_mut(&task.stage)?;
        if let Some(at) = stage.task(task.index).and_then(Task::timer) {
            self.timers.remove(&(at, task));
        }
        let kind = stage.kind;
        if let Some(turn) = stage.turn.take() {
            self.turns.of(kind).remove(&(turn, task.stage));
        }
        let number = stage.start(task.index, worker);
        let attempt = AttemptId { task, number };
        self.fleet.launch(worker, attempt, kind, self.now);
        Some(attempt)
    }
}
