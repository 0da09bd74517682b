//! The inputs of a shuffled plan, shared among its tasks.
//!
//! Whatever shuffles knows neither frames nor files of Keyloom, and would have one task read each.
//! Nor does it ask what operators need: those that take the rows of one partition for all there are
//! have one task.

use std::sync::Arc;

use async_trait::async_trait;
use datafusion::{
    common::tree_node::{Transformed, TransformedResult, TreeNode},
    error::Result,
    physical_plan::{
        Distribution, ExecutionPlan, ExecutionPlanProperties,
        coalesce_partitions::CoalescePartitionsExec,
        joins::{CrossJoinExec, HashJoinExec, NestedLoopJoinExec},
        sorts::sort_preserving_merge::SortPreservingMergeExec,
    },
};
use datafusion_distributed::{
    DesiredTaskCountEvent, DesiredTaskCountEventResponse, DesiredTaskCountHandler,
    DistributedLeafExec, ScaleUpLeafNodeEvent, ScaleUpLeafNodeEventResponse,
    ScaleUpLeafNodeHandler,
};
use keyloom_common::plan::{FrameScanExec, InputScanExec, PartExec, SpreadExec};

/// Shares inputs among tasks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Leaves {
    /// How many workers take part.
    pub(super) workers: usize,
    /// How many partitions of an input a task reads at the same time.
    pub(super) partitions: usize,
}

impl Leaves {
    /// The plan as one worker runs it alone.
    pub(super) fn spread(self, plan: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
        plan.transform_up(|node| {
            if of_task(&node, 0, 1).is_none() {
                return Ok(Transformed::no(node));
            }
            let at_once = self.at_once(&node);
            let spread: Arc<dyn ExecutionPlan> = Arc::new(SpreadExec::new(node, at_once));
            Ok(Transformed::yes(spread))
        })
        .data()
    }

    fn tasks(self, leaf: &Arc<dyn ExecutionPlan>) -> usize {
        leaf.output_partitioning().partition_count().clamp(1, self.workers.max(1))
    }

    /// How many partitions of an input a task reads at the same time. One stays one: what stands
    /// above it counts on that.
    fn at_once(self, leaf: &Arc<dyn ExecutionPlan>) -> usize {
        self.partitions.min(leaf.output_partitioning().partition_count())
    }

    fn scaled(
        self,
        leaf: &Arc<dyn ExecutionPlan>,
        tasks: usize,
    ) -> Option<Result<Arc<dyn ExecutionPlan>>> {
        let variant = |task| {
            let own = of_task(leaf, task, tasks)?;
            let spread = Arc::new(SpreadExec::new(own, self.at_once(leaf)));
            Some(Arc::new(PartExec::new(spread, Vec::new())) as Arc<dyn ExecutionPlan>)
        };
        let variants = (0..tasks.max(1)).map(variant).collect::<Option<Vec<_>>>()?;
        let original = match variants.as_slice() {
            [alone] => return Some(Ok(Arc::clone(alone))),
            _ => Arc::clone(leaf),
        };
        let scaled = DistributedLeafExec::try_new(original, variants);
        Some(scaled.map(|scaled| Arc::new(scaled) as Arc<dyn ExecutionPlan>))
    }
}

/// What one of so many tasks reads of an input; none if the node is none.
fn of_task(
    leaf: &Arc<dyn ExecutionPlan>,
    task: usize,
    tasks: usize,
) -> Option<Arc<dyn ExecutionPlan>> {
    if let Some(frame) = leaf.downcast_ref::<FrameScanExec>() {
        let own = frame.partitions().iter().skip(task).step_by(tasks.max(1)).copied();
        return Some(Arc::new(frame.with_partitions(own.collect())));
    }
    let scan = leaf.downcast_ref::<InputScanExec>()?;
    let own = scan.partitions().iter().skip(task).step_by(tasks.max(1)).cloned();
    Some(Arc::new(scan.with_partitions(own.collect())))
}

/// Whether a node takes what comes to it for all rows there are, without having them gathered from
/// several tasks.
fn takes_all(node: &Arc<dyn ExecutionPlan>) -> bool {
    // Rows that come right from an input are not brought from other tasks.
    if node.is::<CoalescePartitionsExec>() || node.is::<SortPreservingMergeExec>() {
        return node.children().into_iter().any(|child| child.children().is_empty());
    }
    // What joins collect is sent to all of their tasks, or they have one.
    let collects =
        node.is::<HashJoinExec>() || node.is::<NestedLoopJoinExec>() || node.is::<CrossJoinExec>();
    let is_all = |needed: &Distribution| matches!(needed, Distribution::SinglePartition);
    !collects && node.required_input_distribution().iter().any(is_all)
}

#[async_trait]
impl DesiredTaskCountHandler for Leaves {
    async fn handle(
        &self,
        event: DesiredTaskCountEvent<'_>,
    ) -> Option<Result<DesiredTaskCountEventResponse>> {
        if takes_all(event.plan) {
            return Some(Ok(DesiredTaskCountEventResponse::maximum(1)));
        }
        of_task(event.plan, 0, 1)?;
        Some(Ok(DesiredTaskCountEventResponse::desired(self.tasks(event.plan))))
    }
}

impl ScaleUpLeafNodeHandler for Leaves {
    fn handle(
        &self,
        event: ScaleUpLeafNodeEvent<'_>,
    ) -> Option<Result<ScaleUpLeafNodeEventResponse>> {
        let scaled = self.scaled(event.plan, event.task_count)?;
        Some(scaled.map(ScaleUpLeafNodeEventResponse::new))
    }
}

#[cfg(test)]
mod tests {
    use datafusion::{
        physical_plan::{
            displayable,
            empty::EmptyExec,
            limit::{GlobalLimitExec, LocalLimitExec},
        },
        prelude::SessionConfig,
    };
    use keyloom_common::{BlobId, plan::FramePartition};

    use super::*;
    use crate::samples::ids;

    const LEAVES: Leaves = Leaves { workers: 3, partitions: 2 };

    fn frame(partitions: u64) -> Arc<dyn ExecutionPlan> {
        let partition = |rows| FramePartition { blob: BlobId::of(b"rows"), rows };
        let partitions = (1..=partitions).map(partition).collect();
        Arc::new(FrameScanExec::try_new(partitions, ids(), None).unwrap())
    }

    #[test]
    fn each_partition_is_one_tasks() {
        let leaf = frame(7);
        assert_eq!(LEAVES.tasks(&leaf), 3);
        let rows: Vec<Vec<u64>> = (0..3)
            .map(|task| {
                let own = of_task(&leaf, task, 3).unwrap();
                let frame = own.downcast_ref::<FrameScanExec>().unwrap();
                frame.partitions().iter().map(|partition| partition.rows).collect()
            })
            .collect();
        assert_eq!(rows, [vec![1, 4, 7], vec![2, 5], vec![3, 6]]);
        let scaled = LEAVES.scaled(&leaf, 3).unwrap().unwrap();
        let scaled = scaled.downcast_ref::<DistributedLeafExec>().unwrap();
        assert_eq!(scaled.variants().len(), 3);
        for variant in scaled.variants() {
            assert_eq!(variant.output_partitioning().partition_count(), 2);
        }
    }

    #[test]
    fn an_input_has_no_more_tasks_than_partitions_and_one_at_least() {
        assert_eq!([0, 1, 2, 9].map(|partitions| LEAVES.tasks(&frame(partitions))), [1, 1, 2, 3]);
        let alone = LEAVES.scaled(&frame(2), 1).unwrap().unwrap();
        assert!(alone.is::<PartExec>(), "{}", displayable(alone.as_ref()).one_line());
        let other: Arc<dyn ExecutionPlan> = Arc::new(EmptyExec::new(frame(1).schema()));
        assert!(LEAVES.scaled(&other, 3).is_none());
    }

    #[test]
    fn an_input_of_one_partition_stays_one() {
        let leaf = frame(1);
        let of_three = LEAVES.scaled(&leaf, 3).unwrap().unwrap();
        let spread = LEAVES.spread(Arc::clone(&leaf)).unwrap();
        for plan in [LEAVES.scaled(&leaf, 1).unwrap().unwrap(), of_three, spread] {
            let shown = displayable(plan.as_ref()).one_line().to_string();
            assert_eq!(plan.output_partitioning().partition_count(), 1, "{shown}");
        }
    }

    /// How many tasks a node is to have, if something is to be said of it.
    async fn asked(plan: Arc<dyn ExecutionPlan>) -> Option<usize> {
        let session_config = &SessionConfig::new();
        let event = DesiredTaskCountEvent { plan: &plan, session_config };
        let answer = DesiredTaskCountHandler::handle(&LEAVES, event).await?;
        Some(usize::from(answer.unwrap().task_count))
    }

    fn gathered(input: Arc<dyn ExecutionPlan>) -> Arc<dyn ExecutionPlan> {
        Arc::new(CoalescePartitionsExec::new(input))
    }

    fn first_of_each(input: Arc<dyn ExecutionPlan>) -> Arc<dyn ExecutionPlan> {
        Arc::new(LocalLimitExec::new(input, 1))
    }

    fn first(input: Arc<dyn ExecutionPlan>) -> Arc<dyn ExecutionPlan> {
        Arc::new(GlobalLimitExec::new(input, 0, Some(1)))
    }

    #[tokio::test]
    async fn what_takes_its_rows_for_all_there_are_has_one_task() {
        // Nobody brings it those of other tasks.
        assert_eq!(asked(first(frame(1))).await, Some(1));
        assert_eq!(asked(gathered(frame(7))).await, Some(1));
        // These are brought.
        assert_eq!(asked(gathered(first_of_each(frame(7)))).await, None);
        assert_eq!(asked(first_of_each(frame(7))).await, None);
        let join = CrossJoinExec::new(gathered(frame(7)), frame(7));
        assert_eq!(asked(Arc::new(join)).await, None);
        assert_eq!(asked(frame(7)).await, Some(3));
    }
}
