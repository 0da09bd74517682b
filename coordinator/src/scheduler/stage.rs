//! One stage's tasks: which wait, which run, which are done.
//!
//! A task that was never launched is only a number in `fresh`; one that is done and consumed is
//! forgotten. So `tasks` is the window, and its length is what the window bounds.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use keyloom_common::{AttemptId, TaskId, WorkerId};

use super::StageKind;
use super::peers::LostPeer;
use super::warmth::{STORES_OF_A_STAGE, StoreDigest};

/// Where a launched task stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// It rests after a transient error.
    Resting { until: Duration },
    /// It waits for a slot; until then, if said, for one of a worker that has not failed it.
    Queued { choosy_until: Option<Duration> },
    /// Its current attempt runs.
    Running { worker: WorkerId },
    /// Its latest attempt counts.
    Done,
}

/// The workers that died while they ran a task, or took part in it.
#[derive(Debug, Default)]
pub(super) struct Deaths {
    pub(super) count: u32,
    /// The tasks that were there each time.
    pub(super) company: BTreeSet<TaskId>,
}

impl Deaths {
    /// Counts one, with the tasks that it ran beside.
    pub(super) fn add(&mut self, beside: BTreeSet<TaskId>) {
        if self.count == 0 {
            self.company = beside;
        } else {
            self.company.retain(|task| beside.contains(task));
        }
        self.count += 1;
    }

    /// Whether the task is likely their cause: it kills whatever worker it runs on. Each other
    /// worker of the so many that died lately, all in all, speaks for another cause.
    pub(super) fn are_its_own(&self, lately: usize, bound: u32) -> bool {
        let count = self.count as usize;
        let excused = lately.saturating_sub(count);
        let bound = if self.company.is_empty() { bound } else { bound.saturating_mul(2) };
        count >= (bound as usize).saturating_add(excused)
    }
}

/// A task from its first launch until it is done and consumed.
#[derive(Debug)]
pub(super) struct Task {
    pub(super) phase: Phase,
    /// The number of its latest attempt.
    pub(super) number: u32,
    pub(super) deaths: Deaths,
    pub(super) failures: u32,
    /// How often it was put off.
    pub(super) put_offs: u32,
    /// Workers that failed it, and that a retry avoids.
    pub(super) failed_on: Vec<WorkerId>,
    /// Who took part in each of the attempts that count as failures, if anybody did.
    pub(super) failed_beside: Vec<Vec<WorkerId>>,
    /// A worker that takes part in an attempt at it, and is gone.
    pub(super) lost_peer: Option<LostPeer>,
    consumed: bool,
}

impl Task {
    /// When this task has to be looked at again.
    pub(super) fn timer(&self) -> Option<Duration> {
        match self.phase {
            Phase::Resting { until } => Some(until),
            Phase::Queued { choosy_until } => choosy_until,
            Phase::Running { .. } | Phase::Done => None,
        }
    }
}

/// The tasks of one stage.
#[derive(Debug, Default)]
pub(super) struct Stage {
    pub(super) kind: StageKind,
    /// What its tasks look up.
    pub(super) stores: Vec<StoreDigest>,
    tasks: BTreeMap<u32, Task>,
    /// Never launched, lowest first.
    fresh: VecDeque<u32>,
    /// Launched before and waiting for a slot. They go first, and are lower than all of `fresh`.
    again: BTreeSet<u32>,
    /// All tasks ever added have lower indices.
    end: u64,
    pub(super) closed: bool,
    pub(super) resting: usize,
    pub(super) running: usize,
    pub(super) done: usize,
    /// The number of a task's first attempt.
    pub(super) first_attempt: u32,
    /// How many workers died that ran tasks of it, not for their first time, since one ended well.
    pub(super) losses: u32,
    /// The task whose rows its reader takes next, if it reads in order.
    pub(super) due: Option<u32>,
    /// Its key in the state's order of turns.
    pub(super) turn: Option<u64>,
    /// Its key in the state's index of stages with tasks to launch.
    pub(super) waiting_since: Option<Duration>,
}

impl Stage {
    pub(super) fn new(kind: StageKind, mut stores: Vec<StoreDigest>) -> Self {
        stores.truncate(STORES_OF_A_STAGE);
        Self { kind, stores, ..Self::default() }
    }

    /// Adds a task, unless the stage is closed or has passed its index.
    pub(super) fn add(&mut self, index: u32) {
        if self.closed || u64::from(index) < self.end {
            return;
        }
        self.end = u64::from(index) + 1;
        self.fresh.push_back(index);
    }

    pub(super) fn task(&self, index: u32) -> Option<&Task> {
        self.tasks.get(&index)
    }

    pub(super) fn task_mut(&mut self, index: u32) -> Option<&mut Task> {
        self.tasks.get_mut(&index)
    }

    pub(super) fn tasks(&self) -> impl Iterator<Item = (u32, &Task)> {
        self.tasks.iter().map(|(index, task)| (*index, task))
    }

    /// Tasks to launch again, lowest first.
    pub(super) fn retries(&self) -> impl Iterator<Item = (u32, &Task)> {
        self.again.iter().filter_map(|index| Some((*index, self.tasks.get(index)?)))
    }

    /// The lowest task that was never launched, if the window has room for it.
    pub(super) fn next_fresh(&self, window: usize) -> Option<u32> {
        if self.tasks.len() < window { self.fresh.front().copied() } else { None }
    }

    /// Whether a task may be launched as soon as there is a slot.
    pub(super) fn is_ready(&self, window: usize) -> bool {
        !self.again.is_empty() || self.next_fresh(window).is_some()
    }

    /// Tasks that neither run nor are done.
    pub(super) fn pending(&self) -> usize {
        self.fresh.len() + self.again.len() + self.resting
    }

    /// Whether nothing more can come of the stage.
    pub(super) fn is_over(&self) -> bool {
        self.closed && self.fresh.is_empty() && self.tasks.is_empty()
    }

    /// Whether this attempt runs, or its output counts and may still be wanted.
    pub(super) fn counts(&self, attempt: AttemptId) -> bool {
        let task = self.tasks.get(&attempt.task.index);
        let is_wanted = |task: &Task| matches!(task.phase, Phase::Running { .. } | Phase::Done);
        task.is_some_and(|task| is_wanted(task) && task.number == attempt.number)
    }

    /// Begins the next attempt of a task from `fresh` or `again`, and gives its number.
    pub(super) fn start(&mut self, index: u32, worker: WorkerId) -> u32 {
        if self.fresh.front() == Some(&index) {
            self.fresh.pop_front();
        }
        self.again.remove(&index);
        self.running += 1;
        let phase = Phase::Running { worker };
        let retry = self.tasks.get_mut(&index).map(|task| {
            task.phase = phase;
            task.number += 1;
            task.number
        });
        retry.unwrap_or_else(|| {
            let number = self.first_attempt;
            let task = Task {
                phase,
                number,
                deaths: Deaths::default(),
                failures: 0,
                put_offs: 0,
                failed_on: Vec::new(),
                failed_beside: Vec::new(),
                lost_peer: None,
                consumed: false,
            };
            self.tasks.insert(index, task);
            number
        })
    }

    /// Moves a running or resting task to another phase.
    pub(super) fn shift(&mut self, index: u32, to: Phase) {
        let Some(task) = self.tasks.get_mut(&index) else { return };
        match task.phase {
            Phase::Resting { .. } => self.resting -= 1,
            Phase::Running { .. } => self.running -= 1,
            Phase::Queued { .. } | Phase::Done => return,
        }
        task.phase = to;
        match to {
            Phase::Resting { .. } => self.resting += 1,
            Phase::Running { .. } => self.running += 1,
            Phase::Queued { .. } => {
                self.again.insert(index);
            }
            Phase::Done => {
                self.done += 1;
                if task.consumed {
                    self.tasks.remove(&index);
                }
            }
        }
    }

    /// Takes back what counts of attempts that failed and in which this worker took part, and says
    /// of which tasks that are not done.
    pub(super) fn excuse(&mut self, peer: WorkerId) -> Vec<u32> {
        let mut excused = Vec::new();
        for (index, task) in &mut self.tasks {
            let counted = task.failed_beside.len();
            task.failed_beside.retain(|peers| !peers.contains(&peer));
            let taken_back = counted - task.failed_beside.len();
            if taken_back > 0 && task.phase != Phase::Done {
                task.failures = task.failures.saturating_sub(taken_back as u32);
                excused.push(*index);
            }
        }
        excused
    }

    /// Lets any worker take a queued task.
    pub(super) fn drop_choice(&mut self, index: u32) {
        let Some(task) = self.tasks.get_mut(&index) else { return };
        task.failed_on.clear();
        task.phase = Phase::Queued { choosy_until: None };
    }

    /// Gives back a task's place in the window. A reader may be through with a task just before
    /// the report of its end is here: then the place is given back with that.
    pub(super) fn consume(&mut self, index: u32) {
        let Some(task) = self.tasks.get_mut(&index) else { return };
        task.consumed = true;
        if task.phase == Phase::Done {
            self.tasks.remove(&index);
        }
    }
}
