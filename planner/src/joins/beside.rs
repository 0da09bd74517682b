//! A call beside those that are there: several joins with stores, one over the other, are then one
//! lookup, whose fetches are made at the same time where none needs another's answer.

use std::{collections::HashMap, sync::Arc};

use datafusion::{
    common::{
        Column,
        tree_node::{Transformed, TransformedResult, TreeNode},
    },
    error::Result,
    logical_expr::{Expr, LogicalPlan, Projection, Unnest},
};
use keyloom_common::functions::{GET_FIELD, GetField, KvCall, KvFunction};

use super::{ROW, side::may_move};
use crate::{
    columns::with_columns,
    holds::{contains, contains_call, has_grown},
};

/// A plan with a call's answer for each of its rows, as a column of this name.
pub(super) fn with_answer(
    plan: &LogicalPlan,
    call: KvCall,
    key: Expr,
    name: &str,
) -> Result<LogicalPlan> {
    if let Some(sunk) = sink(plan, &call, &key, name)? {
        return Ok(sunk);
    }
    let answer = KvFunction::expr(call, key).alias(name);
    with_columns(plan.clone(), vec![answer])
}

/// A projection over joins with its own calls beside theirs, so that what asks the same is asked
/// once; none if it has no calls that all its rows reach.
pub(super) fn with_calls_beside(
    projection: &Projection,
    mut name: impl FnMut() -> String,
) -> Result<Option<LogicalPlan>> {
    if !is_over_join(&projection.input) || !projection.expr.iter().any(contains_call) {
        return Ok(None);
    }
    let mut input = Arc::clone(&projection.input);
    let mut exprs = Vec::with_capacity(projection.expr.len());
    let mut is_sunk = false;
    for expr in &projection.expr {
        let (qualifier, known_as) = expr.qualified_name();
        match sink_call(expr, &mut input, &mut name)? {
            Some(sunk) => {
                is_sunk = true;
                exprs.push(sunk.unalias().alias_qualified(qualifier, known_as));
            }
            None => exprs.push(expr.clone()),
        }
    }
    if !is_sunk {
        return Ok(None);
    }
    Ok(Some(LogicalPlan::Projection(Projection::try_new(exprs, input)?)))
}

/// Whether a plan's rows are those of a projection in which a join looks up its rows.
fn is_over_join(plan: &LogicalPlan) -> bool {
    let is_row = |expr: &Expr| match expr {
        Expr::Alias(alias) => alias.name.starts_with(ROW) && contains_call(&alias.expr),
        _ => false,
    };
    match plan {
        LogicalPlan::Projection(projection) => {
            projection.expr.iter().any(is_row) || is_over_join(&projection.input)
        }
        LogicalPlan::Unnest(unnest) => is_over_join(&unnest.input),
        _ => false,
    }
}

/// An expression with a column in the place of its call, if it is a call or reads fields of one.
fn sink_call(
    expr: &Expr,
    input: &mut Arc<LogicalPlan>,
    name: &mut impl FnMut() -> String,
) -> Result<Option<Expr>> {
    let function = match expr {
        Expr::Alias(alias) => return sink_call(&alias.expr, input, name),
        Expr::ScalarFunction(function) => function,
        _ => return Ok(None),
    };
    if let (Some(marker), [key]) =
        (function.func.inner().downcast_ref::<KvFunction>(), function.args.as_slice())
    {
        // Calls in its key are not looked into.
        if !may_move(key) {
            return Ok(None);
        }
        let name = name();
        let Some(sunk) = sink(input, marker.call(), key, &name)? else { return Ok(None) };
        *input = Arc::new(sunk);
        return Ok(Some(Expr::Column(Column::new_unqualified(name))));
    }
    match function.args.as_slice() {
        [structure, path @ ..] if function.name() == GET_FIELD => {
            let Some(structure) = sink_call(structure, input, name)? else { return Ok(None) };
            let args = std::iter::once(structure).chain(path.iter().cloned());
            Ok(Some(GetField::udf().call(args.collect())))
        }
        _ => Ok(None),
    }
}

/// The same with the call in the projection that has calls already, if all its rows are the plan's:
/// above it are projections, and lists of rows that are unnested.
fn sink(plan: &LogicalPlan, call: &KvCall, key: &Expr, name: &str) -> Result<Option<LogicalPlan>> {
    let projection = match plan {
        LogicalPlan::Projection(projection) => projection,
        LogicalPlan::Unnest(unnest) => return sink_below_unnest(unnest, call, key, name),
        _ => return Ok(None),
    };
    let asked = below(key, projection)?;
    if changes(&asked) || has_grown(&asked, key) {
        return Ok(None);
    }
    let key = asked;
    let mut exprs = projection.expr.clone();
    let input = if exprs.iter().any(contains_call) {
        exprs.push(KvFunction::expr(call.clone(), key).alias(name));
        Arc::clone(&projection.input)
    } else {
        let Some(input) = sink(&projection.input, call, &key, name)? else { return Ok(None) };
        exprs.push(Expr::Column(Column::new_unqualified(name)));
        Arc::new(input)
    };
    Ok(Some(LogicalPlan::Projection(Projection::try_new(exprs, input)?)))
}

/// Whether an expression may have another value where it is computed again. Calls do not: equal
/// ones become one.
fn changes(expr: &Expr) -> bool {
    contains(expr, |node| match node {
        Expr::ScalarFunction(function) if function.func.inner().is::<KvFunction>() => false,
        node => node.is_volatile_node(),
    })
}

/// The rows that a join found are unnested above the call, unless its key comes from them. Null is
/// unnested, too, and no list is empty: no row goes.
///
/// A call with a limit of its misses stays above: each of the statement's rows counts, of which
/// there are other numbers below.
fn sink_below_unnest(
    unnest: &Unnest,
    call: &KvCall,
    key: &Expr,
    name: &str,
) -> Result<Option<LogicalPlan>> {
    let is_of_join = |column: &Column| column.name.starts_with(ROW);
    let reads = key.column_refs();
    if call.on_error().max_misses().is_some() {
        return Ok(None);
    }
    let is_free = unnest.exec_columns.iter().all(|column| !reads.contains(column));
    if !is_free || !unnest.exec_columns.iter().all(is_of_join) {
        return Ok(None);
    }
    let Some(input) = sink(&unnest.input, call, key, name)? else { return Ok(None) };
    let columns = unnest.exec_columns.clone();
    let unnest = Unnest::try_new(Arc::new(input), columns, unnest.options.clone())?;
    Ok(Some(LogicalPlan::Unnest(unnest)))
}

/// An expression over a projection's columns, over those of its input.
fn below(expr: &Expr, projection: &Projection) -> Result<Expr> {
    let columns = projection.schema.columns().into_iter().zip(&projection.expr);
    let columns: HashMap<Column, &Expr> = columns.collect();
    let replaced = expr.clone().transform_up(|node| {
        let Expr::Column(column) = &node else { return Ok(Transformed::no(node)) };
        match columns.get(column) {
            Some(computed) => Ok(Transformed::yes((*computed).clone().unalias())),
            None => Ok(Transformed::no(node)),
        }
    });
    replaced.data()
}
