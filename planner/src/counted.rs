//! Joins of which no column is read, as where their rows are counted, or stand beside others.
//!
//! A plan that travels names the columns of a join that are read. Where it names none, all are
//! read, and what stands above would take them for its own. So such a join gives one column, which
//! a projection above it takes away.

use std::sync::Arc;

use datafusion::{
    common::tree_node::{Transformed, TransformedResult, TreeNode},
    config::ConfigOptions,
    error::Result,
    physical_optimizer::PhysicalOptimizerRule,
    physical_plan::{
        ExecutionPlan,
        joins::{HashJoinExec, NestedLoopJoinExec, NestedLoopJoinExecBuilder},
        projection::{ProjectionExec, ProjectionExpr},
    },
};

type Plan = Arc<dyn ExecutionPlan>;

/// Lets joins of which no column is read give one to a projection above them.
#[derive(Debug, Default)]
pub struct KeepCounted;

impl PhysicalOptimizerRule for KeepCounted {
    fn optimize(&self, plan: Plan, _config: &ConfigOptions) -> Result<Plan> {
        plan.transform_up(counted).data()
    }

    fn name(&self) -> &'static str {
        "keep_counted"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

fn counted(node: Plan) -> Result<Transformed<Plan>> {
    let Some(all) = reading(&node, None)? else { return Ok(Transformed::no(node)) };
    if all.schema().fields().is_empty() {
        return Ok(Transformed::yes(all));
    }
    let one = reading(&node, Some(vec![0]))?.unwrap_or(all);
    let none = ProjectionExec::try_new(Vec::<ProjectionExpr>::new(), one)?;
    Ok(Transformed::yes(Arc::new(none)))
}

/// A join of which no column is read, with some of its columns, or all; none if the node is
/// anything else.
fn reading(node: &Plan, columns: Option<Vec<usize>>) -> Result<Option<Plan>> {
    let is_none = |read: Option<&[usize]>| read.is_some_and(<[usize]>::is_empty);
    if let Some(join) = node.downcast_ref::<HashJoinExec>()
        && is_none(join.projection.as_deref())
    {
        return join.builder().with_projection(columns).build_exec().map(Some);
    }
    if let Some(join) = node.downcast_ref::<NestedLoopJoinExec>()
        && is_none(join.projection().as_deref())
    {
        let join = NestedLoopJoinExecBuilder::from(join).with_projection(columns).build()?;
        return Ok(Some(Arc::new(join)));
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use datafusion::{
        common::{JoinType, NullEquality},
        physical_expr::expressions::Column,
        physical_plan::joins::PartitionMode,
    };

    use super::*;
    use crate::samples::scan;

    /// A join of scans of the column `id`.
    fn by_hash(read: Option<Vec<usize>>) -> Plan {
        let join = HashJoinExec::try_new(
            scan(1),
            scan(1),
            vec![(Arc::new(Column::new("id", 0)) as _, Arc::new(Column::new("id", 0)) as _)],
            None,
            &JoinType::Inner,
            read,
            PartitionMode::CollectLeft,
            NullEquality::NullEqualsNothing,
            false,
        );
        Arc::new(join.unwrap())
    }

    fn by_pairs(read: Option<Vec<usize>>) -> Plan {
        let inner = JoinType::Inner;
        Arc::new(NestedLoopJoinExec::try_new(scan(1), scan(1), None, &inner, read).unwrap())
    }

    fn kept(plan: Plan) -> Plan {
        KeepCounted.optimize(plan, &ConfigOptions::new()).unwrap()
    }

    #[test]
    fn a_join_of_which_no_column_is_read_gives_one_to_a_projection() {
        for join in [by_hash, by_pairs] {
            let plan = kept(join(Some(Vec::new())));
            assert!(plan.is::<ProjectionExec>() && plan.schema().fields().is_empty());
            let read = plan.children().into_iter().map(|join| join.schema().fields().len());
            assert_eq!(read.collect::<Vec<_>>(), [1]);
        }
    }

    #[test]
    fn a_join_whose_columns_are_read_stays() {
        for join in [by_hash, by_pairs] {
            for read in [None, Some(vec![1]), Some(vec![0, 1])] {
                assert!(!kept(join(read)).is::<ProjectionExec>());
            }
        }
    }
}
