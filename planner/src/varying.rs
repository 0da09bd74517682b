//! Conditions that make a column the same in all rows, below what puts nulls into it again.
//!
//! DataFusion takes a column that a condition holds at one value for the same everywhere above,
//! and leaves it out of what is sorted by. An outer join has nulls for it beside that value, and so
//! have sets of groups. So such a condition is not shown to it: NOT NOT of it gives the same rows.

use std::sync::Arc;

use datafusion::{
    common::{
        JoinSide, JoinType,
        tree_node::{Transformed, TransformedResult, TreeNode},
    },
    config::ConfigOptions,
    error::Result,
    physical_expr::expressions::NotExpr,
    physical_optimizer::PhysicalOptimizerRule,
    physical_plan::{
        ExecutionPlan, ExecutionPlanProperties,
        aggregates::AggregateExec,
        filter::{FilterExec, FilterExecBuilder},
        joins::{HashJoinExec, NestedLoopJoinExec},
    },
};

type Plan = Arc<dyn ExecutionPlan>;

/// Keeps DataFusion from sorting by less than is asked for above outer joins and sets of groups.
#[derive(Debug, Default)]
pub struct KeepVarying;

impl PhysicalOptimizerRule for KeepVarying {
    fn optimize(&self, plan: Plan, _config: &ConfigOptions) -> Result<Plan> {
        plan.transform_up(keep).data()
    }

    fn name(&self) -> &'static str {
        "keep_varying"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// The node over inputs whose conditions are not shown, where it puts nulls into their columns.
fn keep(node: Plan) -> Result<Transformed<Plan>> {
    let sides = gets_nulls(&node);
    if !sides.contains(&true) {
        return Ok(Transformed::no(node));
    }
    let inputs = node.children().into_iter().zip(sides);
    let hidden = inputs.map(|(input, gets_nulls)| {
        let input = Arc::clone(input);
        if gets_nulls { input.transform_up(hide).data() } else { Ok(input) }
    });
    let hidden = hidden.collect::<Result<Vec<_>>>()?;
    node.with_new_children(hidden).map(Transformed::yes)
}

/// For each input, whether the node puts nulls into columns of it.
fn gets_nulls(node: &Plan) -> Vec<bool> {
    if let Some(aggregate) = node.downcast_ref::<AggregateExec>() {
        return vec![aggregate.group_expr().has_grouping_set()];
    }
    let by_hash = node.downcast_ref::<HashJoinExec>().map(HashJoinExec::join_type);
    let by_pairs = node.downcast_ref::<NestedLoopJoinExec>().map(NestedLoopJoinExec::join_type);
    let Some(join_type) = by_hash.or(by_pairs) else { return Vec::new() };
    let gets = |side: JoinSide| match join_type {
        JoinType::Full => true,
        JoinType::Left => side == JoinSide::Right,
        JoinType::Right => side == JoinSide::Left,
        _ => false,
    };
    vec![gets(JoinSide::Left), gets(JoinSide::Right)]
}

/// The filter with its condition hidden, if DataFusion makes something of it.
fn hide(node: Plan) -> Result<Transformed<Plan>> {
    let Some(filter) = node.downcast_ref::<FilterExec>() else { return Ok(Transformed::no(node)) };
    if node.equivalence_properties().eq_group().is_empty() {
        return Ok(Transformed::no(node));
    }
    let predicate = Arc::clone(filter.predicate());
    let hidden = Arc::new(NotExpr::new(Arc::new(NotExpr::new(predicate))));
    let filter = FilterExecBuilder::from(filter).with_predicate(hidden).build()?;
    Ok(Transformed::yes(Arc::new(filter)))
}

#[cfg(test)]
mod tests {
    use datafusion::{
        common::NullEquality,
        logical_expr::Operator,
        physical_expr::expressions::{BinaryExpr, Column, lit},
        physical_plan::joins::PartitionMode,
    };

    use super::*;
    use crate::samples::scan;

    /// Rows of the column `id` that are all the same.
    fn same() -> Plan {
        let id = Arc::new(Column::new("id", 0));
        let is_one = Arc::new(BinaryExpr::new(id, Operator::Eq, lit(1_i64)));
        Arc::new(FilterExec::try_new(is_one, scan(1)).unwrap())
    }

    /// Whether the inputs of a join are known to be the same in all rows.
    fn known(join_type: JoinType) -> Vec<bool> {
        let on = vec![(Arc::new(Column::new("id", 0)) as _, Arc::new(Column::new("id", 0)) as _)];
        let mode = PartitionMode::CollectLeft;
        let nulls = NullEquality::NullEqualsNothing;
        let join =
            HashJoinExec::try_new(same(), same(), on, None, &join_type, None, mode, nulls, false);
        let plan = KeepVarying.optimize(Arc::new(join.unwrap()), &ConfigOptions::new()).unwrap();
        let is_known = |input: &Plan| !input.equivalence_properties().constants().is_empty();
        plan.children().into_iter().map(is_known).collect()
    }

    #[test]
    fn a_column_that_gets_nulls_is_not_known_to_be_the_same_in_all_rows() {
        assert_eq!(known(JoinType::Inner), [true, true]);
        assert_eq!(known(JoinType::Left), [true, false]);
        assert_eq!(known(JoinType::Right), [false, true]);
        assert_eq!(known(JoinType::Full), [false, false]);
    }
}
