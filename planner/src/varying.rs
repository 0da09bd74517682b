//! Columns that are the same in all rows, below what puts nulls into them.
//!
//! DataFusion takes a column that a condition holds at one value for the same everywhere above,
//! and leaves it out of what is sorted by. An outer join has nulls for it beside that value. So such
//! a condition is not shown to it: NOT NOT of it gives the same rows. Sets of groups have such
//! nulls, too, and are put together as if their rows came in the order of that column: groups would
//! come several times. So what they are made by is not shown to be the same, be it by a condition,
//! a join or as it is written.

use std::sync::Arc;

use datafusion::{
    arrow::datatypes::Schema,
    common::{
        JoinSide, JoinType,
        tree_node::{Transformed, TransformedResult, TreeNode},
    },
    config::ConfigOptions,
    error::Result,
    functions::core::version,
    physical_expr::{
        PhysicalExpr, ScalarFunctionExpr,
        expressions::{CaseExpr, IsNotNullExpr, NotExpr},
    },
    physical_optimizer::PhysicalOptimizerRule,
    physical_plan::{
        ExecutionPlan, ExecutionPlanProperties,
        aggregates::{AggregateExec, PhysicalGroupBy},
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

/// The node over inputs whose conditions are not shown, where it puts nulls into their columns; or
/// sets of groups by what is not shown to be the same.
fn keep(node: Plan) -> Result<Transformed<Plan>> {
    if let Some(groups) = node.downcast_ref::<AggregateExec>() {
        return Ok(match by_varying(groups)? {
            Some(groups) => Transformed::yes(Arc::new(groups)),
            None => Transformed::no(node),
        });
    }
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

/// Sets of groups by expressions that DataFusion does not take for the same in all rows, nor for
/// equal to each other; none if it takes none for that.
fn by_varying(groups: &AggregateExec) -> Result<Option<AggregateExec>> {
    let by = groups.group_expr();
    let known = groups.input().equivalence_properties();
    // The same in all rows, or as another column.
    let is_same = |expr: &Arc<dyn PhysicalExpr>| {
        let equal = known.eq_group().get_equivalence_class(expr);
        equal.is_some() || known.is_expr_constant(expr).is_some()
    };
    if !by.has_grouping_set() || !by.expr().iter().any(|(expr, _)| is_same(expr)) {
        return Ok(None);
    }
    let exprs = by.expr().iter().map(|(expr, name)| -> Result<_> {
        let expr = if is_same(expr) { varying(expr)? } else { Arc::clone(expr) };
        Ok((expr, name.clone()))
    });
    let exprs = exprs.collect::<Result<Vec<_>>>()?;
    let by = PhysicalGroupBy::new(exprs, by.null_expr().to_vec(), by.groups().to_vec(), true);
    let (values, filters) = (groups.aggr_expr().to_vec(), groups.filter_expr().to_vec());
    let (input, schema) = (Arc::clone(groups.input()), groups.input_schema());
    AggregateExec::try_new(*groups.mode(), by, values, filters, input, schema).map(Some)
}

/// An expression of the same values. A function of nothing is all that DataFusion does not take for
/// the same everywhere, but for columns.
fn varying(expr: &Arc<dyn PhysicalExpr>) -> Result<Arc<dyn PhysicalExpr>> {
    let config = Arc::new(ConfigOptions::new());
    let version = ScalarFunctionExpr::try_new(version(), Vec::new(), &Schema::empty(), config)?;
    let always: Arc<dyn PhysicalExpr> = Arc::new(IsNotNullExpr::new(Arc::new(version)));
    let cases = vec![(always, Arc::clone(expr))];
    Ok(Arc::new(CaseExpr::try_new(None, cases, Some(Arc::clone(expr)))?))
}

/// For each input, whether the node puts nulls into columns of it.
fn gets_nulls(node: &Plan) -> Vec<bool> {
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
        common::{NullEquality, ScalarValue},
        logical_expr::Operator,
        physical_expr::expressions::{BinaryExpr, Column, lit},
        physical_plan::{aggregates::AggregateMode, joins::PartitionMode},
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

    #[test]
    fn what_makes_sets_of_groups_is_not_known_to_be_the_same_in_all_rows() {
        let column: Arc<dyn PhysicalExpr> = Arc::new(Column::new("id", 0));
        for by in [column, lit(7_i64)] {
            let (by, null) = (vec![(by, "id".to_owned())], lit(ScalarValue::Int64(None)));
            let sets = vec![vec![false], vec![true]];
            let by = PhysicalGroupBy::new(by, vec![(null, "id".to_owned())], sets, true);
            let (mode, rows) = (AggregateMode::Partial, same());
            let schema = rows.schema();
            let groups =
                AggregateExec::try_new(mode, by, Vec::new(), Vec::new(), rows, schema).unwrap();
            let schema = groups.schema();
            let plan = KeepVarying.optimize(Arc::new(groups), &ConfigOptions::new()).unwrap();
            let id: Arc<dyn PhysicalExpr> = Arc::new(Column::new("id", 0));
            assert_eq!(plan.equivalence_properties().is_expr_constant(&id), None);
            assert_eq!(plan.schema(), schema);
        }
    }
}
