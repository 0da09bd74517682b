//! Calls below windows that read no answer of theirs: made above, they can be made for the few rows
//! that are wanted of what the windows give. A window itself needs all rows.

use std::sync::Arc;

use datafusion::{
    error::Result,
    logical_expr::{Expr, LogicalPlan, Projection, SubqueryAlias, Window},
};

use super::{
    late::{Place, around, as_projection, merged},
    sift::places,
};
use crate::{
    holds::has_subquery,
    narrow::{Use, read},
};

/// The plan with the calls above its windows that neither these nor the conditions read, which are
/// over the windows; `None` if there are none.
pub(super) fn over_windows(
    plan: &LogicalPlan,
    conditions: &[&Expr],
) -> Result<Option<LogicalPlan>> {
    match plan {
        LogicalPlan::Projection(projection) => {
            let Some(below) = over_windows(&projection.input, &[])? else { return Ok(None) };
            let schema = Arc::clone(&projection.schema);
            let exprs = projection.expr.clone();
            let projection = Projection::try_new_with_schema(exprs, Arc::new(below), schema)?;
            Ok(Some(LogicalPlan::Projection(projection)))
        }
        LogicalPlan::SubqueryAlias(alias) => {
            let Some(below) = over_windows(&alias.input, &[])? else { return Ok(None) };
            let alias = SubqueryAlias::try_new(Arc::new(below), alias.alias.clone())?;
            Ok(Some(LogicalPlan::SubqueryAlias(alias)))
        }
        LogicalPlan::Window(window) => {
            let lifted = match window.input.as_ref() {
                below @ LogicalPlan::Window(_) => over_windows(below, conditions)?,
                _ => None,
            };
            match as_projection(lifted.as_ref().unwrap_or(window.input.as_ref()))? {
                Some(below) => over_window(window, &below, conditions),
                None => Ok(None),
            }
        }
        _ => Ok(None),
    }
}

fn over_window(
    window: &Window,
    projection: &Projection,
    conditions: &[&Expr],
) -> Result<Option<LogicalPlan>> {
    let merged = merged(projection)?;
    let projection = merged.as_ref().unwrap_or(projection);
    let mut uses = vec![Use::Nothing; projection.expr.len()];
    for expr in window.window_expr.iter().chain(conditions.iter().copied()) {
        if has_subquery(expr) {
            return Ok(None);
        }
        read(expr, &projection.schema, &mut uses)?;
    }
    let places = places(&uses, projection)?;
    if !places.iter().any(|place| matches!(place, Place::Above)) {
        return Ok(None);
    }
    around(projection, &places, |_, input| {
        Window::try_new(window.window_expr.clone(), input).map(LogicalPlan::Window)
    })
    .map(Some)
}
