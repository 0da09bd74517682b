//! Internals for the micro-benchmarks in `tests/bench/benches`, which could not reach them
//! otherwise. No part of the API.

use std::{collections::VecDeque, fmt, time::Duration};

use keyloom_common::{JobId, StageId, TaskId, WorkerId};

use crate::scheduler::{Action, Event, Settings, StageKind, State, StoreDigest};

/// The time that an event takes to follow another.
const STEP: Duration = Duration::from_micros(1);

/// So many stores there are, and so many of them a stage looks up.
const STORES: u128 = 30;
const STORES_OF_A_STAGE: u128 = 3;

/// A scheduler with simulated workers, which finish at once whatever they are given.
pub struct Cluster {
    state: State,
    now: Duration,
    stages: u128,
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cluster").finish_non_exhaustive()
    }
}

impl Cluster {
    /// So many workers of so many slots each, idle.
    pub fn new(workers: u32, slots: u32) -> Self {
        let state = State::new(Settings::default());
        let mut cluster = Self { state, now: Duration::ZERO, stages: 0 };
        for worker in 0..workers {
            let worker = WorkerId::from_u128(worker.into());
            cluster.feed(Event::WorkerJoined { worker, slots, shuffles: false });
        }
        cluster
    }

    /// Runs stages of so many tasks each at once, which look stores up, and says how many tasks
    /// were done.
    pub fn run(&mut self, stages: u32, tasks: u32) -> u64 {
        let mut actions = VecDeque::new();
        for _ in 0..stages {
            actions.extend(self.open(tasks));
        }
        let mut done = 0;
        while let Some(action) = actions.pop_front() {
            match action {
                Action::Launch { worker, attempt } => {
                    actions.extend(self.feed(Event::Heartbeat { worker, attempts: vec![attempt] }));
                    actions.extend(self.feed(Event::TaskFinished { worker, attempt }));
                }
                Action::TaskDone { attempt } => {
                    done += 1;
                    actions.extend(self.feed(Event::TaskConsumed { task: attempt.task }));
                }
                // Nothing else happens where no worker and no task fails.
                _ => {}
            }
        }
        done
    }

    fn open(&mut self, tasks: u32) -> Vec<Action> {
        let stage = StageId { job: JobId::from_u128(self.stages), index: 0 };
        let first = self.stages * STORES_OF_A_STAGE;
        let stores = first..first + STORES_OF_A_STAGE;
        let stores = stores.map(|store| StoreDigest::of(&(store % STORES))).collect();
        self.stages += 1;
        let mut actions = self.feed(Event::StageOpened { stage, kind: StageKind::Work, stores });
        for index in 0..tasks {
            actions.extend(self.feed(Event::TaskAdded { task: TaskId { stage, index } }));
        }
        actions.extend(self.feed(Event::StageClosed { stage }));
        actions
    }

    fn feed(&mut self, event: Event) -> Vec<Action> {
        self.now += STEP;
        self.state.on_event(event, self.now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_task_of_every_run_is_done() {
        let mut cluster = Cluster::new(3, 2);
        assert_eq!(cluster.run(2, 100), 200);
        assert_eq!(cluster.run(1, 5_000), 5_000);
    }
}
