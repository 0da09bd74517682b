//! Conditions on some of a projection's columns: calls of the others are made for the rows that
//! are left.

use std::sync::Arc;

use datafusion::{
    common::tree_node::{TreeNode, TreeNodeRecursion},
    error::Result,
    logical_expr::{Expr, Filter, LogicalPlan, Projection},
};
use keyloom_common::functions::KvCall;

use super::late::{Place, around, merged};
use crate::{
    holds::{as_call, contains_call, has_subquery},
    narrow::{Use, read},
};

/// The filter with the calls above it that its condition does not read; `None` if there are none.
pub(super) fn sift_first(filter: &Filter) -> Result<Option<LogicalPlan>> {
    let LogicalPlan::Projection(projection) = filter.input.as_ref() else { return Ok(None) };
    if has_subquery(&filter.predicate) {
        return Ok(None);
    }
    let merged = merged(projection)?;
    let projection = merged.as_ref().unwrap_or(projection);
    let mut uses = vec![Use::Nothing; projection.expr.len()];
    read(&filter.predicate, &projection.schema, &mut uses)?;
    let places = places(&uses, projection)?;
    if !places.iter().any(|place| matches!(place, Place::Above)) {
        return Ok(None);
    }
    around(projection, &places, |_, input| {
        Filter::try_new(filter.predicate.clone(), input).map(LogicalPlan::Filter)
    })
    .map(Some)
}

/// Calls of which a node reads nothing are made above it. One that asks for a key that is asked for
/// below anyway is made there: the two are one fetch.
pub(super) fn places(uses: &[Use], projection: &Projection) -> Result<Vec<Place>> {
    let mut asked = Vec::new();
    for (expr, _) in projection.expr.iter().zip(uses).filter(|(_, u)| **u != Use::Nothing) {
        questions(expr, &mut asked)?;
    }
    let place = |(expr, used): (&Expr, &Use)| -> Result<Place> {
        if *used != Use::Nothing || !contains_call(expr) || has_subquery(expr) {
            return Ok(Place::Below);
        }
        Ok(if is_asked(expr, &asked)? { Place::Below } else { Place::Above })
    };
    projection.expr.iter().zip(uses).map(place).collect()
}

/// A call and its key.
pub(super) type Question<'a> = (&'a Arc<KvCall>, &'a Expr);

/// Whether one of an expression's calls asks a store for a key that it is asked for anyway.
pub(super) fn is_asked(expr: &Expr, asked: &[Question<'_>]) -> Result<bool> {
    let mut own = Vec::new();
    questions(expr, &mut own)?;
    let same = |(call, key): &Question<'_>| {
        asked.iter().any(|(other, asked)| *asked == *key && other.store() == call.store())
    };
    Ok(own.iter().any(same))
}

/// The calls of an expression with their keys.
pub(super) fn questions<'a>(expr: &'a Expr, found: &mut Vec<Question<'a>>) -> Result<()> {
    expr.apply(|node| {
        found.extend(as_call(node));
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(())
}
