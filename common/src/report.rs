//! What was counted: by each node of a plan, by each store, by a whole job.

use std::{collections::BTreeMap, fmt::Write, sync::Arc};

use datafusion::physical_plan::{ExecutionPlan, displayable, metrics::MetricValue};
use serde::{Deserialize, Serialize};

mod advice;
mod analysis;
mod job;
mod log;
pub mod parts;
mod progress;
mod share;
mod text;
pub mod words;

use crate::{
    error::{Error, Result},
    misses::Distinct,
};
pub use advice::{Advice, Hint, Way};
pub use analysis::{
    Analysis, NodeRun, Note, NoteKind, STAGE_NODE, SlowTask, StageRun, StoreRun, counted_ns,
};
pub use job::{JobInfo, JobList, JobState, RowSchema};
pub use log::{JobLog, LogKind, LogLine};
pub use progress::{JobProgress, StageProgress, StageWork, StoreProgress, TaskProgress, Underway};
pub use share::{Furthest, Share, TASK};

/// The names under which the lookup operator counts, for each store.
pub mod counter {
    /// Keys that rows asked for.
    pub const KEYS: &str = "keys";
    /// Distinct keys among them, batch by batch.
    pub const DISTINCT: &str = "distinct";
    /// Distinct keys that the store holds.
    pub const HITS: &str = "hits";
    /// Distinct keys that the store does not hold.
    pub const MISSES: &str = "misses";
    /// Requests made to the store.
    pub const REQUESTS: &str = "requests";
    /// Rows of which values were read one by one.
    pub const ROWS_TAKEN: &str = "rows_taken";
    /// Rows of which values were read in whole blocks of a column.
    pub const ROWS_SCANNED: &str = "rows_scanned";
    /// Bytes of values read, decoded.
    pub const BYTES_FETCHED: &str = "bytes_fetched";
    /// Keys of the store read to find the rows.
    pub const KEYS_SCANNED: &str = "keys_scanned";
    /// Keys of the store read again, to compare those that were found by a hash.
    pub const KEYS_VERIFIED: &str = "keys_verified";
    /// Blocks of columns that were needed.
    pub const BLOCKS: &str = "blocks";
    /// Blocks among them that were in memory.
    pub const BLOCK_HITS: &str = "block_hits";
    /// Requests that reached a store of another kind than those that are built in, and were
    /// answered at last, each as often as it was made.
    pub const REQUESTS_MADE: &str = "requests_made";
    /// Requests among them that were made again.
    pub const RETRIES: &str = "retries";
    /// Keys whose answers were kept from before, so that nothing was asked.
    pub const ANSWER_HITS: &str = "answer_hits";
    /// Time that requests took, summed up.
    pub const FETCH_TIME: &str = "fetch_time";
    /// Time that rows of an input were waited for.
    pub const SCAN_TIME: &str = "scan_time";
    /// Rows that came to other workers, where they are shuffled.
    pub const ROWS_SENT: &str = "rows_sent";
    /// Bytes of their values.
    pub const BYTES_SENT: &str = "bytes_sent";
    /// Rows written to an output.
    pub const ROWS_WRITTEN: &str = "rows_written";
    /// Bytes of files written to an output.
    pub const BYTES_WRITTEN: &str = "bytes_written";
    /// Files written to an output.
    pub const FILES_WRITTEN: &str = "files_written";
    /// The label that names the store.
    pub const STORE_LABEL: &str = "store";
}

/// The most counters of a node that a peer may tell of: some twenty for each store of a lookup.
pub(crate) const MAX_COUNTERS: usize = 4096;

/// One counter of one node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Metric {
    /// Its name.
    pub name: String,
    /// The alias of the store that it counts for.
    pub store: Option<String>,
    /// Its value.
    pub value: u64,
    /// What the value counts.
    pub unit: Unit,
}

/// What a metric's value counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Unit {
    /// Things.
    Count,
    /// Nanoseconds.
    Nanoseconds,
    /// Bytes.
    Bytes,
}

/// The counters of a plan's nodes, in pre-order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanMetrics {
    nodes: Vec<Vec<Metric>>,
}

impl PlanMetrics {
    /// Reads the counters of a plan that has run.
    pub fn of(plan: &dyn ExecutionPlan) -> Self {
        let mut nodes = Vec::new();
        collect(plan, &mut nodes);
        Self { nodes }
    }

    /// Reads the counters of a plan's root alone.
    pub fn of_node(plan: &dyn ExecutionPlan) -> Self {
        Self { nodes: vec![node_metrics(plan)] }
    }

    /// Refuses more counters of a node than any has: they are found one by one when those of a
    /// stage's tasks are added up.
    ///
    /// # Errors
    /// `internal`, naming the bound.
    pub fn check(&self) -> Result<()> {
        match self.nodes.iter().map(Vec::len).max() {
            Some(counters) if counters > MAX_COUNTERS => Err(Error::internal(format!(
                "bad report from a peer: {counters} counters of a node, more than {MAX_COUNTERS}"
            ))),
            _ => Ok(()),
        }
    }

    /// Adds the counters of a run of a part of the plan, whose nodes, in pre-order, stand at these
    /// places in it. Further nodes of that run are none of the plan's. Workers count, and what they
    /// say may be anything: sums stay at the largest number.
    pub fn merge(&mut self, part: &Self, places: &[usize]) {
        for (theirs, &place) in part.nodes.iter().zip(places) {
            if self.nodes.len() <= place {
                self.nodes.resize(place + 1, Vec::new());
            }
            for metric in theirs {
                self.add(place, metric.clone());
            }
        }
    }

    /// Adds a counter of the node at a place. A node that has more than any does takes no others.
    pub fn add(&mut self, place: usize, metric: Metric) {
        if self.nodes.len() <= place {
            self.nodes.resize(place + 1, Vec::new());
        }
        let node = &mut self.nodes[place];
        match node.iter().position(|m| m.name == metric.name && m.store == metric.store) {
            Some(same) => node[same].value = node[same].value.saturating_add(metric.value),
            None if node.len() < MAX_COUNTERS => node.push(metric),
            None => {}
        }
    }

    /// What was counted for each store.
    pub fn stores(&self) -> BTreeMap<String, StoreStats> {
        let mut stores = BTreeMap::<String, StoreStats>::new();
        for metric in self.nodes.iter().flatten() {
            if let Some(alias) = &metric.store {
                stores.entry(alias.clone()).or_default().count(metric);
            }
        }
        stores
    }

    /// What the node at a place counted.
    pub fn node(&self, place: usize) -> &[Metric] {
        self.nodes.get(place).map(Vec::as_slice).unwrap_or_default()
    }

    /// The sum of what the node at a place counted by a name, for all stores.
    pub fn sum(&self, place: usize, name: &str) -> u64 {
        let counted = self.node(place).iter().filter(|metric| metric.name == name);
        counted.fold(0, |sum, metric| sum.saturating_add(metric.value))
    }

    /// What was counted for stores, node by node.
    pub fn of_stores(&self) -> impl Iterator<Item = (&str, &Metric)> {
        let metrics = self.nodes.iter().flatten();
        metrics.filter_map(|metric| Some((metric.store.as_deref()?, metric)))
    }

    /// The plan as text, each node with its counters, every line behind `depth` steps of indent.
    pub fn render(&self, plan: &Arc<dyn ExecutionPlan>, depth: usize) -> String {
        let mut text = String::new();
        let mut nodes = self.nodes.iter();
        render(plan.as_ref(), depth, &mut nodes, &mut text);
        text
    }
}

fn collect(plan: &dyn ExecutionPlan, nodes: &mut Vec<Vec<Metric>>) {
    nodes.push(node_metrics(plan));
    for child in plan.children() {
        collect(child.as_ref(), nodes);
    }
}

fn node_metrics(plan: &dyn ExecutionPlan) -> Vec<Metric> {
    let mut metrics: Vec<Metric> = Vec::new();
    for metric in plan.metrics().iter().flat_map(|set| set.iter()) {
        let unit = match metric.value() {
            MetricValue::OutputRows(_) | MetricValue::Count { .. } => Unit::Count,
            MetricValue::ElapsedCompute(_) | MetricValue::Time { .. } => Unit::Nanoseconds,
            MetricValue::OutputBytes(_) | MetricValue::SpilledBytes(_) => Unit::Bytes,
            // Times of day, ratios and gauges do not add up over tasks.
            _ => continue,
        };
        let name = metric.value().name();
        // One for each column of a projection: too many to be read.
        if name.starts_with("expr_") && name.ends_with("_eval_time") {
            continue;
        }
        let label = metric.labels().iter().find(|label| label.name() == counter::STORE_LABEL);
        let store = label.map(|label| label.value().to_owned());
        let value = metric.value().as_usize() as u64;
        match metrics.iter_mut().find(|m| m.name == name && m.store == store) {
            Some(same) => same.value += value,
            None => metrics.push(Metric { name: name.to_owned(), store, value, unit }),
        }
    }
    metrics
}

fn render<'a>(
    plan: &dyn ExecutionPlan,
    depth: usize,
    nodes: &mut impl Iterator<Item = &'a Vec<Metric>>,
    text: &mut String,
) {
    render_line(plan, depth, nodes.next(), text);
    for child in plan.children() {
        render(child.as_ref(), depth + 1, nodes, text);
    }
}

fn render_line(
    plan: &dyn ExecutionPlan,
    depth: usize,
    metrics: Option<&Vec<Metric>>,
    text: &mut String,
) {
    let line = displayable(plan).one_line().to_string();
    let metrics = metrics.map(|metrics| render_metrics(metrics)).unwrap_or_default();
    let indent = depth * 2;
    let _ = writeln!(text, "{:indent$}{}, metrics=[{metrics}]", "", line.trim_end());
}

fn render_metrics(metrics: &[Metric]) -> String {
    let shown: Vec<_> = metrics.iter().filter(|m| m.value > 0 || is_basic(m)).collect();
    let plain = shown.iter().filter(|m| m.store.is_none()).map(|m| m.to_string());
    let mut stores: Vec<&String> = shown.iter().filter_map(|m| m.store.as_ref()).collect();
    stores.sort();
    stores.dedup();
    let by_store = stores.into_iter().map(|alias| {
        let of_store = shown.iter().filter(|m| m.store.as_ref() == Some(alias));
        let counters: Vec<_> = of_store.map(|m| m.to_string()).collect();
        format!("{alias}: {{{}}}", counters.join(", "))
    });
    plain.chain(by_store).collect::<Vec<_>>().join(", ")
}

/// What is shown of a store even if there was none of it.
fn is_basic(metric: &Metric) -> bool {
    use counter::{BYTES_FETCHED, DISTINCT, HITS, KEYS, MISSES, REQUESTS};
    let basic = [KEYS, DISTINCT, HITS, MISSES, REQUESTS, BYTES_FETCHED];
    metric.store.is_some() && basic.contains(&metric.name.as_str())
}

impl std::fmt::Display for Metric {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.unit {
            Unit::Count | Unit::Bytes => write!(f, "{}={}", self.name, self.value),
            Unit::Nanoseconds => {
                write!(f, "{}={:?}", self.name, std::time::Duration::from_nanos(self.value))
            }
        }
    }
}

/// What a job counted for one store. Keys are counted a row, requests and what they found by the
/// distinct keys of those rows that were looked up together, and the last four over the whole job.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoreStats {
    /// Keys that rows asked for.
    pub keys: u64,
    /// Distinct keys among them, batch by batch.
    pub distinct: u64,
    /// Distinct keys that the store holds.
    pub hits: u64,
    /// Distinct keys that the store does not hold.
    pub misses: u64,
    /// Requests made to the store.
    pub requests: u64,
    /// Bytes of values read, decoded.
    pub bytes: u64,
    /// Distinct keys of all rows.
    pub job_keys: u64,
    /// Rows, or elements of their lists, that asked for a key's values and missed the key.
    pub missed_rows: u64,
    /// Distinct keys among those that were missed.
    pub missed_keys: u64,
    /// Whether there were too many distinct keys to count them exactly: there are about so many.
    pub is_about: bool,
}

impl StoreStats {
    /// Adds what was counted elsewhere, but for what is counted over the whole job.
    pub fn add(&mut self, other: &Self) {
        self.keys = self.keys.saturating_add(other.keys);
        self.distinct = self.distinct.saturating_add(other.distinct);
        self.hits = self.hits.saturating_add(other.hits);
        self.misses = self.misses.saturating_add(other.misses);
        self.requests = self.requests.saturating_add(other.requests);
        self.bytes = self.bytes.saturating_add(other.bytes);
    }

    /// Sets what was counted over the whole job: distinct keys, rows that missed theirs,
    /// and distinct keys of those.
    pub fn set_job(&mut self, keys: Distinct, missed_rows: u64, missed: Distinct) {
        (self.job_keys, self.missed_rows, self.missed_keys) =
            (keys.count, missed_rows, missed.count);
        self.is_about = !(keys.is_exact && missed.is_exact);
    }

    fn count(&mut self, metric: &Metric) {
        let field = match metric.name.as_str() {
            counter::KEYS => &mut self.keys,
            counter::DISTINCT => &mut self.distinct,
            counter::HITS => &mut self.hits,
            counter::MISSES => &mut self.misses,
            counter::REQUESTS => &mut self.requests,
            counter::BYTES_FETCHED => &mut self.bytes,
            _ => return,
        };
        *field = field.saturating_add(metric.value);
    }
}

/// How far a job is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobStatus {
    /// Tasks known so far.
    pub tasks: u32,
    /// Tasks done.
    pub tasks_done: u32,
    /// Workers that could take tasks now.
    pub workers: u32,
}

/// What a finished job did.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct JobSummary {
    /// Rows of its result, taken or dropped.
    pub rows: u64,
    /// Tasks that it was cut into.
    pub tasks: u32,
    /// Workers that finished tasks of it; where it was resumed by another coordinator, since then.
    pub workers: u32,
    /// What was counted for each store.
    pub stores: BTreeMap<String, StoreStats>,
    /// Rows that missed their keys and that are not told one by one, though they were to be: there
    /// was no room for them.
    pub missed_left_out: u64,
    /// The plan with its times and counters.
    pub plan: String,
    /// How it ran, part by part.
    pub analysis: Analysis,
}

/// A worker as the coordinator sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerStatus {
    /// Its id in this life.
    pub id: crate::WorkerId,
    /// The name it gave.
    pub name: String,
    /// Tasks that it may run at once.
    pub slots: u32,
    /// Tasks that it runs, and shuffles of others in which it takes part.
    pub running: u32,
    /// Whether it takes no new tasks.
    pub draining: bool,
}

#[cfg(test)]
mod tests;
