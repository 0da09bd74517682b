//! Parts of plans whose rows are shuffled among workers, and when that is not worth its while.
//!
//! Where a session lets DataFusion repartition rows by hash, its plans hold the nodes that do. A
//! plan without them gives the same rows, of which the coordinator then computes more by itself.

use std::sync::Arc;

use datafusion::{
    common::tree_node::TreeNode,
    config::ConfigOptions,
    error::Result,
    physical_optimizer::PhysicalOptimizerRule,
    physical_plan::{ExecutionPlan, ExecutionPlanProperties},
};
use keyloom_common::{
    lookup::KvLookupExec,
    plan::{FrameScanExec, InputScanExec, by_hash, unshuffled},
    shuffle::{Shuffle, ShuffleOptions},
};

use crate::options::PlanOptions;

/// About how many bytes of a file make a row, where no file says how many it holds.
const ROW_BYTES: u64 = 128;

/// Whether workers run the plan together, who shuffle rows among themselves. What comes after, in
/// one partition, need not be done by them.
pub(crate) fn is_shuffled(plan: &Arc<dyn ExecutionPlan>) -> Result<bool> {
    if plan.output_partitioning().partition_count() == 1 {
        return Ok(false);
    }
    plan.exists(|node| Ok(by_hash(node).is_some()))
}

/// How many partitions the largest input of a plan has: where rows are shuffled, so many workers at
/// most have something to do.
pub fn shuffled_partitions(plan: &Arc<dyn ExecutionPlan>) -> usize {
    let below = plan.children().into_iter().map(shuffled_partitions).max().unwrap_or_default();
    let is_input = plan.is::<FrameScanExec>() || plan.is::<InputScanExec>();
    let own = if is_input { plan.output_partitioning().partition_count() } else { 0 };
    own.max(below)
}

/// Leaves shuffles by [`Shuffle::Auto`] to queries that read a large input: of smaller ones, the
/// coordinator computes the same sooner. A query whose calls limit their misses never shuffles, and
/// is shown as it runs.
#[derive(Debug)]
pub struct ChooseShuffle;

impl PhysicalOptimizerRule for ChooseShuffle {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        config: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let ShuffleOptions { shuffle, min_rows, .. } = PlanOptions::of(config).shuffle;
        let is_left_out = match shuffle {
            // Nothing of it shuffles.
            Shuffle::Never => false,
            Shuffle::Auto => largest_input(&plan) < min_rows || limits_misses(&plan)?,
            Shuffle::Always => limits_misses(&plan)?,
        };
        if is_left_out { unshuffled(plan) } else { Ok(plan) }
    }

    fn name(&self) -> &'static str {
        "choose_shuffle"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

fn limits_misses(plan: &Arc<dyn ExecutionPlan>) -> Result<bool> {
    plan.exists(|node| {
        Ok(node.downcast_ref::<KvLookupExec>().is_some_and(KvLookupExec::limits_misses))
    })
}

/// About how many rows the largest input of a plan has.
pub(crate) fn largest_input(plan: &Arc<dyn ExecutionPlan>) -> u64 {
    let below = plan.children().into_iter().map(largest_input).max().unwrap_or_default();
    let own: u64 = if let Some(frame) = plan.downcast_ref::<FrameScanExec>() {
        frame.partitions().iter().map(|partition| partition.rows).sum()
    } else if let Some(scan) = plan.downcast_ref::<InputScanExec>() {
        let known: Option<u64> =
            scan.partitions().iter().map(|partition| partition.known_rows()).sum();
        known.unwrap_or_else(|| bytes(scan) / ROW_BYTES)
    } else {
        0
    };
    own.max(below)
}

fn bytes(scan: &InputScanExec) -> u64 {
    let slices = scan.partitions().iter().flat_map(|partition| &partition.slices);
    slices.map(|slice| slice.bytes.end.saturating_sub(slice.bytes.start)).sum()
}

#[cfg(test)]
mod tests {
    use datafusion::{
        physical_expr::expressions::Column,
        physical_plan::{
            Partitioning, coalesce_partitions::CoalescePartitionsExec, displayable,
            repartition::RepartitionExec, union::UnionExec,
        },
    };
    use keyloom_common::{BlobId, plan::FramePartition};

    use super::*;
    use crate::samples::frame;

    /// Frames of these rows, shuffled.
    fn shuffled(rows: &[u64]) -> Arc<dyn ExecutionPlan> {
        let frames = rows.iter().map(|rows| frame(*rows)).collect();
        let union = UnionExec::try_new(frames).unwrap();
        let by_id = Partitioning::Hash(vec![Arc::new(Column::new("id", 0))], 3);
        Arc::new(RepartitionExec::try_new(union, by_id).unwrap())
    }

    fn text(plan: &Arc<dyn ExecutionPlan>) -> String {
        displayable(plan.as_ref()).indent(false).to_string()
    }

    #[test]
    fn a_plan_without_its_shuffles_has_merges_in_their_places() {
        let plan = shuffled(&[1, 2]);
        assert!(is_shuffled(&plan).unwrap());
        let merged: Arc<dyn ExecutionPlan> = Arc::new(CoalescePartitionsExec::new(plan));
        assert!(!is_shuffled(&merged).unwrap());
        let plan = unshuffled(merged).unwrap();
        let expected = "CoalescePartitionsExec\n  CoalescePartitionsExec\n    UnionExec\n";
        assert!(text(&plan).starts_with(expected), "{}", text(&plan));
    }

    #[test]
    fn as_many_workers_have_something_to_do_as_the_largest_input_has_partitions() {
        assert_eq!(shuffled_partitions(&shuffled(&[1, 2, 3])), 1);
        let partition = FramePartition { blob: BlobId::of(b"rows"), rows: 1 };
        let several = frame(1);
        let several = several.downcast_ref::<FrameScanExec>().unwrap();
        let several: Arc<dyn ExecutionPlan> = Arc::new(several.with_partitions(vec![partition; 3]));
        let union = UnionExec::try_new(vec![frame(1), several]).unwrap();
        assert_eq!(shuffled_partitions(&union), 3);
    }

    #[test]
    fn large_inputs_are_shuffled_alone() {
        for (shuffle, rows, expected) in [
            (Shuffle::Auto, [9, 9], false),
            (Shuffle::Auto, [1, 10], true),
            (Shuffle::Always, [1, 1], true),
        ] {
            let shuffle = ShuffleOptions { shuffle, min_rows: 10, ..ShuffleOptions::default() };
            let mut config = ConfigOptions::new();
            config.extensions.insert(PlanOptions { shuffle, ..PlanOptions::default() });
            let plan = ChooseShuffle.optimize(shuffled(&rows), &config).unwrap();
            assert_eq!(is_shuffled(&plan).unwrap(), expected, "{rows:?}");
        }
    }
}
