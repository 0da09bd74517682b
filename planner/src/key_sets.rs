//! Collects the keys of a fetch before its lookups run, so that a store whose keys are scanned is
//! scanned once for all of them.
//!
//! The rows below the lookup are read twice for that, the first time for their keys alone.

use std::{iter, sync::Arc};

use arrow::datatypes::{DataType, FieldRef};
use datafusion::{
    common::tree_node::TreeNode,
    error::Result,
    logical_expr::Operator,
    physical_expr::{
        PhysicalExpr,
        expressions::{BinaryExpr, Column, cast},
    },
    physical_expr_common::physical_expr::is_volatile,
    physical_plan::{
        ExecutionPlan,
        aggregates::{AggregateExec, AggregateMode, PhysicalGroupBy},
        filter::FilterExec,
        limit::LocalLimitExec,
        projection::ProjectionExec,
        sorts::sort::SortExec,
        union::UnionExec,
    },
};
use keyloom_common::{
    functions::list_element,
    lookup::{Fetch, KvLookupExec},
    store::ResolvedStore,
};

use crate::{by_keys::of_rows, fragment::KeySet, local::is_fragment, prune::prune, ways};

/// The one column of a set.
const KEY: &str = "key";

/// Whether the keys of a fetch of a first wave can be collected from the rows below: workers read
/// these, without other lookups, and the second time as the first.
pub(crate) fn has_key_set(fetch: &Fetch, input: &Arc<dyn ExecutionPlan>) -> bool {
    let is_scalar = |key| list_element(&key).is_none();
    let key_is_scalar = fetch.key.data_type(&input.schema()).is_ok_and(is_scalar);
    let guards = fetch.calls.iter().filter_map(|call| call.guard.as_ref());
    let mut exprs = iter::once(&fetch.key).chain(guards);
    key_is_scalar && !exprs.any(is_volatile) && is_fragment(input) && !has_others(input)
}

/// Whether a node, or what is above it, may want only some of the rows below, which then need not
/// all be read. A sort wants them all, and so does an aggregate that is to give all its groups.
pub(crate) fn cuts_short(node: &Arc<dyn ExecutionPlan>, above: bool) -> bool {
    match node.downcast_ref::<AggregateExec>() {
        // Of distinct rows, some may be enough.
        Some(aggregate) => aggregate.limit_options().is_some(),
        None => !node.is::<SortExec>() && (above || node.fetch().is_some()),
    }
}

/// The sets that a fragment needs, whose plans are not cut yet. Of a fragment that is cut short,
/// only some rows may be wanted.
///
/// There is one for all keys of one type that a store is asked for, and one for all stores that are
/// asked for the same keys.
pub(crate) fn key_sets(
    fragment: &Arc<dyn ExecutionPlan>,
    is_cut_short: bool,
) -> Result<Vec<KeySet>> {
    let mut of_stores = Vec::new();
    add_sets(fragment, is_cut_short, &mut 0, &mut of_stores)?;
    let mut sets: Vec<Set<'_>> = Vec::new();
    for set in of_stores {
        match sets.iter_mut().find(|other| other.asked == set.asked) {
            Some(other) => other.fetches.extend(set.fetches),
            None => sets.push(set),
        }
    }
    sets.into_iter().map(|set| Ok(KeySet { keys: set.keys()?, fetches: set.fetches })).collect()
}

/// Keys of one type that a store is asked for.
struct Set<'a> {
    store: &'a ResolvedStore,
    key_type: DataType,
    /// By whom: places of lookups, and which one of their first wave's fetches.
    fetches: Vec<(usize, usize)>,
    /// The keys, those of each lookup once.
    asked: Vec<Asked<'a>>,
}

/// Keys of the rows of a lookup.
struct Asked<'a> {
    lookup: usize,
    input: &'a Arc<dyn ExecutionPlan>,
    key: &'a Arc<dyn PhysicalExpr>,
    /// Which rows need an answer; all if absent.
    needed: Option<Arc<dyn PhysicalExpr>>,
}

impl PartialEq for Asked<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.lookup == other.lookup && self.key.eq(other.key) && self.needed.eq(&other.needed)
    }
}

/// Adds the sets of a node, which stands at the next place, and of all below.
fn add_sets<'a>(
    node: &'a Arc<dyn ExecutionPlan>,
    is_cut_short: bool,
    next: &mut usize,
    sets: &mut Vec<Set<'a>>,
) -> Result<()> {
    let place = *next;
    *next += 1;
    if let Some(lookup) = node.downcast_ref::<KvLookupExec>()
        && !is_cut_short
    {
        let first = lookup.waves().iter().take(1).flat_map(|wave| &wave.fetches);
        for (index, fetch) in first.enumerate() {
            if wants_key_set(fetch) && has_key_set(fetch, lookup.input()) {
                add_fetch(fetch, lookup.input(), (place, index), sets)?;
            }
        }
    }
    let below = cuts_short(node, is_cut_short);
    node.children().into_iter().try_for_each(|child| add_sets(child, below, next, sets))
}

/// Whether workers make use of a set on the way that was chosen.
fn wants_key_set(fetch: &Fetch) -> bool {
    ways::of(&fetch.store).is_some_and(|ways| ways.wants_key_set(&fetch.access))
}

/// Adds a fetch to the set of its store, with what it asks for.
fn add_fetch<'a>(
    fetch: &'a Fetch,
    input: &'a Arc<dyn ExecutionPlan>,
    (lookup, index): (usize, usize),
    sets: &mut Vec<Set<'a>>,
) -> Result<()> {
    let key_type = plain(&fetch.key.data_type(&input.schema())?);
    let asked = Asked { lookup, input, key: &fetch.key, needed: needed(fetch) };
    let store = fetch.store.as_ref();
    match sets.iter_mut().find(|set| is_same(set.store, store) && set.key_type == key_type) {
        Some(set) => {
            set.fetches.push((lookup, index));
            if !set.asked.contains(&asked) {
                set.asked.push(asked);
            }
        }
        None => {
            let fetches = vec![(lookup, index)];
            sets.push(Set { store, key_type, fetches, asked: vec![asked] });
        }
    }
    Ok(())
}

/// Whether workers find the same rows in both, by whatever aliases.
fn is_same(one: &ResolvedStore, other: &ResolvedStore) -> bool {
    one.spec.bare() == other.spec.bare()
        && one.description.snapshot == other.description.snapshot
        && one.key() == other.key()
}

/// Whether the rows depend on other lookups, on which are read first, or on chance.
fn has_others(plan: &Arc<dyn ExecutionPlan>) -> bool {
    let is_limit = |node: &Arc<dyn ExecutionPlan>| {
        (node.is::<LocalLimitExec>() || node.is::<FilterExec>()) && node.fetch().is_some()
    };
    let is_other = |node: &Arc<dyn ExecutionPlan>| {
        Ok(node.is::<KvLookupExec>() || is_limit(node) || is_chance(node))
    };
    // The closure cannot fail.
    plan.exists(is_other).unwrap_or(true)
}

/// Whether a node makes other rows of the same ones each time.
fn is_chance(node: &Arc<dyn ExecutionPlan>) -> bool {
    if let Some(projection) = node.downcast_ref::<ProjectionExec>() {
        return projection.expr().iter().any(|projected| is_volatile(&projected.expr));
    }
    let filter = node.downcast_ref::<FilterExec>();
    filter.is_some_and(|filter| is_volatile(filter.predicate()))
}

/// Where any of its calls needs an answer; none if one of them needs all.
fn needed(fetch: &Fetch) -> Option<Arc<dyn PhysicalExpr>> {
    let mut guards = fetch.calls.iter().map(|call| call.guard.clone());
    let first = guards.next()??;
    guards.try_fold(first, |either, guard| {
        Some(Arc::new(BinaryExpr::new(either, Operator::Or, guard?)) as Arc<dyn PhysicalExpr>)
    })
}

impl Set<'_> {
    /// The plan of the keys. Whoever reads them tells those apart that several tasks find.
    fn keys(&self) -> Result<Arc<dyn ExecutionPlan>> {
        let keys = self.asked.iter().map(|asked| asked.keys(&self.key_type));
        distinct(UnionExec::try_new(keys.collect::<Result<_>>()?)?)
    }
}

impl Asked<'_> {
    /// The keys of the rows that need an answer.
    fn keys(&self, key_type: &DataType) -> Result<Arc<dyn ExecutionPlan>> {
        let (mut rows, key) = of_rows(self.input, self.key)?;
        if let Some(needed) = &self.needed {
            let (_, needed) = of_rows(self.input, needed)?;
            rows = Arc::new(FilterExec::try_new(needed, rows)?);
        }
        let key = cast(key, &rows.schema(), key_type.clone())?;
        let keys: Arc<dyn ExecutionPlan> =
            Arc::new(ProjectionExec::try_new([(key, KEY.to_owned())], rows)?);
        prune(&keys)
    }
}

/// The type without dictionaries: those of several batches together may not fit into one.
fn plain(key_type: &DataType) -> DataType {
    match key_type {
        DataType::Dictionary(_, value) => plain(value),
        DataType::Struct(parts) => {
            let part = |part: &FieldRef| {
                let data_type = plain(part.data_type());
                part.as_ref().clone().with_data_type(data_type)
            };
            DataType::Struct(parts.iter().map(part).collect())
        }
        other => other.clone(),
    }
}

/// Each key once, of those that a task finds.
fn distinct(rows: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    let key: Arc<dyn PhysicalExpr> = Arc::new(Column::new(KEY, 0));
    let group = PhysicalGroupBy::new_single(vec![(key, KEY.to_owned())]);
    let (mode, schema) = (AggregateMode::Partial, rows.schema());
    Ok(Arc::new(AggregateExec::try_new(mode, group, Vec::new(), Vec::new(), rows, schema)?))
}

#[cfg(test)]
mod tests;
