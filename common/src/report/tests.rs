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
