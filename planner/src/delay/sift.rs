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
    let places = places(filter, projection)?;
    if !places.iter().any(|place| matches!(place, Place::Above)) {
        return Ok(None);
    }
    around(projection, &places, |_, input| {
        Filter::try_new(filter.predicate.clone(), input).map(LogicalPlan::Filter)
    })
    .map(Some)
}

/// A call that asks for a key that is asked for below anyway is made there: the two are one fetch.
fn places(filter: &Filter, projection: &Projection) -> Result<Vec<Place>> {
    let mut uses = vec![Use::Nothing; projection.expr.len()];
    read(&filter.predicate, &projection.schema, &mut uses)?;
    let mut asked = Vec::new();
    for (expr, _) in projection.expr.iter().zip(&uses).filter(|(_, u)| **u != Use::Nothing) {
        questions(expr, &mut asked)?;
    }
    let place = |(expr, used): (&Expr, &Use)| -> Result<Place> {
        if *used != Use::Nothing || !contains_call(expr) || has_subquery(expr) {
            return Ok(Place::Below);
        }
        let mut own = Vec::new();
        questions(expr, &mut own)?;
        let same = |(call, key): &(&Arc<KvCall>, &Expr)| {
            asked.iter().any(|(other, asked)| other.store() == call.store() && *asked == *key)
        };
        Ok(if own.iter().any(same) { Place::Below } else { Place::Above })
    };
    projection.expr.iter().zip(&uses).map(place).collect()
}

/// The calls of an expression with their keys.
fn questions<'a>(expr: &'a Expr, found: &mut Vec<(&'a Arc<KvCall>, &'a Expr)>) -> Result<()> {
    expr.apply(|node| {
        found.extend(as_call(node));
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(())
}
