//! Who gets slots of several workers at once: shuffles, each when its turn has come.
//!
//! Slots are kept for the first in turn alone, and only from what comes after it. So nobody waits
//! for ever: not a shuffle for a moment at which many workers are free by chance, nor small tasks
//! for the end of all shuffles, nor one shuffle for what another one has.

use std::{ops::Bound, time::Duration};

use keyloom_common::{StageId, TaskId, WorkerId};

use super::turns::Turn;
use super::{Action, StageKind, State};

/// So many workers shuffle at least; one alone has nobody to send rows to.
const FEWEST: usize = 2;

impl State {
    /// Begins the shuffles for which there are slots, each after the work that is before it in
    /// turn, and keeps slots for the first for which there are not enough. Says from where on work
    /// is left.
    pub(super) fn assign_to_first_shuffle(&mut self) -> Bound<Turn> {
        loop {
            let first = self.turns.shuffles.first().copied();
            // The one that they were kept for may have begun, or be gone.
            if self.kept_for.is_some_and(|(of, _)| first.is_none_or(|(_, id)| id != of)) {
                self.keep_slots(None);
            }
            let Some(turn) = first else { return Bound::Unbounded };
            if self.turns.work.first().is_some_and(|work| *work < turn) {
                self.fleet.keep_slots(false);
                self.assign_work(Bound::Unbounded, Bound::Excluded(turn));
            }
            if !self.begin_together(turn.1) {
                return Bound::Excluded(turn);
            }
        }
    }

    /// Begins a shuffle, or keeps the slots that there are for it.
    fn begin_together(&mut self, id: StageId) -> bool {
        let since = self.kept_for.map_or(self.now, |(_, since)| since);
        // What is kept is kept for this one.
        self.fleet.keep_slots(false);
        match self.place_together(id, since) {
            Some((task, workers)) => {
                self.keep_slots(None);
                self.launch_together(task, workers);
                true
            }
            None => {
                self.keep_slots(Some((id, since)));
                false
            }
        }
    }

    fn keep_slots(&mut self, kept_for: Option<(StageId, Duration)>) {
        self.fleet.keep_slots(kept_for.is_some());
        self.kept_for = kept_for;
    }

    /// The next task of a shuffle whose turn it is since then, and the workers that begin it now,
    /// the one that leads it first. No slot is kept from it.
    fn place_together(&self, id: StageId, since: Duration) -> Option<(TaskId, Vec<WorkerId>)> {
        let stage = self.stages.get(&id)?;
        let StageKind::Shuffle { workers } = stage.kind else { return None };
        let (index, avoided) = match stage.retries().next() {
            Some((index, task)) => (index, self.avoided(task)),
            None => (stage.next_fresh(self.settings.window())?, Vec::new()),
        };
        let task = TaskId { stage: id, index };
        let wanted = self.fleet.shufflers().min(workers as usize);
        if wanted < FEWEST {
            let alone = self.fleet.choose(&avoided, &stage.stores)?;
            return Some((task, vec![alone]));
        }
        let least = if self.shuffle_waits_until(since) <= self.now { FEWEST } else { wanted };
        let together = || self.fleet.choose_together(wanted, &avoided, &stage.stores);
        (self.fleet.free_shufflers() >= least).then(|| (task, together()))
    }

    /// Until when a shuffle waits for all its workers, whose turn it is since then.
    pub(super) fn shuffle_waits_until(&self, since: Duration) -> Duration {
        since.saturating_add(self.settings.shuffle_wait())
    }

    fn launch_together(&mut self, task: TaskId, workers: Vec<WorkerId>) {
        let Some((&leader, peers)) = workers.split_first() else { return };
        let Some(attempt) = self.start(task, leader) else { return };
        self.fleet.lend(attempt, peers);
        self.actions.push(Action::LaunchTogether { workers, attempt });
        self.change(task.stage, |_| ());
    }
}
