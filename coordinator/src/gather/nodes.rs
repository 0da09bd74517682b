//! Which nodes of a fragment its tasks run: each runs one chain, and counts for its nodes alone.

use std::sync::Arc;

use datafusion::physical_plan::ExecutionPlan;
use keyloom_planner::{Fragment, Source};

/// The nodes of each chain of a fragment, by their places in pre-order, and the first task after
/// those of the chain.
#[derive(Debug)]
pub(super) struct Nodes(Vec<(usize, Vec<usize>)>);

impl Nodes {
    pub(super) fn of(fragment: &Fragment) -> Self {
        let mut end = 0;
        Self(match &fragment.source {
            Source::Slices(chains) => {
                let chains = chains.iter().map(|chain| {
                    end += chain.tasks();
                    (end, chain.places.clone())
                });
                chains.collect()
            }
            Source::Rows(_) | Source::Shuffle => {
                vec![(usize::MAX, (0..count(&fragment.plan)).collect())]
            }
        })
    }

    /// The places of a task's nodes.
    pub(super) fn of_task(&self, index: u32) -> &[usize] {
        let chain = self.0.partition_point(|(end, _)| *end <= index as usize);
        self.0.get(chain).map(|(_, places)| places.as_slice()).unwrap_or_default()
    }
}

fn count(plan: &Arc<dyn ExecutionPlan>) -> usize {
    1 + plan.children().into_iter().map(count).sum::<usize>()
}

#[cfg(test)]
mod tests {
    use datafusion::physical_plan::{
        coop::CooperativeExec, limit::LocalLimitExec, union::UnionExec,
    };
    use keyloom_planner::Reading;

    use super::*;
    use crate::{
        gather::{RemoteExec, cut},
        samples::frame,
        settings::Settings,
    };

    #[test]
    fn each_task_of_a_union_counts_for_the_nodes_of_its_own_branch() {
        let below = Arc::new(CooperativeExec::new(frame(2)));
        let limited: Arc<dyn ExecutionPlan> = Arc::new(LocalLimitExec::new(below, 1));
        let union = UnionExec::try_new(vec![limited, frame(1), frame(1)]).unwrap();
        let plan = cut(union, Settings::default().grain(), false).unwrap();
        let nodes = Nodes::of(plan.downcast_ref::<RemoteExec>().unwrap().fragment());
        let of_tasks: Vec<_> = (0..5).map(|index| nodes.of_task(index).to_vec()).collect();
        assert_eq!(of_tasks, [vec![1, 2, 3], vec![1, 2, 3], vec![4], vec![5], vec![]]);
    }

    #[test]
    fn tasks_over_rows_that_come_count_for_all_nodes() {
        let plan: Arc<dyn ExecutionPlan> = Arc::new(LocalLimitExec::new(frame(1), 1));
        let (source, reading) = (Source::Rows(frame(1)), Reading::Ordered);
        let (key_sets, collects) = (Vec::new(), false);
        let fragment = Fragment { stage: 0, plan, source, reading, key_sets, collects };
        let nodes = Nodes::of(&fragment);
        assert_eq!([0, u32::MAX].map(|index| nodes.of_task(index)), [[0, 1]; 2]);
    }
}
