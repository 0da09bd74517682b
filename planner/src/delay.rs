//! Moving calls behind what needs no answer of theirs: conditions on other columns, the sort of
//! which only the first rows are wanted, the limit above what is unnested, windows below these, and
//! the groups that a key makes.
//!
//! Each moves on its own, past projections, and leaves the columns above as they were. A key that
//! then nobody asks for raises nothing if it is missing.

mod fewer;
mod groups;
mod keys;
mod late;
mod sift;
mod split;
mod windows;

use std::sync::Arc;

use datafusion::{
    common::tree_node::Transformed,
    error::Result,
    logical_expr::{
        Expr, Filter, Limit, LogicalPlan, Projection, Sort, SortExpr, SubqueryAlias, Unnest,
    },
    optimizer::{ApplyOrder, OptimizerConfig, OptimizerRule},
};

use crate::holds::{contains_call, has_call};
use fewer::{fewer_limited, fewer_sorted};
use groups::group_first;
use keys::{below_unnest, over_input};
pub(crate) use keys::{column, replaced};
use sift::sift_first;
use split::split;
use windows::over_windows;

/// Puts conditions, limits and groups below the calls that these do not need.
#[derive(Debug, Default)]
pub struct DelayCalls;

impl OptimizerRule for DelayCalls {
    fn name(&self) -> &'static str {
        "delay_calls"
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        Some(ApplyOrder::TopDown)
    }

    fn rewrite(
        &self,
        plan: LogicalPlan,
        _config: &dyn OptimizerConfig,
    ) -> Result<Transformed<LogicalPlan>> {
        let moved = match &plan {
            LogicalPlan::Sort(sort) if sort.fetch.is_some() && has_call(&sort.input)? => {
                few_first(sort)?
            }
            LogicalPlan::Filter(filter) if has_call(&filter.input)? => filter_first(filter)?,
            LogicalPlan::Limit(limit) if has_call(&limit.input)? => limit_first(limit)?,
            LogicalPlan::Aggregate(aggregate) if has_call(&aggregate.input)? => {
                group_first(aggregate)?
            }
            _ => None,
        };
        Ok(match moved {
            Some(plan) => Transformed::yes(plan),
            None => Transformed::no(plan),
        })
    }
}

/// The sort of a few rows with fewer calls below it.
fn few_first(sort: &Sort) -> Result<Option<LogicalPlan>> {
    if let Some(sorted) = sort_first(sort)? {
        return Ok(Some(sorted));
    }
    if let Some(sorted) = fewer_sorted(sort)? {
        return Ok(Some(sorted));
    }
    // Above windows, calls gain only if the sort then goes below them.
    match over_windows(&sort.input, &[])? {
        Some(lifted) => sort_first(&sorted(sort, sort.expr.clone(), &Arc::new(lifted))),
        None => Ok(None),
    }
}

/// The filter with calls above it that its condition does not read, nor a window below it.
fn filter_first(filter: &Filter) -> Result<Option<LogicalPlan>> {
    match over_read_windows(&filter.input, &filter.predicate)? {
        Some(lifted) => sift_first(&Filter::try_new(filter.predicate.clone(), Arc::new(lifted))?),
        None => sift_first(filter),
    }
}

/// Windows with the calls above them that neither these nor a condition on them reads. Columns that
/// nobody reads may be left out above them.
fn over_read_windows(plan: &LogicalPlan, condition: &Expr) -> Result<Option<LogicalPlan>> {
    match plan {
        LogicalPlan::Window(_) => over_windows(plan, &[condition]),
        LogicalPlan::Projection(projection) if !projection.expr.iter().any(contains_call) => {
            let LogicalPlan::Window(_) = projection.input.as_ref() else { return Ok(None) };
            let value = |at: usize| projection.expr.get(at).map(|expr| expr.clone().unalias());
            let Some(condition) = replaced(condition, &projection.schema, &value)? else {
                return Ok(None);
            };
            let Some(below) = over_windows(&projection.input, &[&condition])? else {
                return Ok(None);
            };
            let (exprs, schema) = (projection.expr.clone(), Arc::clone(&projection.schema));
            let lifted = Projection::try_new_with_schema(exprs, Arc::new(below), schema)?;
            Ok(Some(LogicalPlan::Projection(lifted)))
        }
        _ => Ok(None),
    }
}

/// The sort of a few rows below the calls that do not decide which these are; `None` if there are
/// none of them on the way.
fn sort_first(sort: &Sort) -> Result<Option<LogicalPlan>> {
    match sort.input.as_ref() {
        LogicalPlan::Projection(projection) => sort_before_projection(sort, projection),
        LogicalPlan::SubqueryAlias(alias) => {
            let schema = alias.input.schema();
            let keys = over_input(&sort.expr, &alias.schema, |at| Some(column(schema, at)))?;
            let Some(keys) = keys else { return Ok(None) };
            let Some(below) = sort_first(&sorted(sort, keys, &alias.input))? else {
                return Ok(None);
            };
            let alias = SubqueryAlias::try_new(Arc::new(below), alias.alias.clone())?;
            Ok(Some(LogicalPlan::SubqueryAlias(alias)))
        }
        LogicalPlan::Unnest(unnest) if keeps_rows(unnest) => {
            let keys = over_input(&sort.expr, &unnest.schema, |at| below_unnest(unnest, at))?;
            let Some(keys) = keys else { return Ok(None) };
            let below = sort_first(&sorted(sort, keys, &unnest.input))?;
            Ok(below.map(|below| over(unnest, below)))
        }
        _ => Ok(None),
    }
}

fn sort_before_projection(sort: &Sort, projection: &Projection) -> Result<Option<LogicalPlan>> {
    let exprs = &projection.expr;
    let keys = over_input(&sort.expr, &projection.schema, |at| {
        exprs.get(at).map(|expr| expr.clone().unalias())
    })?;
    let Some(keys) = keys else { return Ok(None) };
    if keys.iter().any(|key| key.expr.is_volatile()) {
        return split(sort, projection);
    }
    let sort = sorted(sort, keys, &projection.input);
    let below = match sort_first(&sort)? {
        Some(below) => below,
        None if exprs.iter().any(contains_call) => LogicalPlan::Sort(sort),
        None => return Ok(None),
    };
    let schema = Arc::clone(&projection.schema);
    let projection = Projection::try_new_with_schema(exprs.clone(), Arc::new(below), schema)?;
    Ok(Some(LogicalPlan::Projection(projection)))
}

/// The same sort by other keys, of other rows.
fn sorted(sort: &Sort, expr: Vec<SortExpr>, input: &Arc<LogicalPlan>) -> Sort {
    Sort { expr, input: Arc::clone(input), fetch: sort.fetch }
}

/// The limit below what makes columns of a struct's fields, and no rows, or with fewer rows below.
fn limit_first(limit: &Limit) -> Result<Option<LogicalPlan>> {
    let is_literal = |count: &Option<Box<Expr>>| {
        count.as_deref().is_none_or(|count| matches!(count, Expr::Literal(..)))
    };
    if !is_literal(&limit.skip) || !is_literal(&limit.fetch) {
        return Ok(None);
    }
    match limit.input.as_ref() {
        LogicalPlan::Unnest(unnest) if keeps_rows(unnest) => {
            let below = Limit { input: Arc::clone(&unnest.input), ..limit.clone() };
            Ok(Some(over(unnest, LogicalPlan::Limit(below))))
        }
        input => {
            let input = match fewer_limited(limit)? {
                Some(input) => Some(input),
                None if limit.fetch.is_some() => over_windows(input, &[])?,
                None => None,
            };
            let limited =
                |input| LogicalPlan::Limit(Limit { input: Arc::new(input), ..limit.clone() });
            Ok(input.map(limited))
        }
    }
}

/// Whether each row stays one row: lists may be empty or long, structs are neither.
fn keeps_rows(unnest: &Unnest) -> bool {
    unnest.list_type_columns.is_empty()
}

fn over(unnest: &Unnest, input: LogicalPlan) -> LogicalPlan {
    LogicalPlan::Unnest(Unnest { input: Arc::new(input), ..unnest.clone() })
}
