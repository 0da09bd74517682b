//! What the operators of a shuffled plan count, on whatever worker they run: added up for the nodes
//! of the plan as it was handed out, of which the stages were made.

use std::{
    collections::BTreeMap,
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

use datafusion::{
    execution::SendableRecordBatchStream,
    physical_plan::{ExecutionPlan, metrics::MetricsSet},
};
use keyloom_common::{
    misses::{FetchTally, LookupTally, share},
    plan::{Begun, NodeCounts, PartCounts, Telling, operators},
    report::{Metric, PlanMetrics, Unit, counter},
};

use super::{
    crossing::{Arrived, told},
    places::places,
};

/// Rows of a shuffled plan, and what its operators count until the last one.
pub(crate) struct Shuffled {
    pub(crate) batches: SendableRecordBatchStream,
    pub(crate) counted: Arc<Counted>,
}

/// What a plan's operators count.
#[derive(Debug)]
pub(crate) struct Counted {
    telling: Telling,
    /// The bytes in which keys of one store are counted that one lookup asks for.
    key_share: u64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// For each part the places of its operators in the plan.
    places: Vec<Vec<Option<usize>>>,
    /// The operators of parts that run in this process.
    here: Vec<(u32, Vec<Arc<dyn ExecutionPlan>>)>,
    /// What stages have sent to other workers, by their numbers.
    stages: BTreeMap<usize, Sent>,
    metrics: PlanMetrics,
    lookups: BTreeMap<usize, Lookup>,
}

/// What a stage has sent.
#[derive(Debug)]
struct Sent {
    /// The place of the node that it is told of.
    place: usize,
    arrived: Arrived,
}

#[derive(Debug, Default)]
struct Lookup {
    rows: u64,
    stores: BTreeMap<String, FetchTally>,
}

impl Counted {
    /// Nothing is counted yet for this plan.
    pub(super) fn of(plan: &Arc<dyn ExecutionPlan>, telling: Telling) -> Arc<Self> {
        let key_share = share(plan, telling.key_bytes);
        Arc::new(Self { telling, key_share, state: Mutex::default() })
    }

    /// The same, where one plan is run that was made of the other.
    pub(super) fn alone(
        plan: &Arc<dyn ExecutionPlan>,
        made_of: &Arc<dyn ExecutionPlan>,
        telling: Telling,
    ) -> Arc<Self> {
        let counted = Self::of(made_of, telling);
        let run = operators(plan, &[]);
        counted.set_places(vec![places(&run, &operators(made_of, &[]))]);
        counted.lock().here.push((0, run));
        counted
    }

    /// Where the operators of each part stand in the plan. Nothing is counted before that is known.
    pub(super) fn set_places(&self, places: Vec<Vec<Option<usize>>>) {
        self.lock().places = places;
    }

    /// At which place of the plan it is told what each stage has sent, by the stage's number. Of
    /// others it is not told.
    pub(super) fn set_stages(&self, places: BTreeMap<usize, usize>) {
        let sent = |(stage, place)| (stage, Sent { place, arrived: Arrived::default() });
        self.lock().stages = places.into_iter().map(sent).collect();
    }

    #[cfg(test)]
    pub(super) fn places(&self) -> Vec<Vec<Option<usize>>> {
        self.lock().places.clone()
    }

    #[cfg(test)]
    pub(super) fn stages(&self) -> Vec<(usize, usize)> {
        self.lock().stages.iter().map(|(stage, sent)| (*stage, sent.place)).collect()
    }

    /// What parts call that begin to run in this process. They do not keep it.
    pub(super) fn begun(self: &Arc<Self>) -> Begun {
        let counted: Weak<Self> = Arc::downgrade(self);
        Arc::new(move |part, operators| {
            if let Some(counted) = counted.upgrade() {
                counted.lock().here.push((part, operators));
            }
        })
    }

    /// Adds what the nodes of a task have told.
    pub(super) fn add(&self, nodes: &[MetricsSet]) {
        for part in nodes.iter().filter_map(PartCounts::from_set) {
            self.lock().add(part, self.key_share);
        }
        for (stage, arrived) in nodes.iter().flat_map(told) {
            self.arrived(stage, arrived);
        }
    }

    /// Adds what has arrived of a stage.
    pub(super) fn arrived(&self, stage: usize, arrived: Arrived) {
        if let Some(sent) = self.lock().stages.get_mut(&stage) {
            sent.arrived.add(arrived);
        }
    }

    /// What all have counted, once the last row is there: for each node, and for each lookup.
    pub(crate) fn take(&self) -> (PlanMetrics, Vec<LookupTally>) {
        let mut state = self.lock();
        for (part, operators) in mem::take(&mut state.here) {
            (self.telling.ended)(&operators);
            state.add(PartCounts::of(part, &operators, self.telling.key_bytes), self.key_share);
        }
        for (_, sent) in mem::take(&mut state.stages) {
            state.tell(&sent);
        }
        let lookups = mem::take(&mut state.lookups).into_iter().map(|(place, lookup)| {
            let node = u32::try_from(place).unwrap_or(u32::MAX);
            let fetches = lookup.stores.into_values().collect();
            LookupTally { node, rows: lookup.rows, fetches }
        });
        let lookups = lookups.collect();
        (mem::take(&mut state.metrics), lookups)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        // What ran here in vain was counted, too.
        for (_, operators) in mem::take(&mut self.lock().here) {
            (self.telling.ended)(&operators);
        }
    }
}

impl State {
    /// Adds what a stage has sent to what its node has counted.
    fn tell(&mut self, sent: &Sent) {
        let Arrived { rows, bytes } = sent.arrived;
        for (name, value, unit) in
            [(counter::ROWS_SENT, rows, Unit::Count), (counter::BYTES_SENT, bytes, Unit::Bytes)]
        {
            let metric = Metric { name: name.to_owned(), store: None, value, unit };
            self.metrics.add(sent.place, metric);
        }
    }

    /// Adds what was counted of a part; what was counted of none is not looked at.
    fn add(&mut self, counts: PartCounts, key_share: u64) {
        let places = usize::try_from(counts.part).ok().and_then(|part| self.places.get(part));
        let Some(places) = places.cloned() else { return };
        for (node, place) in counts.nodes.into_iter().zip(places) {
            let NodeCounts { metrics, rows, fetches } = node;
            for metric in metrics {
                // What was asked of stores counts, wherever it stands.
                let place = place.or(metric.store.is_some().then_some(0));
                if let Some(place) = place {
                    self.metrics.add(place, metric);
                }
            }
            if fetches.is_empty() {
                continue;
            }
            let lookup = self.lookups.entry(place.unwrap_or_default()).or_default();
            lookup.rows = lookup.rows.saturating_add(rows);
            for fetch in fetches {
                let new = || FetchTally::new(&fetch.store, [], key_share);
                lookup.stores.entry(fetch.store.clone()).or_insert_with(new).merge(&fetch);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::{DataType, Field, Schema};
    use datafusion::physical_plan::{
        coalesce_partitions::CoalescePartitionsExec, empty::EmptyExec,
    };

    use super::*;

    fn plan() -> Arc<dyn ExecutionPlan> {
        let schema = Arc::new(Schema::new(vec![Field::new("id", DataType::Int64, true)]));
        Arc::new(CoalescePartitionsExec::new(Arc::new(EmptyExec::new(schema))))
    }

    fn telling() -> Telling {
        Telling { key_bytes: 1 << 20, ended: Arc::new(|_| ()) }
    }

    fn metric(name: &str, store: Option<&str>, value: u64) -> Metric {
        let store = store.map(ToOwned::to_owned);
        Metric { name: name.to_owned(), store, value, unit: Unit::Count }
    }

    /// What a node counted that asked a store for so many keys.
    fn node(rows: u64, asked: u64) -> NodeCounts {
        let mut fetch = FetchTally::new("s", [], 1 << 10);
        fetch.asked = asked;
        (0..asked).for_each(|key| fetch.keys.add(key));
        let metrics = vec![metric("output_rows", None, rows), metric("keys", Some("s"), asked)];
        NodeCounts { metrics, rows, fetches: vec![fetch] }
    }

    #[test]
    fn what_tasks_told_is_added_up_at_the_places_of_the_plan() {
        let counted = Counted::of(&plan(), telling());
        counted.set_places(vec![vec![None], vec![None, Some(1)]]);
        let mut state = counted.lock();
        for asked in [3, 5] {
            let nodes = vec![NodeCounts::default(), node(10, asked)];
            state.add(PartCounts { part: 1, nodes }, 1 << 20);
        }
        // Its place is not known, but what it asked.
        state.add(PartCounts { part: 0, nodes: vec![node(7, 1)] }, 1 << 20);
        // There is no such part, and no such node.
        let nodes = vec![NodeCounts::default(), node(1, 1), node(1, 1)];
        state.add(PartCounts { part: 2, nodes: nodes.clone() }, 1 << 20);
        state.add(PartCounts { part: 1, nodes }, 1 << 20);
        drop(state);
        let (metrics, lookups) = counted.take();
        assert_eq!(metrics.node(0), [metric("keys", Some("s"), 1)]);
        let expected = [metric("output_rows", None, 21), metric("keys", Some("s"), 9)];
        assert_eq!(metrics.node(1), expected);
        assert_eq!(metrics.stores()["s"].keys, 10);
        let told: Vec<_> = lookups
            .iter()
            .map(|lookup| {
                let fetch = &lookup.fetches[0];
                (lookup.node, lookup.rows, fetch.asked, fetch.keys.distinct().count)
            })
            .collect();
        assert_eq!(told, [(0, 7, 1, 1), (1, 21, 9, 5)]);
        assert_eq!(counted.take(), (PlanMetrics::default(), Vec::new()));
    }

    #[test]
    fn what_stages_have_sent_is_told_of_their_nodes() {
        let counted = Counted::of(&plan(), telling());
        counted.set_stages(BTreeMap::from([(1, 1), (2, 0)]));
        for (stage, rows) in [(1, 3), (2, 1), (1, 4), (3, 100)] {
            counted.arrived(stage, Arrived { rows, bytes: rows * 8 });
        }
        let (metrics, _) = counted.take();
        let told = |rows, bytes| {
            let bytes = metric("bytes_sent", None, bytes);
            [metric("rows_sent", None, rows), Metric { unit: Unit::Bytes, ..bytes }]
        };
        assert_eq!(metrics.node(0), told(1, 8));
        assert_eq!(metrics.node(1), told(7, 56));
        assert_eq!(counted.take().0, PlanMetrics::default());
    }

    #[test]
    fn parts_that_run_here_are_heard_of_and_do_not_keep_who_counts() {
        let heard = Arc::new(Mutex::new(Vec::new()));
        let hears = Arc::clone(&heard);
        let hear = move |nodes: &[Arc<dyn ExecutionPlan>]| hears.lock().unwrap().push(nodes.len());
        let telling = Telling { ended: Arc::new(hear), ..telling() };
        let counted = Counted::of(&plan(), telling);
        let begun = counted.begun();
        begun(0, operators(&plan(), &[]));
        counted.take();
        begun(0, operators(&plan(), &[])[1..].to_vec());
        // What became of the second is not told any more.
        drop(counted);
        begun(0, Vec::new());
        assert_eq!(*heard.lock().unwrap(), [2, 1]);
    }
}
