//! Random histories: a simulated fleet answers launches well, badly, late or never, and the
//! promises of the scheduler are checked after each event.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use keyloom_common::{AttemptId, Error, StageId, TaskId, WorkerId};
use proptest::prelude::*;
use proptest::sample::Index;

use super::super::{Action, Event, Settings, StageKind};
use super::rig::*;

#[derive(Clone, Debug)]
enum Op {
    Join(u32),
    Leave(Index),
    Drain(Index),
    Open,
    Add(Index, u32),
    Close(Index),
    Cancel(Index),
    Finish(Index),
    Fail(Index, bool),
    /// A report of an attempt that was revoked, or whose worker is gone.
    Late(Index, bool),
    /// The last report of a finished attempt once more.
    Repeat(Index),
    Consume(Index),
    Pass(u64),
    /// Time passes and nobody says that it lives.
    Hush(u64),
}

fn op() -> impl Strategy<Value = Op> {
    let pick = any::<Index>;
    prop_oneof![
        3 => (0..4_u32).prop_map(Op::Join),
        1 => pick().prop_map(Op::Leave),
        1 => pick().prop_map(Op::Drain),
        2 => Just(Op::Open),
        6 => (pick(), 1..5_u32).prop_map(|(stage, tasks)| Op::Add(stage, tasks)),
        1 => pick().prop_map(Op::Close),
        1 => pick().prop_map(Op::Cancel),
        12 => pick().prop_map(Op::Finish),
        5 => (pick(), prop::bool::weighted(0.05)).prop_map(|(a, fatal)| Op::Fail(a, fatal)),
        3 => (pick(), any::<bool>()).prop_map(|(attempt, well)| Op::Late(attempt, well)),
        1 => pick().prop_map(Op::Repeat),
        8 => pick().prop_map(Op::Consume),
        5 => (0..400_u64).prop_map(Op::Pass),
        1 => (0..1_500_u64).prop_map(Op::Hush),
    ]
}

fn settings() -> Settings {
    Settings {
        heartbeat_timeout_ms: 1_000,
        attempt_timeout_ms: 1_000,
        order_timeout_ms: 1_000,
        no_worker_timeout_ms: 3_000,
        max_task_deaths: 3,
        max_task_losses: 24,
        max_task_attempts: 4,
        retry_backoff_ms: 50,
        retry_backoff_max_ms: 150,
        retry_elsewhere_ms: 300,
        max_tasks_ahead: 4,
        question_slots: 4,
        put_off_ms: 100,
        revoke_grace_ms: 500,
    }
}

struct Worker {
    slots: usize,
    draining: bool,
}

/// What the test believes, from events and actions alone.
struct World {
    rig: Rig,
    workers: BTreeMap<WorkerId, Worker>,
    /// Tasks added to each stage that has not ended.
    stages: BTreeMap<StageId, u32>,
    live: BTreeMap<AttemptId, WorkerId>,
    revoked: BTreeMap<AttemptId, (WorkerId, Duration)>,
    /// Attempts of workers that are gone.
    orphans: Vec<(AttemptId, WorkerId)>,
    latest: BTreeMap<TaskId, u32>,
    done: BTreeMap<TaskId, (AttemptId, WorkerId)>,
    consumed: BTreeSet<TaskId>,
    drawn: u32,
}

fn pick<T: Copy>(of: impl IntoIterator<Item = T>, index: &Index) -> Option<T> {
    let all = of.into_iter().collect::<Vec<_>>();
    if all.is_empty() { None } else { Some(*index.get(&all)) }
}

impl World {
    fn new() -> Self {
        Self {
            rig: Rig::with(settings()),
            workers: BTreeMap::new(),
            stages: BTreeMap::new(),
            live: BTreeMap::new(),
            revoked: BTreeMap::new(),
            orphans: Vec::new(),
            latest: BTreeMap::new(),
            done: BTreeMap::new(),
            consumed: BTreeSet::new(),
            drawn: 0,
        }
    }

    fn draw(&mut self) -> u32 {
        self.drawn += 1;
        self.drawn
    }

    fn run(&mut self, op: Op) {
        let stages = self.stages.keys().copied().collect::<Vec<_>>();
        let workers = self.workers.keys().copied().collect::<Vec<_>>();
        match op {
            Op::Join(slots) => self.join(slots),
            Op::Leave(at) => {
                let Some(worker) = pick(workers, &at) else { return };
                self.feed(Event::WorkerLeft { worker, reason: "left".to_owned() });
            }
            Op::Drain(at) => self.drain(pick(workers, &at)),
            Op::Open => self.open(),
            Op::Add(at, tasks) => {
                let Some(stage) = pick(stages, &at) else { return };
                for _ in 0..tasks {
                    self.add(stage);
                }
            }
            Op::Close(at) => self.close(pick(stages, &at)),
            Op::Cancel(at) => self.cancel(pick(stages, &at)),
            Op::Finish(at) => self.finish(pick(self.live.clone(), &at)),
            Op::Fail(at, fatal) => self.fail(pick(self.live.clone(), &at), fatal),
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

    fn join(&mut self, slots: u32) {
        let id = worker(self.draw());
        self.workers.insert(id, Worker { slots: slots.max(1) as usize, draining: false });
        self.feed(Event::WorkerJoined { worker: id, slots });
    }

    fn drain(&mut self, worker: Option<WorkerId>) {
        let Some(worker) = worker else { return };
        if let Some(known) = self.workers.get_mut(&worker) {
            known.draining = true;
        }
        self.feed(Event::WorkerDraining { worker });
    }

    fn open(&mut self) {
        let stage = stage(self.draw());
        self.stages.insert(stage, 0);
        self.feed(Event::StageOpened { stage, kind: StageKind::Work });
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

    fn finish(&mut self, picked: Option<(AttemptId, WorkerId)>) {
        let Some((attempt, worker)) = picked else { return };
        self.live.remove(&attempt);
        assert!(self.done.insert(attempt.task, (attempt, worker)).is_none(), "done twice");
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

    fn feed(&mut self, event: Event) -> Vec<Action> {
        let known_done = self.done.len();
        let actions = self.rig.feed(event);
        for action in actions.clone() {
            self.see(action);
        }
        assert_eq!(self.done.len(), known_done, "nothing ends that was not reported");
        self.check();
        actions
    }

    fn see(&mut self, action: Action) {
        match action {
            Action::Launch { worker, attempt } => self.launched(worker, attempt),
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
        self.live.insert(attempt, worker);
        let running = self.live.values().filter(|on| **on == worker).count();
        let grace = Duration::from_millis(settings().revoke_grace_ms);
        let is_stopping =
            |(on, at): &&(WorkerId, Duration)| *on == worker && *at + grace > self.rig.now;
        let stopping = self.revoked.values().filter(is_stopping).count();
        assert!(running + stopping <= self.workers[&worker].slots, "more than its slots");
        let stage = attempt.task.stage;
        let launched = self.latest.keys().filter(|task| task.stage == stage);
        let ahead = launched.filter(|task| !self.consumed.contains(task)).count();
        assert!(ahead <= settings().max_tasks_ahead, "more than the window");
    }

    /// What the state shows is what the test believes, and the state's indices are true.
    fn check(&mut self) {
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
            let running = self.live.values().filter(|on| **on == worker.worker).count();
            assert_eq!(worker.running, running);
        }
        self.check_indices();
    }

    fn check_indices(&self) {
        let state = &self.rig.state;
        let window = settings().max_tasks_ahead;
        let (mut turns, mut timers, mut waiting) = (0, BTreeSet::new(), 0);
        for (id, stage) in &state.stages {
            let ready = stage.is_ready(window);
            assert_eq!(ready, stage.turn.is_some_and(|turn| state.turns.contains(&(turn, *id))));
            turns += usize::from(ready);
            let indexed = stage.waiting_since.is_some_and(|at| state.waiting.contains(&(at, *id)));
            assert_eq!(stage.pending() > 0, indexed);
            waiting += usize::from(indexed);
            let of = stage.tasks().filter_map(|(index, t)| Some((t.timer()?, task(*id, index))));
            timers.extend(of);
            let idle = state.fleet.has_free_slot() && stage.next_fresh(window).is_some();
            assert!(!idle, "a free slot and a task for it");
        }
        assert_eq!((turns, waiting), (state.turns.len(), state.waiting.len()));
        assert_eq!(timers, state.timers);
        assert_eq!(state.fleet.is_available(), self.workers.values().any(|w| !w.draining));
    }

    /// From now on all goes well; then every stage ends, and nothing of it is left.
    fn settle(&mut self) {
        self.join(2);
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
        assert!(self.rig.state.workers().all(|worker| worker.running + worker.stopping == 0));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn promises_hold_whatever_happens(ops in prop::collection::vec(op(), 1..250)) {
        let mut world = World::new();
        for op in ops {
            world.run(op);
        }
        let expected = world.stages.clone();
        world.settle();
        for (stage, tasks) in expected {
            for index in 0..tasks {
                prop_assert!(world.done.contains_key(&task(stage, index)));
            }
        }
    }
}
