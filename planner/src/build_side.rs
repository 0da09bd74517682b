//! The side of a hash join whose rows are held: the one that is expected to have fewer.
//!
//! DataFusion chooses it by statistics, which inputs do not give it, and holds the left one without.

use std::sync::Arc;

use datafusion::{
    common::tree_node::{Transformed, TransformedResult, TreeNode},
    config::ConfigOptions,
    error::Result,
    physical_optimizer::PhysicalOptimizerRule,
    physical_plan::{ExecutionPlan, joins::HashJoinExec},
};

use crate::estimate::rows;

/// Swaps the sides of joins. It is to come before DataFusion's rules that partition and sort.
#[derive(Debug)]
pub(crate) struct HoldFewer;

impl PhysicalOptimizerRule for HoldFewer {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        _config: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        plan.transform_up(swap).data()
    }

    fn name(&self) -> &'static str {
        "hold_fewer"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

fn swap(node: Arc<dyn ExecutionPlan>) -> Result<Transformed<Arc<dyn ExecutionPlan>>> {
    let Some(join) = node.downcast_ref::<HashJoinExec>().filter(|join| holds_more(join)) else {
        return Ok(Transformed::no(node));
    };
    join.swap_inputs(*join.partition_mode()).map(Transformed::yes)
}

/// Whether the side that is held is expected to have more rows than the other one, with which it
/// can change places.
fn holds_more(join: &HashJoinExec) -> bool {
    let (held, other) = (rows(join.left()), rows(join.right()));
    let is_more = held.zip(other).is_some_and(|(held, other)| held > other);
    is_more && join.join_type().supports_swap() && !join.null_aware
}

#[cfg(test)]
mod tests {
    use datafusion::{
        common::{JoinType, NullEquality},
        physical_expr::expressions::col,
        physical_plan::{displayable, joins::PartitionMode},
    };

    use super::*;
    use crate::samples::{frame, scan};

    type Plan = Arc<dyn ExecutionPlan>;

    fn join(held: Plan, other: Plan, kind: JoinType) -> Plan {
        join_of(held, other, kind, false)
    }

    fn join_of(held: Plan, other: Plan, kind: JoinType, null_aware: bool) -> Plan {
        let on = vec![(col("id", &held.schema()).unwrap(), col("id", &other.schema()).unwrap())];
        let (mode, nulls) = (PartitionMode::CollectLeft, NullEquality::NullEqualsNothing);
        let join =
            HashJoinExec::try_new(held, other, on, None, &kind, None, mode, nulls, null_aware);
        Arc::new(join.unwrap())
    }

    fn planned(join: Plan) -> String {
        let plan = HoldFewer.optimize(join, &ConfigOptions::new()).unwrap();
        displayable(plan.as_ref()).indent(false).to_string()
    }

    #[test]
    fn the_side_with_fewer_rows_is_held() {
        for (kind, swapped) in [(JoinType::Left, "Right"), (JoinType::LeftSemi, "RightSemi")] {
            let plan = planned(join(frame(3), scan(2), kind));
            assert!(plan.contains(&format!("join_type={swapped},")), "{plan}");
            let (few, many) = (plan.find("InputScanExec"), plan.find("FrameScanExec"));
            assert!(few.is_some() && few < many, "{plan}");
        }
        let plan = planned(join(frame(2), scan(3), JoinType::LeftSemi));
        assert!(plan.contains("join_type=LeftSemi,"), "{plan}");
        // Which side may be null decides it.
        let plan = planned(join_of(frame(3), scan(2), JoinType::LeftAnti, true));
        assert!(plan.contains("join_type=LeftAnti,"), "{plan}");
    }

    #[test]
    fn a_join_counts_as_its_larger_side_and_what_keeps_some_of_one_as_a_part() {
        for (kind, expected) in [(JoinType::Inner, 9), (JoinType::LeftSemi, 1)] {
            assert_eq!(rows(&join(frame(2), frame(9), kind)), Some(expected), "{kind}");
        }
    }
}
