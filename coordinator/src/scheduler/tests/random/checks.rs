//! What holds after every event.

use std::collections::BTreeSet;
use std::time::Duration;

use super::super::rig::*;
use super::world::{World, settings};
use crate::scheduler::StageKind;
use crate::scheduler::warmth::WORKERS_OF_A_STORE;

impl World {
    /// What the state shows is what the test believes, and the state's indices are true.
    pub(super) fn check(&mut self) {
        let state = &self.rig.state;
        // A closed stage is forgotten when all of it is done and consumed.
        self.stages.retain(|id, added| {
            let done = self.consumed.iter().filter(|task| task.stage == *id).count();
            let known = state.stage(*id).is_some();
            assert!(known || done == *added as usize, "forgot a stage that is not over");
            known
        });
        let known = state.stages().map(|stage| stage.stage);
        assert!(known.eq(self.stages.keys().copied()));
        for (id, added) in &self.stages {
            let running = self.live.keys().filter(|attempt| attempt.task.stage == *id).count();
            let done = self.done.keys().filter(|task| task.stage == *id).count();
            let pending = *added as usize - running - done;
            assert_eq!(self.rig.counts(*id), Some((pending, running, done)));
        }
        assert!(state.workers().map(|worker| worker.worker).eq(self.workers.keys().copied()));
        for worker in state.workers() {
            let running = self.running_on(worker.worker).count();
            let stopping = self.stopping_on(worker.worker).count();
            let beside = self.beside(worker.worker);
            let shown = (worker.running, worker.stopping, worker.beside);
            assert_eq!(shown, (running, stopping, beside), "slots are lost");
        }
        self.check_put_off();
        self.check_indices();
        self.check_warmth();
    }

    /// What is warm is known of the workers that are there, and of no others.
    fn check_warmth(&self) {
        let warmth = &self.rig.state.fleet.warmth;
        for (store, workers) in &self.warm {
            for worker in workers {
                let expected = usize::from(self.workers.contains_key(worker));
                assert_eq!(warmth.count(*worker, &[*store]), expected);
            }
            let known = warmth.workers(&[*store]);
            assert!(known.len() <= WORKERS_OF_A_STORE && known.is_subset(workers));
            assert!(known.iter().all(|worker| self.workers.contains_key(worker)));
        }
    }

    /// Tasks that were put off come back, within the longest rest.
    fn check_put_off(&self) {
        let longest = Duration::from_millis(settings().put_off_ms << 6);
        for (task, since) in &self.put_off {
            let Some(until) = self.rests(*task) else { continue };
            assert!(until > self.rig.now && until <= *since + longest, "put off for too long");
        }
    }

    fn check_indices(&self) {
        let state = &self.rig.state;
        let window = settings().max_tasks_ahead;
        let (mut turns, mut timers, mut waiting) = (0, BTreeSet::new(), 0);
        for (id, stage) in &state.stages {
            let ready = stage.is_ready(window);
            let (in_turn, has_room) = match stage.kind {
                StageKind::Work => (&state.turns.work, state.fleet.has_free_slot()),
                StageKind::Shuffle { .. } => (&state.turns.shuffles, false),
                StageKind::Question => {
                    let slots = settings().question_slots;
                    (&state.turns.questions, state.fleet.choose_for_question(slots, &[]).is_some())
                }
            };
            assert_eq!(stage.kind == StageKind::Question, self.questions.contains(id));
            assert_eq!(ready, stage.turn.is_some_and(|turn| in_turn.contains(&(turn, *id))));
            turns += usize::from(ready);
            let indexed = stage.waiting_since.is_some_and(|at| state.waiting.contains(&(at, *id)));
            assert_eq!(stage.pending() > 0, indexed);
            waiting += usize::from(indexed);
            let of = stage.tasks().filter_map(|(index, t)| Some((t.timer()?, task(*id, index))));
            timers.extend(of);
            let idle = has_room && stage.next_fresh(window).is_some();
            assert!(!idle, "a free slot and a task for it");
        }
        let all_turns =
            state.turns.work.len() + state.turns.shuffles.len() + state.turns.questions.len();
        assert_eq!((turns, waiting), (all_turns, state.waiting.len()));
        let first = state.turns.shuffles.first().map(|(_, id)| *id);
        assert_eq!(state.kept_for.map(|(id, _)| id), first);
        let shufflers = self.workers.values().filter(|worker| worker.shuffles && !worker.draining);
        assert_eq!(state.fleet.shufflers(), shufflers.count());
        if let Some(first) = first {
            let wanted = state.fleet.shufflers().min(self.shuffles[&first] as usize);
            let has_all = wanted > 1 && state.fleet.free_shufflers() >= wanted;
            assert!(!has_all, "a shuffle, and slots for it");
        }
        assert_eq!(timers, state.timers);
        assert_eq!(state.fleet.is_available(), self.workers.values().any(|w| !w.draining));
    }
}
