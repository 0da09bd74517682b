//! What the scheduler decides on an event: each action is one that it may take, and is believed.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use keyloom_common::{AttemptId, WorkerId};

use super::world::{World, settings};
use crate::scheduler::fleet::COMPARED;
use crate::scheduler::warmth::WORKERS_OF_A_STORE;
use crate::scheduler::{Action, Event};

impl World {
    pub(super) fn feed(&mut self, event: Event) -> Vec<Action> {
        let known_done = self.done.len();
        self.kept = self.rig.state.kept_for.is_some();
        let actions = self.rig.feed(event);
        self.kept |= self.rig.state.kept_for.is_some();
        for action in actions.clone() {
            self.see(action);
        }
        assert_eq!(self.done.len(), known_done, "nothing ends that was not reported");
        self.check();
        actions
    }

    fn see(&mut self, action: Action) {
        match action {
            Action::Launch { worker, attempt } => {
                assert!(!self.shuffles.contains_key(&attempt.task.stage));
                self.launched(worker, attempt);
            }
            Action::LaunchTogether { workers, attempt } => {
                self.launched_together(&workers, attempt)
            }
            Action::Revoke { worker, attempt } => {
                assert_eq!(self.live.remove(&attempt), Some(worker), "revoked where it runs");
                self.revoked.insert(attempt, (worker, self.rig.now));
            }
            Action::TaskDone { attempt } => {
                let counts = self.done.get(&attempt.task).map(|(attempt, _)| *attempt);
                assert_eq!(counts, Some(attempt));
                assert!(self.stages.contains_key(&attempt.task.stage));
            }
            Action::Discard { attempt } => assert!(!self.live.contains_key(&attempt)),
            Action::StageFailed { stage, .. } => {
                assert!(self.stages.remove(&stage).is_some(), "a stage ends once");
            }
            Action::WorkerGone { worker, .. } => {
                assert!(self.workers.remove(&worker).is_some(), "a worker goes once");
                let lost = self.live.extract_if(.., |_, on| *on == worker);
                self.orphans.extend(lost);
                let lost = self.revoked.extract_if(.., |_, (on, _)| *on == worker);
                self.orphans.extend(lost.map(|(attempt, (worker, _))| (attempt, worker)));
            }
            Action::Waiting { stage, fails_at, .. } => {
                assert!(self.stages.contains_key(&stage));
                assert!(fails_at > self.rig.now);
            }
        }
    }

    fn launched(&mut self, worker: WorkerId, attempt: AttemptId) {
        assert!(self.stages.contains_key(&attempt.task.stage), "the stage is over");
        assert!(!self.workers[&worker].draining, "the worker drains");
        assert!(!self.done.contains_key(&attempt.task), "the task is done");
        assert!(self.live.keys().all(|live| live.task != attempt.task), "two current attempts");
        let latest = self.latest.insert(attempt.task, attempt.number);
        assert_eq!(attempt.number, latest.map_or(0, |number| number + 1));
        self.check_place(worker, attempt);
        self.live.insert(attempt, worker);
        self.put_off.remove(&attempt.task);
        let (questions, tasks) = self.held_by(worker);
        assert!(tasks <= self.workers[&worker].slots, "more than its slots");
        assert!(questions <= settings().question_slots as usize, "more than it answers");
        let stage = attempt.task.stage;
        let launched = self.latest.keys().filter(|task| task.stage == stage);
        let ahead = launched.filter(|task| !self.consumed.contains(task)).count();
        assert!(ahead <= settings().max_tasks_ahead, "more than the window");
    }

    fn launched_together(&mut self, workers: &[WorkerId], attempt: AttemptId) {
        let most = self.shuffles[&attempt.task.stage].max(1) as usize;
        let shufflers = self.workers.values().filter(|worker| worker.shuffles && !worker.draining);
        let (leader, peers) = workers.split_first().expect("nobody leads it");
        // One alone may be any.
        assert!(workers.len() <= most && workers.len() <= shufflers.count().max(1));
        assert_eq!(workers.iter().collect::<BTreeSet<_>>().len(), workers.len(), "twice the same");
        self.launched(*leader, attempt);
        self.peers.insert(attempt, peers.to_vec());
        for id in workers {
            let worker = &self.workers[id];
            assert!(!worker.draining && (worker.shuffles || peers.is_empty()));
            assert!(self.held_by(*id).1 <= worker.slots, "more than its slots");
        }
    }

    /// A task that runs for the first time goes where the most of its stores are warm, and of those
    /// workers to the freest one.
    fn check_place(&self, worker: WorkerId, attempt: AttemptId) {
        let stage = attempt.task.stage;
        let is_work = !self.questions.contains(&stage) && !self.shuffles.contains_key(&stage);
        // What is kept comes and goes within an event.
        if attempt.number > 0 || !is_work || self.kept {
            return;
        }
        let stores = &self.stores[&stage];
        let ranks = self.workers.iter().filter_map(|(id, on)| {
            let free = on.slots.saturating_sub(self.held_by(*id).1);
            let warm = stores.iter().filter(|store| self.warm[*store].contains(id)).count();
            (free > 0 && !on.draining).then_some((Reverse(warm), Reverse(free), *id))
        });
        let ranks = ranks.collect::<BTreeSet<_>>();
        // Of many workers, not all that are warm are known.
        let known = stores.iter().all(|store| self.warm[store].len() <= WORKERS_OF_A_STORE);
        if ranks.len() <= COMPARED || known {
            assert_eq!(ranks.first().map(|(.., id)| *id), Some(worker), "of {ranks:?}");
        }
    }
}
