//! Collects the keys of a fetch before its lookups run, so that a store whose keys are scanned is
//! scanned once for all of them.
//!
//! The rows below the lookup are read twice for that, the first time for their keys alone.

use std::sync::Arc;

use datafusion::{
    common::tree_node::TreeNode,
    error::Result,
    logical_expr::Operator,
    physical_expr::{
        PhysicalExpr,
        expressions::{BinaryExpr, Column},
    },
    physical_expr_common::physical_expr::is_volatile,
    physical_plan::{
        ExecutionPlan,
        aggregates::{AggregateExec, AggregateMode, PhysicalGroupBy},
        coalesce_partitions::CoalescePartitionsExec,
        filter::FilterExec,
        limit::LocalLimitExec,
        projection::ProjectionExec,
        sorts::sort::SortExec,
    },
};
use keyloom_common::{
    functions::list_element,
    lookup::{Fetch, KvLookupExec},
    store::KeyPath,
};

use crate::{cut::is_fragment, fragment::KeySet};

/// The one column of a set.
const KEY: &str = "key";

/// Whether the keys of a fetch of a first wave can be collected from the rows below: workers read
/// these, without other lookups, and the second time as the first.
pub(crate) fn has_key_set(fetch: &Fetch, input: &Arc<dyn ExecutionPlan>) -> bool {
    let is_scalar = |key| list_element(&key).is_none();
    let key_is_scalar = fetch.key.data_type(&input.schema()).is_ok_and(is_scalar);
    key_is_scalar && !is_volatile(&fetch.key) && is_fragment(input) && !has_others(input)
}

/// Whether a node, or what is above it, may want only some of the rows below, which then need not all be
/// read. A sort and an aggregate want them all.
pub(crate) fn cuts_short(node: &Arc<dyn ExecutionPlan>, above: bool) -> bool {
    let wants_all = node.is::<SortExec>() || node.is::<AggregateExec>();
    !wants_all && (above || node.fetch().is_some())
}

/// The sets that a fragment needs, whose plans are not cut yet.
pub(crate) fn key_sets(fragment: &Arc<dyn ExecutionPlan>) -> Result<Vec<KeySet>> {
    let mut sets = Vec::new();
    add_key_sets(fragment, false, &mut 0, &mut sets)?;
    Ok(sets)
}

/// Adds those of a node, which stands at the next place, and of all below.
fn add_key_sets(
    node: &Arc<dyn ExecutionPlan>,
    is_cut_short: bool,
    next: &mut usize,
    sets: &mut Vec<KeySet>,
) -> Result<()> {
    let place = *next;
    *next += 1;
    if let Some(lookup) = node.downcast_ref::<KvLookupExec>()
        && !is_cut_short
    {
        let first = lookup.waves().first().into_iter().flat_map(|wave| &wave.fetches);
        let scanned = |fetch: &&Fetch| fetch.access.keys == KeyPath::Scan;
        for (index, fetch) in first.enumerate().filter(|(_, fetch)| scanned(fetch)) {
            if has_key_set(fetch, lookup.input()) {
                let keys = keys(fetch, lookup.input())?;
                sets.push(KeySet { place, fetch: index, keys });
            }
        }
    }
    let below = cuts_short(node, is_cut_short);
    node.children().into_iter().try_for_each(|child| add_key_sets(child, below, next, sets))
}

/// Whether the rows depend on other lookups, or on which are read first.
fn has_others(plan: &Arc<dyn ExecutionPlan>) -> bool {
    let is_other = |node: &Arc<dyn ExecutionPlan>| {
        Ok(node.is::<KvLookupExec>() || node.is::<LocalLimitExec>())
    };
    // The closure cannot fail.
    plan.exists(is_other).unwrap_or(true)
}

/// The plan of a fetch's keys, each once: those of the rows that need an answer.
fn keys(fetch: &Fetch, input: &Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    let mut rows = Arc::clone(input);
    if let Some(needed) = needed(fetch) {
        rows = Arc::new(FilterExec::try_new(needed, rows)?);
    }
    let key = (Arc::clone(&fetch.key), KEY.to_owned());
    let rows: Arc<dyn ExecutionPlan> = Arc::new(ProjectionExec::try_new([key], rows)?);
    let some = distinct(AggregateMode::Partial, rows)?;
    distinct(AggregateMode::Final, Arc::new(CoalescePartitionsExec::new(some)))
}

/// Where any of its calls needs an answer; none if one of them needs all.
fn needed(fetch: &Fetch) -> Option<Arc<dyn PhysicalExpr>> {
    let mut guards = fetch.calls.iter().map(|call| call.guard.clone());
    let first = guards.next()??;
    guards.try_fold(first, |either, guard| {
        Some(Arc::new(BinaryExpr::new(either, Operator::Or, guard?)) as Arc<dyn PhysicalExpr>)
    })
}

fn distinct(mode: AggregateMode, rows: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    let key: Arc<dyn PhysicalExpr> = Arc::new(Column::new(KEY, 0));
    let group = PhysicalGroupBy::new_single(vec![(key, KEY.to_owned())]);
    let schema = rows.schema();
    Ok(Arc::new(AggregateExec::try_new(mode, group, Vec::new(), Vec::new(), rows, schema)?))
}

#[cfg(test)]
mod tests;
