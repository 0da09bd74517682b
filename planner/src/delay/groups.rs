//! Groups by a key and by what is looked up with it: the key alone makes them, and each is looked
//! up once.

use std::sync::Arc;

use datafusion::{
    common::{
        Column, DFSchema,
        tree_node::{Transformed, TransformedResult, TreeNode},
    },
    error::Result,
    logical_expr::{Aggregate, Expr, LogicalPlan, Projection},
};

use super::keys::{column, replaced};
use crate::holds::{as_call, contains_call};

/// The groups by what needs no call, and above them the calls that depend on that alone; `None` if
/// there are no such.
pub(super) fn group_first(aggregate: &Aggregate) -> Result<Option<LogicalPlan>> {
    let group = &aggregate.group_expr;
    if group.iter().any(|expr| matches!(expr, Expr::GroupingSet(_))) {
        return Ok(None);
    }
    let Some(origins) = origins(group, &aggregate.input)? else { return Ok(None) };
    let Some(aggregated) = origins_of(&aggregate.aggr_expr, &aggregate.input)? else {
        return Ok(None);
    };
    // What is aggregated is looked up for each row anyway.
    if aggregated.iter().any(contains_call) {
        return Ok(None);
    }
    let is_late: Vec<_> =
        origins.iter().map(|origin| depends_on_groups(origin, &origins)).collect();
    if !is_late.contains(&true) {
        return Ok(None);
    }
    let kept = group.iter().zip(&is_late).filter(|(_, late)| !**late);
    let kept: Vec<_> = kept.map(|(expr, _)| expr.clone()).collect();
    let input = Arc::clone(&aggregate.input);
    let grouped = Aggregate::try_new(input, kept, aggregate.aggr_expr.clone())?;
    above(aggregate, grouped, &origins, &is_late).map(Some)
}

/// The columns of the aggregation over the groups that are left of it.
fn above(
    aggregate: &Aggregate,
    grouped: Aggregate,
    origins: &[Expr],
    is_late: &[bool],
) -> Result<LogicalPlan> {
    let kept = origins.iter().zip(is_late).filter(|(_, late)| !**late);
    let kept: Vec<_> = kept.map(|(origin, _)| origin).collect();
    let mut exprs = Vec::with_capacity(aggregate.schema.fields().len());
    let mut place = 0;
    for (at, (qualifier, field)) in aggregate.schema.iter().enumerate() {
        if is_late.get(at).copied().unwrap_or_default() {
            let late = by_groups(&origins[at], &kept, &grouped.schema)?;
            exprs.push(late.alias_qualified(qualifier.cloned(), field.name()));
        } else {
            exprs.push(column(&grouped.schema, place));
            place += 1;
        }
    }
    let grouped = Arc::new(LogicalPlan::Aggregate(grouped));
    Projection::try_new(exprs, grouped).map(LogicalPlan::Projection)
}

/// The expression with the columns of groups for the columns that make them.
fn by_groups(origin: &Expr, kept: &[&Expr], schema: &DFSchema) -> Result<Expr> {
    let by_group = |node: Expr| {
        let group =
            kept.iter().position(|group| matches!(node, Expr::Column(_)) && **group == node);
        Ok(match group {
            Some(group) => Transformed::yes(column(schema, group)),
            None => Transformed::no(node),
        })
    };
    origin.clone().transform_up(by_group).data()
}

/// Whether an expression with calls reads nothing but columns that are groups.
fn depends_on_groups(origin: &Expr, origins: &[Expr]) -> bool {
    let is_group = |column: &Column| {
        origins.iter().any(|group| matches!(group, Expr::Column(group) if group == column))
    };
    contains_call(origin)
        && is_certain(origin)
        && !origin.column_refs().is_empty()
        && origin.column_refs().into_iter().all(is_group)
}

/// Whether an expression has the same value wherever its columns have the same: calls have.
fn is_certain(expr: &Expr) -> bool {
    let is_other = |node: &Expr| Ok(node.is_volatile_node() && as_call(node).is_none());
    // The closure cannot fail.
    !expr.exists(is_other).unwrap_or(true)
}

/// What grouping expressions are, said over what lies below all projections.
fn origins(group: &[Expr], input: &LogicalPlan) -> Result<Option<Vec<Expr>>> {
    let unaliased: Vec<_> = group.iter().map(|expr| expr.clone().unalias()).collect();
    origins_of(&unaliased, input)
}

fn origins_of(exprs: &[Expr], input: &LogicalPlan) -> Result<Option<Vec<Expr>>> {
    let (below, said) = match input {
        LogicalPlan::Projection(projection) => {
            let value = |at: usize| projection.expr.get(at).map(|expr| expr.clone().unalias());
            (&projection.input, all_replaced(exprs, input.schema(), &value)?)
        }
        LogicalPlan::SubqueryAlias(alias) => {
            let value = |at: usize| Some(column(alias.input.schema(), at));
            (&alias.input, all_replaced(exprs, input.schema(), &value)?)
        }
        _ => return Ok(Some(exprs.to_vec())),
    };
    match said {
        Some(exprs) => origins_of(&exprs, below),
        None => Ok(None),
    }
}

fn all_replaced(
    exprs: &[Expr],
    schema: &DFSchema,
    value: &impl Fn(usize) -> Option<Expr>,
) -> Result<Option<Vec<Expr>>> {
    exprs.iter().map(|expr| replaced(expr, schema, value)).collect()
}
