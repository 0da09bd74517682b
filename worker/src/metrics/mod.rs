//! What a worker counts, for whoever watches over it. What is only the case now is read when
//! somebody asks ([`gauges`]); lookups are counted by store ([`lookups`]).
//!
//! What lookups count is taken from their plans when a task ends, and nothing is counted a row.
//! Workers that share their stores, as in an embedded session, share this, too.

mod gauges;
mod lookups;

use std::{sync::Arc, time::Instant};

use datafusion::{
    common::tree_node::{TreeNode, TreeNodeRecursion},
    physical_plan::{ExecutionPlan, metrics::MetricsSet},
};
use keyloom_common::{
    Error, Result,
    lookup::KvLookupExec,
    metrics::{Counted, Counters, Times, ending, outcome, registered, registry, text, times_by},
    rpc::{ConnectionCounts, SecurityReloads, TaskReport, Work},
};
use prometheus_client::{
    metrics::{counter::Counter, gauge::Gauge},
    registry::Registry,
};

use crate::shuffle::Totals;
pub(crate) use gauges::Gauges;
pub(crate) use lookups::{Lookups, Timing};

/// How the names of all of them begin.
const PREFIX: &str = "keyloom_worker";

/// The counters of a worker, and the registry that tells them.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    pub(crate) gauges: Gauges,
    pub(crate) lookups: Arc<Lookups>,
    /// Of other workers that shuffle with it.
    pub(crate) shuffles: ConnectionCounts,
    /// Of rows that come from them.
    pub(crate) shuffled: Totals,
    pub(crate) reloads: SecurityReloads,
    life: Life,
    tasks: Tasks,
    pub(crate) output_rows: Counter,
    pub(crate) output_bytes: Counter,
    spilled_bytes: Counter,
    spill_files: Counter,
}

/// What a coordinator has of the worker.
#[derive(Debug)]
struct Life {
    registered: Gauge,
    draining: Gauge,
    registrations: Counter,
    /// All slots, and those that tasks have: told together, by state.
    slots: Gauge,
    taken: Gauge,
}

/// How attempts ended.
#[derive(Debug)]
struct Tasks {
    ended: Counters<2>,
    times: Times<1>,
    questions: Counters<1>,
}

/// An attempt that runs. It has its slot until this is dropped, or the slot is given back; if it is
/// dropped before its end was told, it was cancelled.
#[derive(Debug)]
pub(crate) struct Attempt {
    metrics: Arc<Metrics>,
    begun: Instant,
    /// Questions have no slot.
    is_question: bool,
    slot: Option<Counted>,
    is_told: bool,
}

/// A plan whose counters are added up when this is dropped, however its task ends.
#[derive(Debug)]
pub(crate) struct CountedPlan {
    metrics: Arc<Metrics>,
    plan: Arc<dyn ExecutionPlan>,
}

impl Metrics {
    /// Nothing is counted yet. Of so many stores at most, lookups are counted apart.
    pub(crate) fn new(counted_stores: usize) -> Arc<Self> {
        let mut all = registry(PREFIX);
        let registry = &mut all;
        let (rows, bytes) = ("Rows that tasks gave", "Bytes of rows for the coordinator");
        let (arrived, arrived_bytes) = ("Rows that other workers sent it", "Bytes of these rows");
        let (spilled, files) = ("Bytes that operators wrote to files", "Files that they wrote");
        let metrics = Self {
            gauges: Gauges::new(registry),
            lookups: Arc::new(Lookups::new(registry, counted_stores)),
            shuffles: ConnectionCounts::register(registry, "shuffle_connections"),
            shuffled: Totals {
                rows: registered(registry, "shuffle_received_rows", arrived),
                bytes: registered(registry, "shuffle_received_bytes", arrived_bytes),
            },
            reloads: SecurityReloads::register(registry),
            life: Life::new(registry),
            tasks: Tasks::new(registry),
            output_rows: registered(registry, "output_rows", rows),
            output_bytes: registered(registry, "output_bytes", bytes),
            spilled_bytes: registered(registry, "spilled_bytes", spilled),
            spill_files: registered(registry, "spill_files", files),
            registry: all,
        };
        Arc::new(metrics)
    }

    /// All of them, in the format of OpenMetrics.
    pub(crate) fn text(&self) -> String {
        text(&self.registry)
    }

    /// Whether a coordinator gives it tasks.
    ///
    /// # Errors
    /// Why not, in words.
    pub(crate) fn ready(&self) -> std::result::Result<(), String> {
        match (self.life.registered.get() > 0, self.life.draining.get() > 0) {
            (_, true) => Err("the worker drains: it takes no new tasks".to_owned()),
            (false, _) => Err("the worker is not registered with a coordinator".to_owned()),
            (true, false) => Ok(()),
        }
    }

    /// A worker of so many slots, until this is dropped.
    pub(crate) fn slots(&self, slots: u32) -> Counted {
        Counted::some(&self.life.slots, slots.into())
    }

    /// A coordinator has registered the worker, until this is dropped.
    pub(crate) fn register(&self) -> Counted {
        self.life.registrations.inc();
        Counted::one(&self.life.registered)
    }

    /// The worker takes no new tasks, until this is dropped.
    pub(crate) fn drain(&self) -> Counted {
        Counted::one(&self.life.draining)
    }

    /// How many slots are free, and how many tasks have.
    pub(crate) fn free_and_taken(&self) -> (i64, i64) {
        let taken = self.life.taken.get();
        (self.life.slots.get().saturating_sub(taken).max(0), taken)
    }

    /// An attempt begins.
    pub(crate) fn begin(self: &Arc<Self>, work: &Work) -> Attempt {
        let is_question = !matches!(work, Work::Fragment { .. } | Work::Shuffle { .. });
        let slot = (!is_question).then(|| Counted::one(&self.life.taken));
        let (metrics, begun) = (Arc::clone(self), Instant::now());
        Attempt { metrics, begun, is_question, slot, is_told: false }
    }

    /// Counts what a task's plan has counted, when the task ends.
    pub(crate) fn count_plan(self: &Arc<Self>, plan: &Arc<dyn ExecutionPlan>) -> CountedPlan {
        CountedPlan { metrics: Arc::clone(self), plan: Arc::clone(plan) }
    }

    /// Counts what a node of a plan has counted, which has run.
    pub(crate) fn count_node(&self, node: &Arc<dyn ExecutionPlan>) {
        match node.downcast_ref::<KvLookupExec>() {
            Some(lookup) => self.lookups.count(lookup),
            None => node.metrics().iter().for_each(|set| self.count_spills(set)),
        }
    }

    fn count_spills(&self, counted: &MetricsSet) {
        self.spilled_bytes.inc_by(counted.spilled_bytes().unwrap_or_default() as u64);
        self.spill_files.inc_by(counted.spill_count().unwrap_or_default() as u64);
    }
}

impl Life {
    fn new(registry: &mut Registry) -> Self {
        let is_registered = "Whether a coordinator has it registered";
        let (slots, taken) = (Gauge::default(), Gauge::default());
        Self {
            registered: registered(registry, "registered", is_registered),
            draining: registered(registry, "draining", "Whether it takes no new tasks"),
            registrations: registered(registry, "registrations", "How often it registered"),
            slots,
            taken,
        }
    }
}

impl Tasks {
    fn new(registry: &mut Registry) -> Self {
        let times: Times<1> = times_by();
        registry.register("task_duration_seconds", "Seconds that attempts took", times.clone());
        let questions = "Questions about stores and inputs that have ended";
        Self {
            ended: registered(registry, "tasks_ended", "Attempts at tasks that have ended"),
            times,
            questions: registered(registry, "questions", questions),
        }
    }
}

impl Attempt {
    /// It has its slot no more.
    pub(crate) fn give_slot_back(&mut self) {
        self.slot = None;
    }

    /// Counts how it ended.
    pub(crate) fn end(&mut self, ended: &Result<TaskReport>) {
        self.is_told = true;
        let (tasks, outcome) = (&self.metrics.tasks, [("outcome", outcome(ended))]);
        if self.is_question {
            tasks.questions.get_or_create(&outcome).inc();
            return;
        }
        tasks.ended.get_or_create(&ending(ended)).inc();
        tasks.times.get_or_create(&outcome).observe(self.begun.elapsed().as_secs_f64());
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        if !self.is_told {
            self.end(&Err(Error::cancelled("the attempt was dropped")));
        }
    }
}

impl Drop for CountedPlan {
    fn drop(&mut self) {
        // Nothing that is done for a node fails.
        let _ = self.plan.apply(|node| {
            self.metrics.count_node(node);
            Ok(TreeNodeRecursion::Continue)
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_is_ready_while_it_is_registered_and_does_not_drain() {
        let metrics = Metrics::new(1);
        let not_registered = "the worker is not registered with a coordinator";
        assert_eq!(metrics.ready().unwrap_err(), not_registered);
        let life = metrics.register();
        assert_eq!(metrics.ready(), Ok(()));
        let drains = metrics.drain();
        assert_eq!(metrics.ready().unwrap_err(), "the worker drains: it takes no new tasks");
        drop((life, drains));
        assert_eq!(metrics.ready().unwrap_err(), not_registered);
        let text = metrics.text();
        assert!(text.contains("\nkeyloom_worker_registrations_total 1\n"), "{text}");
        assert!(text.contains("\nkeyloom_worker_registered 0\n"), "{text}");
    }

    #[test]
    fn attempts_are_counted_by_their_ends() {
        let metrics = Metrics::new(1);
        let _slots = metrics.slots(2);
        let attempt = |slot: Option<Counted>| {
            let (metrics, begun) = (Arc::clone(&metrics), Instant::now());
            let is_question = slot.is_none();
            Attempt { metrics, begun, is_question, slot, is_told: false }
        };
        let slot = || Some(Counted::one(&metrics.life.taken));
        let mut task = attempt(slot());
        assert_eq!(metrics.free_and_taken(), (1, 1));
        task.give_slot_back();
        assert_eq!(metrics.free_and_taken(), (2, 0));
        task.end(&Err(Error::timeout("too late")));
        attempt(None).end(&Err(Error::cancelled("stopped")));
        drop(task);
        // As when the coordinator is gone.
        drop(attempt(slot()));
        assert_eq!(metrics.free_and_taken(), (2, 0));
        let text = metrics.text();
        for line in [
            "keyloom_worker_tasks_ended_total{outcome=\"failed\",kind=\"timeout\"} 1",
            "keyloom_worker_tasks_ended_total{outcome=\"cancelled\",kind=\"none\"} 1",
            "keyloom_worker_task_duration_seconds_count{outcome=\"failed\"} 1",
            "keyloom_worker_questions_total{outcome=\"cancelled\"} 1",
        ] {
            assert!(text.lines().any(|told| told == line), "no '{line}' in\n{text}");
        }
    }
}
