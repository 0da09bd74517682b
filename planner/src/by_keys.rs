//! Rows that are grouped by what they look up: they are grouped by their keys before, so that each
//! key is looked up once a partition and not once a row.
//!
//! Below the lookups stands a partial aggregate by all that these, and what is between them and the
//! groups, read of the rows; above them, one that puts its states together. Both are partial, so
//! nothing moves between partitions. Each ends by itself where its groups do not come again, and
//! gives out what it has where memory is short. With the states the lower one carries how many rows
//! there were, so that keys and misses are counted as of these.
//!
//! An aggregate stays as it is where that could give something else: if it reads what was looked
//! up, has a condition or an order or wants distinct values, or if equal keys are not the same.

mod chain;
mod functions;
mod grouped;

use std::sync::Arc;

use arrow::datatypes::{DataType, Schema, SchemaRef};
use datafusion::{
    common::tree_node::{Transformed, TransformedResult, TreeNode},
    config::ConfigOptions,
    error::Result,
    physical_expr::{PhysicalExpr, aggregate::AggregateFunctionExpr, expressions::Column},
    physical_optimizer::PhysicalOptimizerRule,
    physical_plan::{
        ExecutionPlan, ExecutionPlanProperties, InputOrderMode,
        aggregates::{AggregateExec, AggregateMode, PhysicalGroupBy},
        coalesce_partitions::CoalescePartitionsExec,
        projection::{ProjectionExec, ProjectionExpr},
        unnest::UnnestExec,
    },
};

use keyloom_common::{group_keys::GroupKeys, plan::by_hash};

use crate::{local::is_row_by_row, options::PlanOptions, shuffle::largest_input};
use chain::{Chain, Needs, replaced};
use functions::{is_merged, over_rows, over_states, with_count};
use grouped::Grouped;

type Expr = Arc<dyn PhysicalExpr>;
type Plan = Arc<dyn ExecutionPlan>;

/// About how many rows an input has at least where [`GroupKeys::Auto`] groups by keys. Of fewer,
/// the lookups take no time that is felt.
const LEAST_ROWS: u64 = 1_000_000;

/// Groups rows by their keys below the lookups of what they are grouped by.
#[derive(Debug, Default)]
pub struct GroupByKeys;

impl PhysicalOptimizerRule for GroupByKeys {
    fn optimize(&self, plan: Plan, config: &ConfigOptions) -> Result<Plan> {
        let choice = PlanOptions::of(config).group_keys;
        let plan = plan.transform_up(|node| {
            let grouped = match (choice, node.downcast_ref::<AggregateExec>()) {
                (GroupKeys::Auto, _) => below_shuffle(&node)?,
                (GroupKeys::Always, Some(aggregate)) => by_keys(aggregate)?,
                (GroupKeys::Always, None) | (GroupKeys::Never, _) => None,
            };
            Ok(grouped.map_or_else(|| Transformed::no(node), Transformed::yes))
        });
        plan.data()
    }

    fn name(&self) -> &'static str {
        "group_by_keys"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// The rows below groups by keys, and what an expression over the groups is over the rows. Where
/// there are no such groups, both are as they are.
pub(crate) fn of_rows(input: &Plan, expr: &Expr) -> Result<(Plan, Expr)> {
    let aggregate = input.downcast_ref::<AggregateExec>();
    let Some(aggregate) = aggregate.filter(|groups| *groups.mode() == AggregateMode::Partial)
    else {
        return Ok((Arc::clone(input), Arc::clone(expr)));
    };
    let groups = aggregate.group_expr().expr();
    let of_rows = replaced(expr, |at| groups.get(at).map(|(group, _)| Arc::clone(group)))?;
    Ok(match of_rows {
        Some(expr) => (Arc::clone(aggregate.input()), expr),
        None => (Arc::clone(input), Arc::clone(expr)),
    })
}

/// The shuffle of the groups of a large input, over groups by keys; `None` if it is none, or stays
/// as it is.
fn below_shuffle(node: &Plan) -> Result<Option<Plan>> {
    let Some(shuffle) = by_hash(node) else { return Ok(None) };
    let rows = shuffle.input();
    let aggregate = rows.downcast_ref::<AggregateExec>();
    let Some(aggregate) = aggregate.filter(|_| largest_input(rows) >= LEAST_ROWS) else {
        return Ok(None);
    };
    match by_keys(aggregate)? {
        Some(grouped) => Arc::clone(node).with_new_children(vec![grouped]).map(Some),
        None => Ok(None),
    }
}

/// The aggregate over groups by keys; `None` if it stays as it is.
fn by_keys(aggregate: &AggregateExec) -> Result<Option<Plan>> {
    if !is_partial(aggregate) || !aggregate.aggr_expr().iter().all(|function| is_merged(function)) {
        return Ok(None);
    }
    let Some(chain) = Chain::below(aggregate.input()) else { return Ok(None) };
    if is_grouped(chain.rows()) {
        return Ok(None);
    }
    let groups = aggregate.group_expr().expr().iter().map(|(group, _)| group);
    let Some(needs) = chain.needs(groups) else { return Ok(None) };
    let schema = chain.rows().schema();
    let keys = needs.of_rows();
    if keys.is_empty() || !keys.iter().all(|at| is_exact(schema.field(*at).data_type())) {
        return Ok(None);
    }
    let functions = aggregate.aggr_expr().iter().map(|function| over_rows(function, &chain));
    let functions: Option<Vec<_>> = functions.collect::<Result<_>>()?;
    let Some(functions) = functions else { return Ok(None) };
    let plan = over_keys(aggregate, &chain, &needs, functions)?;
    Ok(has_types_of(&plan, &aggregate.schema()).then_some(plan))
}

/// Whether columns have the types of others; those of states may have other names.
fn has_types_of(plan: &Plan, schema: &Schema) -> bool {
    let (these, others) = (plan.schema(), schema.fields());
    let types = these.fields().iter().map(|field| field.data_type());
    types.eq(others.iter().map(|field| field.data_type()))
}

/// Whether an aggregate may as well be made of states: one of some of the rows, or of those of one
/// partition.
fn is_partial(aggregate: &AggregateExec) -> bool {
    let is_partial = match aggregate.mode() {
        AggregateMode::Partial => true,
        AggregateMode::Single => aggregate.input().output_partitioning().partition_count() == 1,
        _ => false,
    };
    let groups = aggregate.group_expr();
    is_partial
        && groups.is_single()
        && !groups.is_empty()
        && aggregate.limit_options().is_none()
        && *aggregate.input_order_mode() == InputOrderMode::Linear
        && aggregate.filter_expr().iter().all(Option::is_none)
}

/// Whether rows are groups already, of which keys do not come again and again.
fn is_grouped(plan: &Plan) -> bool {
    let passes = is_row_by_row(plan) && !plan.is::<UnnestExec>();
    plan.is::<AggregateExec>()
        || (passes || plan.is::<CoalescePartitionsExec>())
            && plan.children().into_iter().all(is_grouped)
}

/// Whether equal values of a type are the same, and come out of a group as they went in.
fn is_exact(data_type: &DataType) -> bool {
    let is_number = data_type.is_integer() || data_type.is_decimal();
    let is_text = matches!(data_type, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View);
    let is_binary = matches!(
        data_type,
        DataType::Binary
            | DataType::LargeBinary
            | DataType::BinaryView
            | DataType::FixedSizeBinary(_)
    );
    let is_time = matches!(
        data_type,
        DataType::Date32
            | DataType::Date64
            | DataType::Time32(_)
            | DataType::Time64(_)
            | DataType::Timestamp(..)
    );
    is_number || is_text || is_binary || is_time || *data_type == DataType::Boolean
}

/// The aggregate, of these functions over the rows, with a partial one by keys below the chain.
fn over_keys(
    aggregate: &AggregateExec,
    chain: &Chain,
    needs: &Needs,
    functions: Vec<Arc<AggregateFunctionExpr>>,
) -> Result<Plan> {
    let rows = chain.rows();
    let schema = rows.schema();
    let keys = needs.of_rows().iter().map(|&at| {
        let name = schema.field(at).name();
        (Arc::new(Column::new(name, at)) as Expr, name.clone())
    });
    let keys = PhysicalGroupBy::new_single(keys.collect());
    let (below, counting) = with_count(functions.clone(), &schema)?;
    let below = partial(AggregateMode::Partial, keys, below, rows, &schema)?;
    let grouped = chain.over(Grouped::new(below, needs, counting), needs)?;
    let input = by_groups(aggregate, grouped)?;
    let (named, columns) = (aggregate.group_expr().expr().iter(), input.schema());
    let groups = named.zip(columns.fields()).enumerate().map(|(at, ((_, name), field))| {
        (Arc::new(Column::new(field.name(), at)) as Expr, name.clone())
    });
    let groups = PhysicalGroupBy::new_single(groups.collect());
    let merging = over_states(&functions, aggregate.group_expr().expr().len(), &columns)?;
    let reduced = match merging {
        Some(merging) => {
            partial(AggregateMode::Partial, groups.clone(), merging, &input, &columns)?
        }
        None => {
            let (mode, functions) = (AggregateMode::PartialReduce, functions.clone());
            partial(mode, groups.clone(), functions, &input, &schema)?
        }
    };
    match aggregate.mode() {
        AggregateMode::Single => {
            partial(AggregateMode::Final, groups.as_final(), functions, &reduced, &schema)
        }
        _ => Ok(reduced),
    }
}

/// An aggregate of functions over rows of a schema, in its part of the way.
fn partial(
    mode: AggregateMode,
    groups: PhysicalGroupBy,
    functions: Vec<Arc<AggregateFunctionExpr>>,
    input: &Plan,
    schema: &SchemaRef,
) -> Result<Plan> {
    let conditions = vec![None; functions.len()];
    let (input, schema) = (Arc::clone(input), Arc::clone(schema));
    let aggregate = AggregateExec::try_new(mode, groups, functions, conditions, input, schema)?;
    Ok(Arc::new(aggregate))
}

/// The rows of the chain with what the aggregate groups them by first, and the states behind.
fn by_groups(aggregate: &AggregateExec, grouped: Grouped) -> Result<Plan> {
    let groups = aggregate.group_expr().expr();
    let mut exprs = Vec::with_capacity(groups.len() + grouped.states().len());
    for (group, name) in groups {
        exprs.push(ProjectionExpr { expr: grouped.moved(group)?, alias: name.clone() });
    }
    let is_place = |(at, group): (usize, &ProjectionExpr)| {
        group.expr.downcast_ref::<Column>().is_some_and(|column| column.index() == at)
    };
    if grouped.states().start == exprs.len() && exprs.iter().enumerate().all(is_place) {
        return Ok(grouped.into_plan());
    }
    exprs.extend(grouped.state_columns());
    Ok(Arc::new(ProjectionExec::try_new(exprs, grouped.into_plan())?))
}

#[cfg(test)]
mod tests;
