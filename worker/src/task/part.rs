//! How much of its rows a task has done while it runs, where it is known how many it reads.

use std::sync::Arc;

use datafusion::physical_plan::{
    ExecutionPlan, limit::GlobalLimitExec, projection::ProjectionExec,
};
use keyloom_common::{
    lookup::KvLookupExec,
    output::WriteExec,
    plan::{FrameScanExec, InputScanExec, SpreadExec, operators},
    report::{PlanMetrics, TASK},
};

/// The name of the counter of rows.
const OUTPUT_ROWS: &str = "output_rows";

/// What a plan has done of its rows, in thousandths, which has counted this and given so many: what
/// has come through the last of the nodes that leave no row out. 0 if that is not known.
pub(super) fn part(plan: &Arc<dyn ExecutionPlan>, counted: &PlanMetrics, given: u64) -> u32 {
    let nodes = operators(plan, &[]);
    if nodes.iter().any(|node| node.children().len() > 1) {
        return 0;
    }
    let mut nodes = nodes.iter().enumerate().rev();
    let read = nodes.next().and_then(|(place, leaf)| Some((rows(counted, place), known(leaf)?)));
    let Some((mut done, mut all)) = read else { return 0 };
    let mut gives_all = true;
    for (place, node) in nodes {
        if let Some(limit) = node.downcast_ref::<GlobalLimitExec>() {
            let left = all.saturating_sub(limit.skip() as u64);
            all = limit.fetch().map_or(left, |fetch| left.min(fetch as u64));
        } else if !keeps_rows(node) {
            gives_all = false;
            break;
        }
        done = rows(counted, place).or(done);
    }
    let done = if gives_all { given } else { done.unwrap_or_default() };
    let part = u128::from(done.min(all)) * u128::from(TASK) / u128::from(all.max(1));
    u32::try_from(part).unwrap_or(TASK)
}

/// How many rows an input has, as far as it says.
fn known(leaf: &Arc<dyn ExecutionPlan>) -> Option<u64> {
    if let Some(frame) = leaf.downcast_ref::<FrameScanExec>() {
        return Some(frame.partitions().iter().map(|partition| partition.rows).sum());
    }
    let scan = leaf.downcast_ref::<InputScanExec>()?;
    scan.partitions().iter().map(|partition| partition.known_rows()).sum()
}

/// Whether a node of one input gives a row for each that it takes.
fn keeps_rows(node: &Arc<dyn ExecutionPlan>) -> bool {
    node.is::<KvLookupExec>()
        || node.is::<ProjectionExec>()
        || node.is::<SpreadExec>()
        || node.is::<WriteExec>()
}

/// The rows that the node at a place has given, if it counts them.
fn rows(counted: &PlanMetrics, place: usize) -> Option<u64> {
    let metric = counted.node(place).iter().find(|metric| metric.name == OUTPUT_ROWS)?;
    Some(metric.value)
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::{DataType, Field, Schema};
    use datafusion::{
        physical_expr::expressions::lit,
        physical_plan::{filter::FilterExec, union::UnionExec},
    };
    use keyloom_common::{
        BlobId,
        plan::FramePartition,
        report::{Metric, Unit},
    };

    use super::*;

    /// A table of so many rows in memory.
    fn frame(rows: u64) -> Arc<dyn ExecutionPlan> {
        let schema = Arc::new(Schema::new(vec![Field::new("id", DataType::Int64, true)]));
        let partition = FramePartition { blob: BlobId::of(b"rows"), rows };
        Arc::new(FrameScanExec::try_new(vec![partition], schema, None).unwrap())
    }

    /// What is done of a plan whose nodes have given these rows.
    fn done(plan: &Arc<dyn ExecutionPlan>, nodes: &[Option<u64>], given: u64) -> u32 {
        let mut counted = PlanMetrics::default();
        for (place, rows) in nodes.iter().enumerate() {
            if let Some(value) = *rows {
                let name = OUTPUT_ROWS.to_owned();
                counted.add(place, Metric { name, store: None, value, unit: Unit::Count });
            }
        }
        part(plan, &counted, given)
    }

    #[test]
    fn where_no_row_is_left_out_those_that_were_given_tell() {
        let limited: Arc<dyn ExecutionPlan> =
            Arc::new(GlobalLimitExec::new(frame(1000), 100, Some(400)));
        for (plan, expected) in [(frame(1000), 100), (limited, 250), (frame(0), 0)] {
            assert_eq!(done(&plan, &[], 100), expected);
        }
        assert_eq!(done(&frame(50), &[], 100), TASK);
    }

    #[test]
    fn below_what_leaves_rows_out_those_that_came_so_far_tell() {
        let limited: Arc<dyn ExecutionPlan> =
            Arc::new(GlobalLimitExec::new(frame(1000), 0, Some(500)));
        let filter: Arc<dyn ExecutionPlan> =
            Arc::new(FilterExec::try_new(lit(true), limited).unwrap());
        assert_eq!(done(&filter, &[Some(1), Some(50), None], 1), 100);
        assert_eq!(done(&filter, &[Some(1), None, Some(200)], 1), 400);
        assert_eq!(done(&filter, &[Some(1)], 1), 0);
    }

    #[test]
    fn of_what_is_not_known_nothing_is_done() {
        let union = UnionExec::try_new(vec![frame(10), frame(10)]).unwrap();
        assert_eq!(done(&union, &[Some(5), Some(2), Some(3)], 5), 0);
    }
}
