//! A call beside those that are there: several joins with stores, one over the other, are then one
//! lookup, whose fetches are made at the same time where none needs another's answer.

use std::sync::Arc;

use datafusion::{
    common::Column,
    error::Result,
    logical_expr::{Expr, LogicalPlan, Projection},
};
use keyloom_common::functions::{GET_FIELD, GetField, KvCall, KvFunction};

use super::{ROW, side::may_move, sink::Sinking};
use crate::{columns::with_columns, holds::contains_call};

/// A plan with a call's answer for each of its rows, as a column of this name.
pub(super) fn with_answer(
    plan: &LogicalPlan,
    call: KvCall,
    key: Expr,
    name: &str,
) -> Result<LogicalPlan> {
    let sinking = Sinking::beside_calls(call.clone(), key.clone(), name);
    if let Some(sunk) = sinking.into_plan(plan)? {
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
        let sinking = Sinking::beside_calls(marker.call().as_ref().clone(), key.clone(), &name);
        let Some(sunk) = sinking.into_plan(input)? else { return Ok(None) };
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
