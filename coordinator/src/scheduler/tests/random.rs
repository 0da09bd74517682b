//! Random histories: a simulated fleet answers launches and questions well, badly, late or never,
//! tasks are put off, and the promises of the scheduler are checked after each event.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use keyloom_common::{AttemptId, Error, StageId, TaskId, WorkerId};
use proptest::prelude::*;
use proptest::sample::Index;

use super::super::fleet::COMPARED;
use super::super::stage::Phase;
use super::super::warmth::WORKERS_OF_A_STORE;
use super::super::{Action, Event, Settings, StageKind, StoreDigest};
use super::rig::*;

#[derive(Clone, Debug)]
enum Op {
    Join(u32, bool),
    Leave(Index),
    Drain(Index),
    /// A stage begins, whose tasks look these of [`STORES`] up.
    Open(Vec<u32>),
    /// A shuffle is to begin, in which so many workers have something to do: a stage of its own, of
    /// one task.
    Shuffle(u32),
    /// A question is asked: a stage of its own, of one task.
    Ask,
    Add(Index, u32),
    Close(Index),
    Cancel(Index),
    Finish(Index),
    Fail(Index, bool),
    /// There was no room for the rows of an attempt.
    PutOff(Index),
    /// The reader of a stage comes to the first task that it has not read.
    Due(Index),
    /// A report of an attempt by a worker that does not run it.
    Foreign(Index, Index, bool),
    /// A report of an attempt that was revoked, or whose worker is gone.
    Late(Index, bool),
    /// The last report of a finished attempt once more.
    Repeat(Index),
    Consume(Index),
    Pass(u64),
    /// Time passes and nobody says that it lives.
    Hush(u64),
}

/// The stores that there are.
const STORES: [u32; 4] = [0, 1, 2, 3];

fn op() -> impl Strategy<Value = Op> {
    let pick = any::<Index>;
    prop_oneof![
        3 => (0..4_u32, any::<bool>()).prop_map(|(slots, shuffles)| Op::Join(slots, shuffles)),
        1 => pick().prop_map(Op::Leave),
        1 => pick().prop_map(Op::Drain),
        2 => prop::sample::subsequence(STORES.to_vec(), 0..=STORES.len()).prop_map(Op::Open),
        2 => (0..6_u32).prop_map(Op::Shuffle),
        3 => Just(Op::Ask),
        6 => (pick(), 1..5_u32).prop_map(|(stage, tasks)| Op::Add(stage, tasks)),
        1 => pick().prop_map(Op::Close),
        1 => pick().prop_map(Op::Cancel),
        12 => pick().prop_map(Op::Finish),
        5 => (pick(), prop::bool::weighted(0.05)).prop_map(|(a, fatal)| Op::Fail(a, fatal)),
        4 => pick().prop_map(Op::PutOff),
        3 => pick().prop_map(Op::Due),
        1 => (pick(), pick(), any::<bool>()).prop_map(|(a, by, well)| Op::Foreign(a, by, well)),
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
        question_slots: 2,
        shuffle_wait_ms: 200,
        put_off_ms: 50,
        revoke_grace_ms: 500,
    }
}

struct Worker {
    slots: usize,
    shuffles: bool,
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
    /// Those of the stages that are questions.
    questions: BTreeSet<StageId>,
    /// Those that are shuffles, and of how many workers.
    shuffles: BTreeMap<StageId, u32>,
    /// Who takes part in the attempts at them, beside their leaders.
    peers: BTreeMap<AttemptId, Vec<WorkerId>>,
    /// Whether slots were kept for a shuffle before the last event, or after it.
    kept: bool,
    /// Tasks that were put off and not launched again, and when.
    put_off: BTreeMap<TaskId, Duration>,
    /// The task that the reader of a stage came to last.
    due: BTreeMap<StageId, TaskId>,
    /// What the tasks of each stage look up, also of those that have ended.
    stores: BTreeMap<StageId, Vec<StoreDigest>>,
    /// Where tasks ended that looked a store up, also on workers that are gone.
    warm: BTreeMap<StoreDigest, BTreeSet<WorkerId>>,
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
            questions: BTreeSet::new(),
            shuffles: BTreeMap::new(),
            peers: BTreeMap::new(),
            kept: false,
            put_off: BTreeMap::new(),
            due: BTreeMap::new(),
            stores: BTreeMap::new(),
            warm: STORES.map(|n| (store(n), BTreeSet::new())).into(),
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

    fn join(&mut self, slots: u32, shuffles: bool) {
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

    /// Until when a task rests.
    fn rests(&self, id: TaskId) -> Option<Duration> {
        match self.rig.state.stages.get(&id.stage)?.task(id.index)?.phase {
            Phase::Resting { until } => Some(until),
            Phase::Queued { .. } | Phase::Running { .. } | Phase::Done => None,
        }
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

    fn feed(&mut self, event: Event) -> Vec<Action> {
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

    /// In how many attempts of others a worker takes part, or does while they stop.
    fn beside(&self, worker: WorkerId) -> usize {
        let grace = Duration::from_millis(settings().revoke_grace_ms);
        let is_held = |attempt: &AttemptId| {
            let stops = self.revoked.get(attempt).is_some_and(|(_, at)| *at + grace > self.rig.now);
            stops || self.live.contains_key(attempt)
        };
        let of_it = self.peers.iter().filter(|(_, peers)| peers.contains(&worker));
        of_it.filter(|(attempt, _)| is_held(attempt)).count()
    }

    /// How many questions, and how many tasks, a worker has or stops.
    fn held_by(&self, worker: WorkerId) -> (usize, usize) {
        let held = self.running_on(worker).chain(self.stopping_on(worker));
        let (questions, tasks): (Vec<_>, Vec<_>) =
            held.partition(|attempt| self.questions.contains(&attempt.task.stage));
        (questions.len(), tasks.len() + self.beside(worker))
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

    /// The current attempts that a worker has.
    fn running_on(&self, worker: WorkerId) -> impl Iterator<Item = AttemptId> {
        self.live.iter().filter(move |(_, on)| **on == worker).map(|(attempt, _)| *attempt)
    }

    /// The revoked attempts that hold a slot of a worker.
    fn stopping_on(&self, worker: WorkerId) -> impl Iterator<Item = AttemptId> {
        let grace = Duration::from_millis(settings().revoke_grace_ms);
        let holds = move |at: Duration| at + grace > self.rig.now;
        let revoked = self.revoked.iter().filter(move |(_, (on, at))| *on == worker && holds(*at));
        revoked.map(|(attempt, _)| *attempt)
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

    /// From now on all goes well; then every stage ends, and nothing of it is left.
    fn settle(&mut self) {
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

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn promises_hold_whatever_happens(
        idle in prop_oneof![3 => Just(0), 1 => Just(COMPARED + 4)],
        ops in prop::collection::vec(op(), 1..250),
    ) {
        let mut world = World::new();
        (0..idle).for_each(|_| world.join(1, false));
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
