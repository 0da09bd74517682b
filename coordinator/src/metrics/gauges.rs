//! What is the case when somebody asks: it is read then, and counted nowhere meanwhile.

use std::{sync::atomic::AtomicU64, time::Duration};

use keyloom_common::{
    memory::MemoryBudget,
    metrics::{Gauges as ByLabel, registered, set_each},
};
use prometheus_client::{metrics::gauge::Gauge, registry::Registry};

/// The gauges of a coordinator.
#[derive(Debug)]
pub(crate) struct Gauges {
    jobs: ByLabel<1>,
    tasks: ByLabel<1>,
    workers: ByLabel<1>,
    slots: ByLabel<1>,
    memory_used: ByLabel<1>,
    memory_limit: ByLabel<1>,
    spilled: ByLabel<1>,
    heartbeat_age: Gauge<f64, AtomicU64>,
}

/// What somebody takes of the memory, and may take at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Share {
    pub(crate) name: &'static str,
    pub(crate) used: u64,
    pub(crate) limit: u64,
}

impl Share {
    pub(crate) fn of(name: &'static str, budget: &MemoryBudget) -> Self {
        Self { name, used: budget.used(), limit: budget.bytes() }
    }
}

impl Gauges {
    pub(super) fn new(registry: &mut Registry) -> Self {
        let tasks = "Tasks that run, and tasks that wait for a slot or rest";
        let slots = "Slots of workers that take tasks, and slots that tasks hold";
        let age = "Seconds since the worker that was silent for the longest time was heard of";
        Self {
            jobs: registered(registry, "jobs", "Jobs that are known"),
            tasks: registered(registry, "tasks", tasks),
            workers: registered(registry, "workers", "Workers that are registered"),
            slots: registered(registry, "slots", slots),
            memory_used: registered(registry, "memory_used_bytes", "Memory that is taken"),
            memory_limit: registered(registry, "memory_limit_bytes", "Memory that may be taken"),
            spilled: registered(registry, "spill_used_bytes", "Bytes in temporary files"),
            heartbeat_age: registered(registry, "heartbeat_age_seconds", age),
        }
    }

    /// So many jobs run, wait for their turn, or wait for their clients to read them.
    pub(crate) fn set_jobs(&self, [running, queued, reading]: [usize; 3]) {
        let states = [("running", running), ("queued", queued), ("reading", reading)];
        set_each(&self.jobs, "state", states);
    }

    /// So many tasks run, and so many wait.
    pub(crate) fn set_tasks(&self, running: usize, queued: usize) {
        set_each(&self.tasks, "state", [("running", running), ("queued", queued)]);
    }

    /// So many workers take tasks, so many drain, and one was silent for so long.
    pub(crate) fn set_workers(&self, active: usize, draining: usize, silence: Duration) {
        set_each(&self.workers, "state", [("active", active), ("draining", draining)]);
        self.heartbeat_age.set(silence.as_secs_f64());
    }

    /// So many slots are free, and so many taken.
    pub(crate) fn set_slots(&self, free: usize, taken: usize) {
        set_each(&self.slots, "state", [("free", free), ("taken", taken)]);
    }

    /// So many bytes of memory are taken, and may be.
    pub(crate) fn set_memory<const N: usize>(&self, shares: [Share; N]) {
        set_each(&self.memory_used, "share", shares.map(|share| (share.name, share.used)));
        set_each(&self.memory_limit, "share", shares.map(|share| (share.name, share.limit)));
    }

    /// So many bytes are in temporary files, of rows that wait for their turn and of operators.
    pub(crate) fn set_spilled(&self, gathered: u64, operators: u64) {
        set_each(&self.spilled, "by", [("gathered", gathered), ("operators", operators)]);
    }
}
