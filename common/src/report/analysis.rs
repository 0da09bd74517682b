//! How a job ran, part by part: what EXPLAIN ANALYZE tells, as data. The names of the fields are
//! those of its JSON, and stay.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Metric, Unit, counter};

/// The node that stands for a stage: what is below it runs on workers.
pub const STAGE_NODE: &str = "RemoteExec";

/// How a job ran. Times are wall times as the coordinator saw them, in seconds; shares are percent
/// of the whole. What runs at the same time has its own share each, so they may exceed 100.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Analysis {
    /// From when the job's turn came to its last row.
    pub seconds: f64,
    /// Tasks that the workers could run at once when it ended.
    pub slots: u32,
    /// The stages, by number.
    pub stages: Vec<StageRun>,
    /// The nodes of the plan, in pre-order.
    pub nodes: Vec<NodeRun>,
    /// What was asked of stores, by alias.
    pub stores: Vec<StoreRun>,
    /// What the figures say of waste, in words.
    pub notes: Vec<Note>,
}

/// The tasks of a fragment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StageRun {
    /// Its number.
    pub stage: u32,
    /// Its tasks.
    pub tasks: u32,
    /// Workers that finished some.
    pub workers: u32,
    /// Rows that the tasks gave.
    pub rows: u64,
    /// When its first task began, after the job had.
    pub start_seconds: f64,
    /// From the first start of a task to the last end.
    pub seconds: f64,
    /// The share of that.
    pub share_percent: f64,
    /// The sum over its tasks.
    pub task_seconds: f64,
    /// The task that took longest.
    pub slowest: Option<SlowTask>,
}

/// A task that took longer than others.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SlowTask {
    /// Its number within the stage.
    pub task: u32,
    /// The name of its worker, or its id if it is gone.
    pub worker: String,
    /// How long it took.
    pub seconds: f64,
}

/// A node of the plan that has run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct NodeRun {
    /// How many nodes are above it.
    pub depth: u32,
    /// Its kind.
    pub name: String,
    /// What EXPLAIN shows of it.
    pub line: String,
    /// The stage whose tasks ran it; none if the coordinator did.
    pub stage: Option<u32>,
    /// The rows that it gave, if it counts them.
    pub rows: Option<u64>,
    /// Its part of its stage's time, by what the nodes there counted; of the coordinator's nodes,
    /// what they counted themselves.
    pub seconds: f64,
    /// The share of that.
    pub share_percent: f64,
    /// What it counted, summed up over tasks.
    pub metrics: Vec<Metric>,
}

/// What a job asked of a store, by all its lookups.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StoreRun {
    /// The alias.
    pub store: String,
    /// The kind.
    pub kind: String,
    /// What keys are compared with.
    pub key: String,
    /// The ways from keys to rows, where there are several, in the words of the store's kind.
    pub key_paths: Vec<String>,
    /// The ways from rows to values, where there are several and values are read.
    pub row_paths: Vec<String>,
    /// Its rows, if that is known.
    pub rows: Option<u64>,
    /// Its columns.
    pub columns: u32,
    /// Those of which values were asked.
    pub columns_used: u32,
    /// The bytes of an average row in those.
    pub row_bytes: u64,
    /// The bytes of a map of all its keys.
    pub key_map_bytes: u64,
    /// The most bytes that such a map may take on a worker.
    pub max_key_map_bytes: u64,
    /// The most bytes of columns that a worker keeps.
    pub column_cache_bytes: u64,
    /// What was counted, by the names of [`counter`]; times are in nanoseconds.
    pub counters: BTreeMap<String, u64>,
}

/// What figures say, in words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    /// What it is about.
    pub kind: NoteKind,
    /// The same for people; it begins with the name of the store or the part.
    pub text: String,
}

/// What notes are about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NoteKind {
    /// A store's keys were read more than once.
    KeysReadAgain,
    /// Many keys were not found.
    ManyMisses,
    /// Requests of few keys each.
    SmallRequests,
    /// Requests were made again.
    Retries,
    /// How many of a store's columns were used.
    Columns,
    /// What is kept of a store is not enough.
    SmallCache,
    /// A task took much longer than the others of its stage.
    SlowTask,
    /// There were fewer tasks than slots.
    FewTasks,
    /// The first task began late.
    LateStart,
    /// The coordinator computed for most of the time.
    Gather,
    /// Rows went to disk.
    Spill,
}

impl StoreRun {
    /// One of its counters; 0 if it was not counted.
    pub fn counted(&self, name: &str) -> u64 {
        self.counters.get(name).copied().unwrap_or_default()
    }

    /// Adds a counter.
    pub fn count(&mut self, name: &str, value: u64) {
        let counter = self.counters.entry(name.to_owned()).or_default();
        *counter = counter.saturating_add(value);
    }
}

impl NodeRun {
    /// One of its counters that is of no store.
    pub fn counted(&self, name: &str) -> Option<u64> {
        let own = |metric: &&Metric| metric.store.is_none() && metric.name == name;
        self.metrics.iter().find(own).map(|metric| metric.value)
    }

    /// Whether it stands for a stage.
    pub fn is_stage(&self) -> bool {
        self.name == STAGE_NODE
    }
}

impl StageRun {
    /// What its tasks took on average, but for the slowest; none if there are no others.
    pub fn others_seconds(&self) -> Option<f64> {
        let slowest = self.slowest.as_ref()?;
        let others = self.tasks.checked_sub(1).filter(|others| *others > 0)?;
        Some((self.task_seconds - slowest.seconds).max(0.0) / f64::from(others))
    }
}

/// The time that a node counted, all tasks together, in nanoseconds. Its timers overlap: the
/// longest stands for it. Those of stores are beside it.
pub fn counted_ns(metrics: &[Metric]) -> u64 {
    let times = || metrics.iter().filter(|metric| metric.unit == Unit::Nanoseconds);
    let own = times().filter(|metric| metric.store.is_none()).map(|metric| metric.value).max();
    let of_stores = times().filter(|metric| metric.name == counter::FETCH_TIME);
    of_stores.fold(own.unwrap_or_default(), |sum, metric| sum.saturating_add(metric.value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(name: &str, store: Option<&str>, value: u64) -> Metric {
        let store = store.map(ToOwned::to_owned);
        Metric { name: name.to_owned(), store, value, unit: Unit::Nanoseconds }
    }

    #[test]
    fn the_longest_timer_of_a_node_stands_for_it_beside_those_of_stores() {
        let rows = Metric { unit: Unit::Count, ..time("output_rows", None, 1000) };
        let metrics = [
            rows,
            time("elapsed_compute", None, 5),
            time("scan_time", None, 7),
            time(counter::FETCH_TIME, Some("a"), 20),
            time(counter::FETCH_TIME, Some("b"), 30),
        ];
        assert_eq!(counted_ns(&metrics), 57);
        assert_eq!(counted_ns(&[]), 0);
    }

    #[test]
    fn the_slowest_task_is_not_among_the_others() {
        let slowest = Some(SlowTask { seconds: 6.0, ..SlowTask::default() });
        let stage = StageRun { tasks: 4, task_seconds: 9.0, slowest, ..StageRun::default() };
        assert_eq!(stage.others_seconds(), Some(1.0));
        assert_eq!(StageRun { tasks: 1, ..stage }.others_seconds(), None);
        assert_eq!(StageRun::default().others_seconds(), None);
    }

    #[test]
    fn counters_add_up_and_are_0_where_nothing_was_counted() {
        let mut store = StoreRun::default();
        store.count("keys", 2);
        store.count("keys", 3);
        assert_eq!((store.counted("keys"), store.counted("hits")), (5, 0));
    }
}
