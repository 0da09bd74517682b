//! Lists of all rows of keys, of which each is known to stand in one row, as these rows.
//!
//! A join asks for all rows of a key and makes a row of each, since none may be lost. When a job
//! has pinned its stores, the figures of the very snapshot may say that no key stands twice: then
//! the join is the plain lookup, and nothing is copied to be taken apart.

use std::sync::Arc;

use arrow::datatypes::Schema;
use datafusion::{
    common::tree_node::{Transformed, TransformedResult, TreeNode},
    error::Result,
    physical_expr::{PhysicalExpr, expressions::Column, utils::collect_columns},
    physical_plan::{ExecutionPlan, projection::ProjectionExec, unnest::UnnestExec},
};
use keyloom_common::lookup::{Answer, Fetch, KvLookupExec, Wave};

type Plan = Arc<dyn ExecutionPlan>;

/// The plan in which rows of keys that stand once are not unnested from lists of them.
///
/// # Errors
/// Never, for a plan that exists.
pub fn single_rows(plan: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    let single = plan.transform_up(|node| {
        let without = match node.downcast_ref::<UnnestExec>() {
            Some(unnest) => without_unnest(unnest)?,
            None => None,
        };
        Ok(without.map_or_else(|| Transformed::no(node), Transformed::yes))
    });
    single.data()
}

/// The input with rows for lists, if all that is unnested are rows of keys that stand once. Null is
/// unnested, too, and no list is empty: it has the same rows.
fn without_unnest(unnest: &UnnestExec) -> Result<Option<Plan>> {
    if !unnest.struct_column_indices().is_empty() || !unnest.options().preserve_nulls {
        return Ok(None);
    }
    let mut input = Arc::clone(unnest.input());
    for list in unnest.list_column_indices() {
        let single = match list.depth {
            1 => with_single(&input, list.index_in_input_schema)?,
            _ => None,
        };
        let Some(single) = single else { return Ok(None) };
        input = single;
    }
    let (schema, before) = (input.schema(), unnest.schema());
    let types = |schema: &Schema| -> Vec<_> {
        schema.fields().iter().map(|field| field.data_type().clone()).collect()
    };
    // What is above knows columns by their places and types.
    Ok((types(&schema) == types(&before)).then_some(input))
}

/// The plan with rows in the place of lists in a column, if that is the answer of a call whose keys
/// stand once, and nothing on the way looks into it.
fn with_single(plan: &Plan, column: usize) -> Result<Option<Plan>> {
    if let Some(projection) = plan.downcast_ref::<ProjectionExec>() {
        return below_projection(projection, column);
    }
    if let Some(unnest) = plan.downcast_ref::<UnnestExec>() {
        return below_unnest(unnest, column);
    }
    match plan.downcast_ref::<KvLookupExec>() {
        Some(lookup) => of_lookup(lookup, column),
        None => Ok(None),
    }
}

fn below_projection(projection: &ProjectionExec, column: usize) -> Result<Option<Plan>> {
    let exprs = projection.expr();
    let Some(passed) = exprs.get(column).and_then(|expr| expr.expr.downcast_ref::<Column>()) else {
        return Ok(None);
    };
    let mut others = exprs.iter().enumerate().filter(|(place, _)| *place != column);
    if others.any(|(_, other)| reads(&other.expr, passed.index())) {
        return Ok(None);
    }
    let Some(input) = with_single(projection.input(), passed.index())? else { return Ok(None) };
    Ok(Some(Arc::new(ProjectionExec::try_new(exprs.to_vec(), input)?)))
}

/// Columns that another join unnests stay in their places.
fn below_unnest(unnest: &UnnestExec, column: usize) -> Result<Option<Plan>> {
    let lists = unnest.list_column_indices();
    let (before, after) = (unnest.input().schema(), unnest.schema());
    let is_in_place = unnest.struct_column_indices().is_empty()
        && before.fields().len() == after.fields().len()
        && lists.iter().all(|list| list.depth == 1 && list.index_in_input_schema != column);
    if !is_in_place {
        return Ok(None);
    }
    let Some(input) = with_single(unnest.input(), column)? else { return Ok(None) };
    let mut fields = after.fields().to_vec();
    fields[column] = Arc::clone(&input.schema().fields()[column]);
    let schema = Arc::new(Schema::new_with_metadata(fields, after.metadata().clone()));
    let (lists, options) = (lists.to_vec(), unnest.options().clone());
    Ok(Some(Arc::new(UnnestExec::new(input, lists, Vec::new(), schema, options)?)))
}

fn of_lookup(lookup: &KvLookupExec, column: usize) -> Result<Option<Plan>> {
    let mut waves = lookup.waves().to_vec();
    if waves.iter().any(|wave| wave_reads(wave, column)) {
        return Ok(None);
    }
    let width = lookup.input().schema().fields().len();
    if column < width {
        let Some(input) = with_single(lookup.input(), column)? else { return Ok(None) };
        let single = KvLookupExec::try_new(input, waves)?;
        return Ok(Some(Arc::new(single.with_counted_by(lookup.counted_by()))));
    }
    let fetches = waves.iter_mut().flat_map(|wave| &mut wave.fetches);
    let mut calls = fetches.flat_map(|fetch| {
        let is_unique = is_unique(fetch);
        fetch.calls.iter_mut().map(move |call| (is_unique, call))
    });
    let Some((true, call)) = calls.nth(column - width) else { return Ok(None) };
    let Answer::All { columns, on_error } = &call.answer else { return Ok(None) };
    call.answer = Answer::Row { columns: columns.clone(), on_error: *on_error };
    let single = KvLookupExec::try_new(Arc::clone(lookup.input()), waves)?;
    Ok(Some(Arc::new(single.with_counted_by(lookup.counted_by()))))
}

/// Whether a fetch's store is known to hold no key in several rows, at its snapshot.
fn is_unique(fetch: &Fetch) -> bool {
    let store = &fetch.store;
    let figures = store.description.figures.as_ref();
    figures.is_some_and(|figures| figures.is_unique(store.key()))
}

fn wave_reads(wave: &Wave, column: usize) -> bool {
    wave.fetches.iter().any(|fetch| {
        let mut guards = fetch.calls.iter().filter_map(|call| call.guard.as_ref());
        reads(&fetch.key, column) || guards.any(|guard| reads(guard, column))
    })
}

fn reads(expr: &Arc<dyn PhysicalExpr>, column: usize) -> bool {
    collect_columns(expr).iter().any(|read| read.index() == column)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use datafusion::{
        common::UnnestOptions,
        physical_plan::{displayable, unnest::ListUnnest},
    };
    use keyloom_common::{
        functions::OnError,
        store::{ResolvedStore, StoreDescription},
    };

    use super::*;
    use crate::samples::{frame, lookup};

    /// A lookup of all rows of each key, which are unnested above a projection.
    fn unnested(is_unique: bool) -> Plan {
        let one = lookup(frame(3), 8);
        let one = one.downcast_ref::<KvLookupExec>().unwrap();
        let mut waves = one.waves().to_vec();
        let fetch = &mut waves[0].fetches[0];
        fetch.calls[0].answer = Answer::All { columns: vec![0], on_error: OnError::Null };
        let mut description: StoreDescription = fetch.store.description.clone();
        let unique = BTreeSet::from([vec!["id".to_owned()]]);
        let figures = description.figures.as_mut().unwrap();
        figures.unique = if is_unique { unique } else { BTreeSet::new() };
        let spec = fetch.store.spec.clone();
        fetch.store = ResolvedStore::try_new("images", spec, description).unwrap();
        let all = KvLookupExec::try_new(Arc::clone(one.input()), waves).unwrap();
        let column = |name, index| Arc::new(Column::new(name, index)) as Arc<dyn PhysicalExpr>;
        let swapped = |input: Plan| -> Plan {
            let exprs = [("image", 1), ("id", 0)];
            let exprs = exprs.map(|(name, at)| (column(name, at), name.to_owned()));
            Arc::new(ProjectionExec::try_new(exprs, input).unwrap())
        };
        let schema = swapped(lookup(frame(3), 8)).schema();
        let lists = vec![ListUnnest { index_in_input_schema: 0, depth: 1 }];
        let (input, options) = (swapped(Arc::new(all)), UnnestOptions::default());
        Arc::new(UnnestExec::new(input, lists, Vec::new(), schema, options).unwrap())
    }

    fn text(plan: &Plan) -> String {
        displayable(plan.as_ref()).indent(false).to_string()
    }

    #[test]
    fn keys_that_stand_once_are_plainly_looked_up() {
        let plan = unnested(true);
        let single = single_rows(Arc::clone(&plan)).unwrap();
        assert_eq!(single.schema(), plan.schema());
        let shown = text(&single);
        assert!(!shown.contains("UnnestExec"), "{shown}");
        assert!(shown.contains("image = {id} or null"), "{shown}");
    }

    #[test]
    fn keys_that_may_stand_twice_have_all_their_rows_unnested() {
        let plan = unnested(false);
        let shown = text(&single_rows(Arc::clone(&plan)).unwrap());
        assert_eq!(shown, text(&plan));
        assert!(shown.contains("UnnestExec") && shown.contains("image = all {id}"), "{shown}");
    }
}
