//! Where counters are added.

use super::*;

/// The counters of nodes with so many rows.
fn counted(rows: &[u64]) -> PlanMetrics {
    let metric = |&value| {
        let name = "output_rows".to_owned();
        vec![Metric { name, store: None, value, unit: Unit::Count }]
    };
    PlanMetrics { nodes: rows.iter().map(metric).collect() }
}

#[test]
fn what_a_part_counted_is_added_at_its_places() {
    let mut metrics = PlanMetrics::default();
    metrics.merge(&counted(&[1, 2]), &[1, 3]);
    metrics.merge(&counted(&[10, 20]), &[1, 2]);
    let rows = |node: &Vec<Metric>| node.iter().map(|metric| metric.value).collect::<Vec<_>>();
    let rows: Vec<_> = metrics.nodes.iter().map(rows).collect();
    assert_eq!(rows, [vec![], vec![11], vec![20], vec![2]]);
}

#[test]
fn nodes_beyond_the_places_of_a_part_are_left_out() {
    let mut metrics = PlanMetrics::default();
    metrics.merge(&counted(&[5, 6, 7]), &[0, 1]);
    assert_eq!(metrics, counted(&[5, 6]));
}

#[test]
fn figures_beyond_all_numbers_are_no_overflow() {
    let mut metrics = counted(&[u64::MAX]);
    metrics.merge(&counted(&[1]), &[0]);
    assert_eq!(metrics, counted(&[u64::MAX]));
    let time = |store: &str| {
        let (name, store) = (counter::FETCH_TIME.to_owned(), Some(store.to_owned()));
        Metric { name, store, value: u64::MAX, unit: Unit::Nanoseconds }
    };
    assert_eq!(counted_ns(&[time("a"), time("b")]), u64::MAX);
    let mut stats = StoreStats { keys: u64::MAX, ..StoreStats::default() };
    stats.add(&StoreStats { keys: 1, ..StoreStats::default() });
    assert_eq!(stats.keys, u64::MAX);
}

#[test]
fn a_node_has_no_more_counters_than_any_has() {
    let counter = |at: usize| Metric {
        name: format!("counter {at}"),
        store: None,
        value: 1,
        unit: Unit::Count,
    };
    let counters = |count| PlanMetrics { nodes: vec![(0..count).map(counter).collect()] };
    assert_eq!(counters(MAX_COUNTERS).check(), Ok(()));
    let error = counters(MAX_COUNTERS + 1).check().unwrap_err();
    let message = "bad report from a peer: 4097 counters of a node, more than 4096";
    assert_eq!((error.kind(), error.message()), (crate::ErrorKind::Internal, message));
}
