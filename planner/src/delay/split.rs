//! The first few rows by a looked-up column: what decides which rows these are is looked up for
//! all, the rest for those alone.

use datafusion::{
    error::Result,
    logical_expr::{Expr, LogicalPlan, Projection, Sort},
};
use keyloom_common::{Error, functions::Function};

use super::{
    keys::{column, over_input},
    late::{Place, around, merged},
};
use crate::{
    holds::{as_call, contains_call, has_subquery},
    narrow::{Use, read, unaliased, with_fields},
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
