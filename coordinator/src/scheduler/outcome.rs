//! What becomes of a task when an attempt ends: done, again, or the end of its stage.
//!
//! An attempt that holds a slot as running is the current one of its task; that is the fence.

use std::collections::BTreeSet;

use keyloom_common::{AttemptId, Error, TaskId, WorkerId};

use super::fleet::Held;
use super::stage::Phase;
use super::{Action, State};

impl State {
    pub(super) fn finished(&mut self, worker: WorkerId, attempt: AttemptId) {
        if self.accepts(worker, attempt) {
            self.actions.push(Action::TaskDone { attempt });
            if let Some(stage) = self.stages.get(&attempt.task.stage) {
                self.fleet.warmth.note(worker, &stage.stores);
            }
            self.change(attempt.task.stage, |stage| {
                stage.losses = 0;
                stage.shift(attempt.task.index, Phase::Done);
            });
        }
    }

    pub(super) fn failed(&mut self, worker: WorkerId, attempt: AttemptId, error: Error) {
        let peers = self.fleet.peers(attempt);
        if !self.accepts(worker, attempt) {
            return;
        }
        if error.kind().is_transient()
            && let Some(lost) = self.take_lost_peer(attempt)
        {
            self.died(attempt, &lost.tasks, lost.reason.as_ref());
            return;
        }
        let AttemptId { task: TaskId { stage, index }, .. } = attempt;
        self.actions.push(Action::Discard { attempt });
        if !error.kind().is_transient() {
            self.fail(stage, error);
            return;
        }
        let task = self.stages.get_mut(&stage).and_then(|stage| stage.task_mut(index));
        let Some(task) = task else { return };
        task.failures += 1;
        if !task.failed_on.contains(&worker) {
            task.failed_on.push(worker);
        }
        if !peers.is_empty() {
            task.failed_beside.push(peers);
        }
        let failures = task.failures;
        if failures >= self.settings.max_task_attempts {
            let doing = format!("task {} failed in {failures} attempts; last", attempt.task);
            self.fail(stage, error.context(doing));
            return;
        }
        let until = self.now.saturating_add(self.settings.backoff(failures));
        self.timers.insert((until, attempt.task));
        self.change(stage, |stage| stage.shift(index, Phase::Resting { until }));
    }

    /// Takes an attempt from a worker that is gone, and ran these tasks, or from one whose peer is
    /// gone. If that died, and did not only go, that may be the task's doing.
    pub(super) fn died(
        &mut self,
        attempt: AttemptId,
        tasks: &BTreeSet<TaskId>,
        reason: Option<&String>,
    ) {
        self.actions.push(Action::Discard { attempt });
        if reason.is_none_or(|reason| self.outlives(attempt.task, tasks, reason)) {
            self.queue(attempt.task);
        }
    }

    /// Counts the death of a worker against a task that it ran among these, or took part in, and
    /// ends the stage if there are too many. Whether it goes on.
    pub(super) fn outlives(&mut self, id: TaskId, tasks: &BTreeSet<TaskId>, reason: &str) -> bool {
        // Another of the worker's tasks may have ended the stage a moment ago.
        let task = self.stages.get_mut(&id.stage).and_then(|stage| stage.task_mut(id.index));
        let Some(task) = task else { return false };
        task.deaths.add(tasks.iter().copied().filter(|other| *other != id).collect());
        let count = task.deaths.count;
        let is_cause = task.deaths.are_its_own(self.losses.len(), self.settings.max_task_deaths);
        if !is_cause && count < self.settings.max_task_losses {
            return true;
        }
        let message = format!(
            "task {id} was running on {count} workers when they died (scheduler.max_task_deaths, \
             max_task_losses); last: {reason}"
        );
        self.fail(id.stage, Error::unavailable(message));
        false
    }

    /// Lets a task rest for whose rows there is no room.
    pub(super) fn put_off(&mut self, worker: WorkerId, attempt: AttemptId) {
        if !self.accepts(worker, attempt) {
            return;
        }
        self.actions.push(Action::Discard { attempt });
        let TaskId { stage, index } = attempt.task;
        let is_due = self.stages.get(&stage).is_some_and(|stage| stage.due == Some(index));
        let task = self.stages.get_mut(&stage).and_then(|stage| stage.task_mut(index));
        let Some(task) = task else { return };
        let times = if is_due { 0 } else { task.put_offs };
        let until = self.now.saturating_add(self.settings.put_off(times));
        task.put_offs += 1;
        self.timers.insert((until, attempt.task));
        self.change(stage, |stage| stage.shift(index, Phase::Resting { until }));
    }

    /// Ends the rest of a task that was put off and whose rows are due now: there is room for
    /// those.
    pub(super) fn due(&mut self, id: TaskId) {
        let Some(stage) = self.stages.get_mut(&id.stage) else { return };
        stage.due = Some(id.index);
        let Some(task) = stage.task(id.index).filter(|task| task.put_offs > 0) else { return };
        let Phase::Resting { until } = task.phase else { return };
        self.timers.remove(&(until, id));
        self.queue(id);
    }

    /// Ends the rests, and the choices of workers, whose time has come; and takes back the slots
    /// of revoked attempts that were not reported.
    pub(super) fn run_timers(&mut self) {
        self.fleet.expire(self.now);
        while let Some(&(at, task)) = self.timers.first()
            && at <= self.now
        {
            self.timers.pop_first();
            let stage = self.stages.get(&task.stage);
            match stage.and_then(|stage| stage.task(task.index)).map(|task| task.phase) {
                Some(Phase::Resting { .. }) => self.queue(task),
                Some(Phase::Queued { .. }) => {
                    self.change(task.stage, |stage| stage.drop_choice(task.index));
                }
                Some(Phase::Running { .. } | Phase::Done) | None => {}
            }
        }
    }

    /// Puts a task in front of its stage's queue.
    fn queue(&mut self, id: TaskId) {
        let stage = self.stages.get(&id.stage);
        let task = stage.and_then(|stage| stage.task(id.index));
        // Waiting for a better worker is bounded: the others may be busy for hours.
        let choosy_until = task
            .filter(|task| !task.failed_on.is_empty() || !task.deaths.company.is_empty())
            .map(|_| self.now.saturating_add(self.settings.retry_elsewhere()));
        if let Some(until) = choosy_until {
            self.timers.insert((until, id));
        }
        self.change(id.stage, |stage| stage.shift(id.index, Phase::Queued { choosy_until }));
    }

    /// Takes back the slot of an attempt that ended, and says whether its end matters. If not, its
    /// output is refused, unless this only repeats the report that made it count, or another worker
    /// runs it.
    fn accepts(&mut self, worker: WorkerId, attempt: AttemptId) -> bool {
        if matches!(self.fleet.release(worker, attempt), Some(Held::Running { .. })) {
            return true;
        }
        let stage = self.stages.get(&attempt.task.stage);
        if !stage.is_some_and(|stage| stage.counts(attempt)) {
            self.actions.push(Action::Discard { attempt });
        }
        false
    }
}
