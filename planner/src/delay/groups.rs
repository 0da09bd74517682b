//! Groups by a key and by what is looked up with it: the key alone makes them, and each is looked
//! up once. So is what an aggregate takes the same value of for all rows of a group.

use std::sync::Arc;

use datafusion::{
    arrow::datatypes::DataType,
    common::{
        DFSchema,
        tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion},
    },
    error::Result,
    logical_expr::{Aggregate, Expr, ExprSchemable, LogicalPlan, Projection, cast},
};

use super::{
    keys::{column, replaced},
    sift::{is_asked, questions},
};
use crate::{
    holds::{as_call, contains_call},
    narrow::unaliased,
};

/// The aggregates of equal values that are this value, however many they are.
const ANY_OF_EQUAL: [&str; 8] =
    ["min", "max", "first_value", "last_value", "bool_and", "bool_or", "bit_and", "bit_or"];

/// The groups by what needs no call, and above them the calls that depend on that alone; `None` if
/// there are no such.
pub(super) fn group_first(aggregate: &Aggregate) -> Result<Option<LogicalPlan>> {
    let group = &aggregate.group_expr;
    if group.iter().any(|expr| matches!(expr, Expr::GroupingSet(_))) {
        return Ok(None);
    }
    let Some(origins) = over_bottom(group, &aggregate.input)? else { return Ok(None) };
    let Some(aggregated) = over_bottom(&aggregate.aggr_expr, &aggregate.input)? else {
        return Ok(None);
    };
    let values = origins.iter().cloned().map(Some).chain(aggregated.iter().map(of_equal));
    let late = values.map(|value| value.filter(|value| depends_on_groups(value, &origins)));
    let late = without_asked(late.collect(), origins.iter().chain(&aggregated))?;
    if late.iter().all(Option::is_none) {
        return Ok(None);
    }
    let (of_groups, of_aggregates) = late.split_at(group.len());
    let input = Arc::clone(&aggregate.input);
    let aggregates = kept(&aggregate.aggr_expr, of_aggregates);
    let grouped = Aggregate::try_new(input, kept(group, of_groups), aggregates)?;
    above(aggregate, grouped, &kept(&origins, of_groups), &late)
}

/// Those of which there is no value that is computed late.
fn kept(exprs: &[Expr], late: &[Option<Expr>]) -> Vec<Expr> {
    let kept = exprs.iter().zip(late).filter(|(_, late)| late.is_none());
    kept.map(|(expr, _)| expr.clone()).collect()
}

/// What an aggregate is where its argument is the same for all rows, if their number does not
/// matter.
fn of_equal(aggregate: &Expr) -> Option<Expr> {
    let Expr::AggregateFunction(function) = unaliased(aggregate) else { return None };
    let params = &function.params;
    let [value] = params.args.as_slice() else { return None };
    if params.filter.is_some() {
        return None;
    }
    match function.func.name() {
        "count" if params.distinct => Some(cast(value.clone().is_not_null(), DataType::Int64)),
        name => ANY_OF_EQUAL.contains(&name).then(|| value.clone()),
    }
}

/// The values without those that ask for what is asked for each row anyway, by the expressions
/// that are not late: there the two are one fetch.
fn without_asked<'a>(
    mut late: Vec<Option<Expr>>,
    exprs: impl Iterator<Item = &'a Expr>,
) -> Result<Vec<Option<Expr>>> {
    let mut asked = Vec::new();
    for (expr, _) in exprs.zip(&late).filter(|(_, late)| late.is_none()) {
        questions(expr, &mut asked)?;
    }
    for value in &mut late {
        let is_below = match value {
            Some(expr) => is_asked(expr, &asked)?,
            None => false,
        };
        if is_below {
            *value = None;
        }
    }
    Ok(late)
}

/// The columns of the aggregation over the groups that are left of it; `None` if one of them would
/// have another type.
fn above(
    aggregate: &Aggregate,
    grouped: Aggregate,
    groups: &[Expr],
    late: &[Option<Expr>],
) -> Result<Option<LogicalPlan>> {
    let mut exprs = Vec::with_capacity(aggregate.schema.fields().len());
    let mut left = (0..grouped.schema.fields().len()).map(|place| column(&grouped.schema, place));
    for ((qualifier, field), late) in aggregate.schema.iter().zip(late) {
        let Some(value) = late else {
            exprs.extend(left.next());
            continue;
        };
        let value = by_groups(value, groups, &grouped.schema)?;
        if value.get_type(grouped.schema.as_ref())? != *field.data_type() {
            return Ok(None);
        }
        exprs.push(value.alias_qualified(qualifier.cloned(), field.name()));
    }
    let grouped = Arc::new(LogicalPlan::Aggregate(grouped));
    Projection::try_new(exprs, grouped).map(LogicalPlan::Projection).map(Some)
}

/// The value with the columns of groups for what makes these.
fn by_groups(value: &Expr, groups: &[Expr], schema: &DFSchema) -> Result<Expr> {
    let by_group = |node: Expr| {
        Ok(match group_of(&node, groups) {
            Some(group) => Transformed::new(column(schema, group), true, TreeNodeRecursion::Jump),
            None => Transformed::no(node),
        })
    };
    value.clone().transform_down(by_group).data()
}

/// Whether a value with calls reads nothing but what makes groups.
fn depends_on_groups(value: &Expr, origins: &[Expr]) -> bool {
    let (mut reads_groups, mut reads_others) = (false, false);
    let walked = value.apply(|node| {
        if group_of(node, origins).is_some() {
            reads_groups = true;
            return Ok(TreeNodeRecursion::Jump);
        }
        reads_others |= matches!(node, Expr::Column(_));
        Ok(TreeNodeRecursion::Continue)
    });
    contains_call(value) && is_certain(value) && walked.is_ok() && reads_groups && !reads_others
}

/// The place of the group that an expression makes: it has one value in all rows of each.
fn group_of(expr: &Expr, groups: &[Expr]) -> Option<usize> {
    let group = groups.iter().position(|group| group == expr)?;
    // A literal may stand anywhere, as the name of a field does.
    (!expr.is_volatile() && !expr.column_refs().is_empty()).then_some(group)
}

/// Whether an expression has the same value wherever its columns have the same: calls have.
fn is_certain(expr: &Expr) -> bool {
    let is_other = |node: &Expr| Ok(node.is_volatile_node() && as_call(node).is_none());
    // The closure cannot fail.
    !expr.exists(is_other).unwrap_or(true)
}

/// What expressions are, said over what lies below all projections.
fn over_bottom(exprs: &[Expr], input: &LogicalPlan) -> Result<Option<Vec<Expr>>> {
    let unaliased: Vec<_> = exprs.iter().map(|expr| expr.clone().unalias()).collect();
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
