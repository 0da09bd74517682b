//! What the operators of a part have counted, and how that crosses to who sent the part out.
//!
//! What shuffles carries counters of DataFusion's kinds and their labels, node by node as it knows
//! nodes. A part is one node to it: all that its operators counted is the label of one counter.

use std::{collections::BTreeMap, sync::Arc};

use datafusion::physical_plan::{
    ExecutionPlan,
    metrics::{Count, Label, Metric as Counter, MetricValue, MetricsSet},
};
use serde::{Deserialize, Serialize};

use crate::{
    lookup::KvLookupExec,
    misses::FetchTally,
    report::{MAX_COUNTERS, Metric, PlanMetrics},
    rpc::bincode,
};

/// The name of the counter, and that of its label.
const PART: &str = "keyloom_part";
const COUNTS: &str = "keyloom_counts";

/// What one operator has counted, all its partitions together.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeCounts {
    /// Its counters.
    pub metrics: Vec<Metric>,
    /// Rows that it looked up, if it does.
    pub rows: u64,
    /// What it counted of its keys, for each store.
    pub fetches: Vec<FetchTally>,
}

/// What the operators of a part have counted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartCounts {
    /// The number of the part.
    pub part: u32,
    /// Its operators, in pre-order, without the parts below.
    pub nodes: Vec<NodeCounts>,
}

impl PartCounts {
    /// What these operators have counted so far; of their keys in about so many bytes.
    pub fn of(part: u32, operators: &[Arc<dyn ExecutionPlan>], key_bytes: u64) -> Self {
        let lookups = operators.iter().filter_map(|node| node.downcast_ref::<KvLookupExec>());
        let fetches: usize =
            lookups.flat_map(|lookup| lookup.waves()).map(|wave| wave.fetches.len()).sum();
        let share = key_bytes / (fetches as u64).max(1);
        let nodes = operators.iter().map(|node| {
            let metrics = PlanMetrics::of_node(node.as_ref()).node(0).to_vec();
            match node.downcast_ref::<KvLookupExec>() {
                Some(lookup) => NodeCounts {
                    metrics,
                    rows: lookup.tally().rows(),
                    fetches: by_store(lookup, share).into_values().collect(),
                },
                None => NodeCounts { metrics, ..NodeCounts::default() },
            }
        });
        Self { part, nodes: nodes.collect() }
    }

    /// The same as a counter that crosses; nothing if there is too much to tell.
    pub(super) fn to_set(&self) -> MetricsSet {
        let mut set = MetricsSet::new();
        if let Ok(bytes) = bincode::encode(self) {
            // A label is text: each byte is a character of its own.
            let counts: String = bytes.into_iter().map(char::from).collect();
            let (name, count) = (PART.into(), Count::new());
            let value = MetricValue::Count { name, count };
            let labels = vec![Label::new(COUNTS, counts)];
            set.push(Arc::new(Counter::new_with_labels(value, None, labels)));
        }
        set
    }

    /// Reads what a node has told; none if it is no part, or what it told cannot be read, or are
    /// more counters of an operator than any has.
    pub fn from_set(set: &MetricsSet) -> Option<Self> {
        let told = set.iter().find(|counter| counter.value().name() == PART)?;
        let label = told.labels().iter().find(|label| label.name() == COUNTS)?;
        let bytes = label.value().chars().map(u8::try_from).collect::<Result<Vec<_>, _>>().ok()?;
        let counts: Self = bincode::decode(&bytes).ok()?;
        counts.nodes.iter().all(|node| node.metrics.len() <= MAX_COUNTERS).then_some(counts)
    }
}

/// What a lookup has counted of the keys of each store, in about so many bytes for each.
fn by_store(lookup: &KvLookupExec, bytes: u64) -> BTreeMap<String, FetchTally> {
    let mut stores = BTreeMap::new();
    lookup.tally().each(|fetch| {
        let new = || FetchTally::new(&fetch.store, [], bytes);
        let of_store = stores.entry(fetch.store.clone()).or_insert_with(new);
        of_store.merge(fetch);
    });
    stores
}

/// The operators of a plan in pre-order, down to these inputs.
pub fn operators(
    plan: &Arc<dyn ExecutionPlan>,
    inputs: &[Arc<dyn ExecutionPlan>],
) -> Vec<Arc<dyn ExecutionPlan>> {
    let mut found = Vec::new();
    collect(plan, inputs, &mut found);
    found
}

fn collect(
    plan: &Arc<dyn ExecutionPlan>,
    inputs: &[Arc<dyn ExecutionPlan>],
    found: &mut Vec<Arc<dyn ExecutionPlan>>,
) {
    if inputs.iter().any(|input| Arc::ptr_eq(input, plan)) {
        return;
    }
    found.push(Arc::clone(plan));
    for child in plan.children() {
        collect(child, inputs, found);
    }
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::{DataType, Field, Schema};
    use datafusion::physical_plan::{
        coalesce_partitions::CoalescePartitionsExec, empty::EmptyExec, union::UnionExec,
    };

    use super::*;
    use crate::report::Unit;

    fn metric(name: &str, store: Option<&str>, value: u64) -> Metric {
        let store = store.map(ToOwned::to_owned);
        Metric { name: name.to_owned(), store, value, unit: Unit::Nanoseconds }
    }

    #[test]
    fn what_was_counted_crosses_as_one_counter() {
        let mut keys = FetchTally::new("s", [], 1 << 10);
        (keys.asked, keys.missed) = (u64::MAX, 3);
        keys.keys.add(0x80ff_0012_3456_789a);
        let metrics = vec![metric("output_rows", None, 1), metric("keys", Some("é"), u64::MAX)];
        let lookup = NodeCounts { metrics, rows: 7, fetches: vec![keys] };
        let counts = PartCounts { part: 3, nodes: vec![NodeCounts::default(), lookup] };
        let set = counts.to_set();
        assert_eq!(set.iter().count(), 1);
        assert_eq!(PartCounts::from_set(&set), Some(counts));
    }

    #[test]
    fn other_counters_and_false_labels_are_none_of_a_part() {
        assert_eq!(PartCounts::from_set(&MetricsSet::new()), None);
        for label in ["", "no counts", "→", "\u{ff}\u{ff}\u{ff}"] {
            let value = MetricValue::Count { name: PART.into(), count: Count::new() };
            let labels = vec![Label::new(COUNTS, label)];
            let mut set = MetricsSet::new();
            set.push(Arc::new(Counter::new_with_labels(value, None, labels)));
            assert_eq!(PartCounts::from_set(&set), None, "{label}");
        }
    }

    #[test]
    fn more_counters_of_an_operator_than_any_has_are_not_read() {
        for (counters, is_read) in [(MAX_COUNTERS, true), (MAX_COUNTERS + 1, false)] {
            let metrics = vec![metric("rows", None, 1); counters];
            let nodes = vec![NodeCounts { metrics, ..NodeCounts::default() }];
            let told = PartCounts::from_set(&PartCounts { part: 0, nodes }.to_set());
            assert_eq!(told.is_some(), is_read, "{counters} counters");
        }
    }

    #[test]
    fn operators_are_those_above_the_inputs() {
        let schema = Arc::new(Schema::new(vec![Field::new("id", DataType::Int64, true)]));
        let empty = || Arc::new(EmptyExec::new(Arc::clone(&schema))) as Arc<dyn ExecutionPlan>;
        let merged = |input: &Arc<dyn ExecutionPlan>| {
            Arc::new(CoalescePartitionsExec::new(Arc::clone(input))) as Arc<dyn ExecutionPlan>
        };
        let (one, other) = (merged(&empty()), empty());
        let union = UnionExec::try_new(vec![Arc::clone(&one), merged(&other)]).unwrap();
        let names = |inputs: &[Arc<dyn ExecutionPlan>]| -> Vec<String> {
            operators(&union, inputs).iter().map(|node| node.name().to_owned()).collect()
        };
        assert_eq!(names(&[one, other]), ["UnionExec", "CoalescePartitionsExec"]);
        assert_eq!(names(&[]).len(), 5);
    }
}
