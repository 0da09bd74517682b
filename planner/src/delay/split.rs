//! The first few rows by a looked-up column: what decides which rows these are is looked up for
//! all, the rest for those alone.

use std::sync::Arc;

use datafusion::{
    error::Result,
    logical_expr::{Expr, LogicalPlan, Projection, Sort},
};
use keyloom_common::{
    Error,
    functions::{Function, KvFunction, OnError},
};

use super::{
    keys::{column, over_input},
    late::{Place, around, merged},
};
use crate::{
    holds::{as_call, contains_call, has_subquery},
    narrow::{Use, read, unaliased, with_fields, without_misses},
};

/// The most rows that are looked up again: each asks for a key that was asked for below.
const MOST_ROWS: usize = 10_000;

/// The sort with the calls above it that its keys do not read; `None` if they read all.
pub(super) fn split(sort: &Sort, projection: &Projection) -> Result<Option<LogicalPlan>> {
    if sort.fetch.is_none_or(|fetch| fetch > MOST_ROWS)
        || sort.expr.iter().any(|key| has_subquery(&key.expr))
    {
        return Ok(None);
    }
    let merged = merged(projection)?;
    let projection = merged.as_ref().unwrap_or(projection);
    let places = places(sort, projection)?;
    if places.iter().all(|place| matches!(place, Place::Below)) {
        return Ok(None);
    }
    let projection = &counting_once(projection, &places)?;
    around(projection, &places, |passed, input| {
        let keys = over_input(&sort.expr, &projection.schema, |at| {
            Some(match places.get(at)? {
                Place::Both(_) => passed.key(at),
                _ => column(&projection.schema, at),
            })
        })?;
        let expr = keys.ok_or_else(|| Error::internal("a sort by a column that is not there"))?;
        Ok(LogicalPlan::Sort(Sort { expr, input, fetch: sort.fetch }))
    })
    .map(Some)
}

/// The projection of which calls that are made both below and above count no misses above: these
/// rows have told of theirs.
fn counting_once(projection: &Projection, places: &[Place]) -> Result<Projection> {
    let mut exprs = projection.expr.clone();
    for (expr, place) in exprs.iter_mut().zip(places) {
        let Place::Both(_) = place else { continue };
        let Some((call, key)) = as_call(unaliased(expr)) else { continue };
        let quiet = match call.on_error() {
            OnError::Null | OnError::AtMost(_) => {
                KvFunction::expr(without_misses(call)?, key.clone())
            }
            OnError::Raise | OnError::Unmatched => continue,
        };
        let (qualifier, name) = expr.qualified_name();
        *expr = quiet.alias_qualified(qualifier, name);
    }
    let (input, schema) = (Arc::clone(&projection.input), Arc::clone(&projection.schema));
    Projection::try_new_with_schema(exprs, input, schema)
}

fn places(sort: &Sort, projection: &Projection) -> Result<Vec<Place>> {
    let mut uses = vec![Use::Nothing; projection.expr.len()];
    for key in &sort.expr {
        read(&key.expr, &projection.schema, &mut uses)?;
    }
    let place = |(expr, used): (&Expr, &Use)| -> Result<Place> {
        if !contains_call(expr) || has_subquery(expr) {
            return Ok(Place::Below);
        }
        let fields = match used {
            Use::Nothing => return Ok(Place::Above),
            Use::Fields(fields) => fields,
            Use::All => return Ok(Place::Below),
        };
        let call = as_call(unaliased(expr)).filter(|(call, _)| call.function() == Function::Get);
        let Some((call, key)) = call else { return Ok(Place::Below) };
        Ok(with_fields(call, key, fields)?.map_or(Place::Below, Place::Both))
    };
    projection.expr.iter().zip(&uses).map(place).collect()
}
