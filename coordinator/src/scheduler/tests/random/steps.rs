//! What happens, step by step: what a worker or a stage does is believed, then told to the
//! scheduler, whose answer to it is checked.

use std::time::Duration;

use keyloom_common::{AttemptId, Error, StageId, TaskId, WorkerId};
use proptest::sample::Index;

use super::super::rig::*;
use super::op::Op;
use super::world::{Worker, World, settings};
use crate::scheduler::{Action, Event, StageKind, StoreDigest};

fn pick<T: Copy>(of: impl IntoIterator<Item = T>, index: &Index) -> Option<T> {
    let all = of.into_iter().collect::<Vec<_>>();
    if all.is_empty() { None } else { Some(*index.get(&all)) }
}

impl World {
    pub(super) fn run(&mut self, op: Op) {
        let stages = self.stages.keys().copied().collect::<Vec<_>>();
        let workers = self.workers.keys().copied().collect::<Vec<_>>();
        match op {
            Op::Join(slots, shuffles) => self.join(slots, shuffles),
            Op::Leave(at) => {
                let Some(worker) = pick(workers, &at) else { return };
                self.feed(Event::WorkerLeft { worker, reason: "left".to_owned() });
            }
            Op::Drain(at) => self.drain(pick(workers, &at)),
            Op::Open(stores) => {
                self.open(StageKind::Work, stores.into_iter().map(store).collect());
            }
            Op::Shuffle(workers) => self.shuffle(workers),
            Op::Ask => self.ask(),
            Op::Add(at, tasks) => {
                let Some(stage) = pick(stages, &at) else { return };
                for _ in 0..tasks {
                    self.add(stage);
                }
            }
            Op::Close(at) => self.close(pick(stages, &at)),
            Op::Cancel(at) => self.cancel(pick(stages, &at)),
            Op::Compute(at) => self.compute(pick(self.live.clone(), &at)),
            Op::Finish(at) => self.finish(pick(self.live.clone(), &at)),
            Op::Fail(at, fatal) => self.fail(pick(self.live.clone(), &at), fatal),
            Op::PutOff(at) => self.put_off(pick(self.live.clone(), &at)),
            Op::Due(at) => self.due(pick(stages, &at)),
            Op::Foreign(at, by, well) => {
                let (attempt, by) = (pick(self.live.clone(), &at), pick(workers, &by));
                self.foreign(attempt, by, well);
            }
            Op::Late(at, well) => self.late(&at, well),
            Op::Repeat(at) => self.repeat(pick(self.done.values().copied(), &at)),
            Op::Consume(at) => {
                let left = self.done.keys().copied().filter(|task| !self.consumed.contains(task));
                self.consume(pick(left, &at));
            }
            Op::Pass(ms) => {
                self.rig.now += Duration::from_millis(ms);
                for worker in workers {
                    let on_it = |(attempt, on): (&AttemptId, &WorkerId)| {
                        (*on == worker).then_some(*attempt)
                    };
                    let attempts = self.live.iter().filter_map(on_it).collect();
                    self.feed(Event::Heartbeat { worker, attempts });
                }
                self.feed(Event::Tick);
            }
            Op::Hush(ms) => {
                self.rig.now += Duration::from_millis(ms);
                self.feed(Event::Tick);
            }
        }
    }

    pub(super) fn join(&mut self, slots: u32, shuffles: bool) {
        let id = worker(self.draw());
        let known = Worker { slots: slots.max(1) as usize, shuffles, draining: false };
        self.workers.insert(id, known);
        self.feed(Event::WorkerJoined { worker: id, slots, shuffles });
    }

    fn drain(&mut self, worker: Option<WorkerId>) {
        let Some(worker) = worker else { return };
        if let Some(known) = self.workers.get_mut(&worker) {
            known.draining = true;
        }
        self.feed(Event::WorkerDraining { worker });
    }

    fn open(&mut self, kind: StageKind, stores: Vec<StoreDigest>) -> StageId {
        let stage = stage(self.draw());
        self.stages.insert(stage, 0);
        match kind {
            StageKind::Work => {}
            StageKind::Shuffle { workers } => {
                self.shuffles.insert(stage, workers);
            }
            StageKind::Question => {
                self.questions.insert(stage);
            }
        }
        self.stores.insert(stage, stores.clone());
        self.feed(Event::StageOpened { stage, kind, stores });
        stage
    }

    fn shuffle(&mut self, workers: u32) {
        let stage = self.open(StageKind::Shuffle { workers }, Vec::new());
        self.add(stage);
        self.close(Some(stage));
    }

    fn ask(&mut self) {
        let stage = self.open(StageKind::Question, Vec::new());
        self.add(stage);
        self.close(Some(stage));
    }

    fn cancel(&mut self, stage: Option<StageId>) {
        let Some(stage) = stage else { return };
        self.stages.remove(&stage);
        self.feed(Event::StageCancelled { stage });
    }

    fn repeat(&mut self, picked: Option<(AttemptId, WorkerId)>) {
        let Some((attempt, worker)) = picked else { return };
        let kept =
            self.stages.contains_key(&attempt.task.stage) && !self.consumed.contains(&attempt.task);
        let actions = self.feed(Event::TaskFinished { worker, attempt });
        assert!(!kept || !actions.contains(&discard(attempt)), "discarded what counts");
    }

    fn add(&mut self, stage: StageId) {
        let Some(added) = self.stages.get_mut(&stage) else { return };
        let task = task(stage, *added);
        if !self.rig.state.stage(stage).is_some_and(|known| known.closed) {
            *added += 1;
        }
        self.feed(Event::TaskAdded { task });
    }

    fn close(&mut self, stage: Option<StageId>) {
        let Some(stage) = stage else { return };
        self.feed(Event::StageClosed { stage });
    }

    fn compute(&mut self, picked: Option<(AttemptId, WorkerId)>) {
        let Some((attempt, worker)) = picked else { return };
        if !self.questions.contains(&attempt.task.stage) {
            self.flushing.insert(attempt);
        }
        self.feed(Event::TaskComputed { worker, attempt });
        assert_eq!(self.live.get(&attempt), Some(&worker), "it has not ended");
    }

    fn finish(&mut self, picked: Option<(AttemptId, WorkerId)>) {
        let Some((attempt, worker)) = picked else { return };
        self.live.remove(&attempt);
        assert!(self.done.insert(attempt.task, (attempt, worker)).is_none(), "done twice");
        for store in &self.stores[&attempt.task.stage] {
            self.warm.entry(*store).or_default().insert(worker);
        }
        let actions = self.feed(Event::TaskFinished { worker, attempt });
        assert!(actions.contains(&done(attempt)));
    }

    fn fail(&mut self, picked: Option<(AttemptId, WorkerId)>, fatal: bool) {
        let Some((attempt, worker)) = picked else { return };
        self.live.remove(&attempt);
        let error = if fatal { Error::invalid("fatal") } else { flaky() };
        let actions = self.feed(Event::TaskFailed { worker, attempt, error });
        assert!(actions.contains(&discard(attempt)));
    }

    fn put_off(&mut self, picked: Option<(AttemptId, WorkerId)>) {
        let Some((attempt, worker)) = picked else { return };
        self.live.remove(&attempt);
        self.put_off.insert(attempt.task, self.rig.now);
        let actions = self.feed(Event::TaskPutOff { worker, attempt });
        assert!(actions.contains(&discard(attempt)));
        let failed = |action: &Action| matches!(action, Action::StageFailed { .. });
        assert!(!actions.iter().any(failed), "it counts for nothing");
        if self.due.get(&attempt.task.stage) == Some(&attempt.task) {
            let rest = Duration::from_millis(settings().put_off_ms);
            assert_eq!(self.rests(attempt.task), Some(self.rig.now + rest), "it is due");
        }
    }

    fn due(&mut self, stage: Option<StageId>) {
        let Some(stage) = stage else { return };
        let mut tasks = (0..self.stages[&stage]).map(|index| task(stage, index));
        let Some(task) = tasks.find(|task| !self.consumed.contains(task)) else { return };
        self.due.insert(stage, task);
        self.feed(Event::TaskDue { task });
        let waits = self.put_off.contains_key(&task) && self.rests(task).is_some();
        assert!(!waits, "there is room for its rows");
    }

    fn foreign(&mut self, picked: Option<(AttemptId, WorkerId)>, by: Option<WorkerId>, well: bool) {
        let (Some((attempt, worker)), Some(by)) = (picked, by) else { return };
        if by == worker {
            return;
        }
        // That it still runs, and that its output is not discarded, is checked as always.
        if well {
            self.feed(Event::TaskFinished { worker: by, attempt });
        } else {
            self.feed(Event::TaskFailed { worker: by, attempt, error: Error::invalid("fatal") });
        }
        assert_eq!(self.live.get(&attempt), Some(&worker));
    }

    fn late(&mut self, at: &Index, well: bool) {
        let revoked = self.revoked.iter().map(|(attempt, (worker, _))| (*attempt, *worker));
        let late = pick(revoked.chain(self.orphans.iter().copied()), at);
        let Some((attempt, worker)) = late else { return };
        self.revoked.remove(&attempt);
        let actions = if well {
            self.feed(Event::TaskFinished { worker, attempt })
        } else {
            let error = Error::cancelled("revoked");
            self.feed(Event::TaskFailed { worker, attempt, error })
        };
        assert!(actions.contains(&discard(attempt)), "a late attempt is refused");
    }

    fn consume(&mut self, task: Option<TaskId>) {
        let Some(task) = task else { return };
        self.consumed.insert(task);
        self.feed(Event::TaskConsumed { task });
    }

    /// From now on all goes well; then every stage ends, and nothing of it is left.
    pub(super) fn settle(&mut self) {
        self.join(2, false);
        for stage in self.stages.clone().into_keys() {
            self.close(Some(stage));
        }
        for _ in 0..1_000 {
            if self.stages.is_empty() {
                break;
            }
            for picked in self.live.clone() {
                self.finish(Some(picked));
            }
            let read = self.done.keys().copied().filter(|task| !self.consumed.contains(task));
            for task in read.collect::<Vec<_>>() {
                self.consume(Some(task));
            }
            self.run(Op::Pass(50));
        }
        assert!(self.stages.is_empty(), "stages that do not end: {:?}", self.stages);
        // Revoked attempts are never reported here: their slots come back by themselves.
        self.run(Op::Pass(settings().revoke_grace_ms));
        let held = self.rig.state.workers().map(|w| w.running + w.stopping + w.beside);
        assert_eq!(held.sum::<usize>(), 0);
    }
}
