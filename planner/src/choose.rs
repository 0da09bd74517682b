//! The physical rule that chooses how each fetch reaches its store's rows.
//!
//! It runs last: only then do limits stand where they cut the rows that are looked up. It runs
//! again when a job has pinned its stores, whose figures may be others by then.

use std::sync::Arc;

use datafusion::{
    config::ConfigOptions,
    error::Result,
    physical_optimizer::PhysicalOptimizerRule,
    physical_plan::{ExecutionPlan, with_new_children_if_necessary},
};
use keyloom_common::{
    lookup::{Fetch, KvLookupExec},
    store::Access,
};

use crate::{
    estimate,
    first::Wanted,
    key_sets::{cuts_short, has_key_set},
    ways::{self, Choice, Expected},
};

/// The most keys that workers look up together: those of a task, of the default size.
const KEYS_AT_ONCE: u64 = 32_768;

/// The bytes of answers of such a task.
const ANSWER_BYTES_AT_ONCE: u64 = 32 << 20;

/// Chooses the ways of a plan's fetches.
#[derive(Debug, Default)]
pub struct ChooseAccess;

impl PhysicalOptimizerRule for ChooseAccess {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        _config: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        choose_access(plan)
    }

    fn name(&self) -> &'static str {
        "choose_access"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// Chooses the ways of a plan's fetches, by the figures that their stores have now.
///
/// # Errors
/// Never, for a plan that exists.
pub fn choose_access(plan: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    choose_below(plan, false, Wanted::default())
}

/// The same of a part of a plan, of which only some rows may be wanted.
fn choose_below(
    plan: Arc<dyn ExecutionPlan>,
    is_cut_short: bool,
    wanted: Wanted,
) -> Result<Arc<dyn ExecutionPlan>> {
    let (below, wanted_below) = (cuts_short(&plan, is_cut_short), wanted.below(&plan));
    let children = plan.children().into_iter();
    let children = children.map(|child| choose_below(Arc::clone(child), below, wanted_below));
    let children: Vec<_> = children.collect::<Result<_>>()?;
    let plan = with_new_children_if_necessary(plan, children)?;
    let Some(lookup) = plan.downcast_ref::<KvLookupExec>() else { return Ok(plan) };
    let rows = wanted.of(estimate::rows(lookup.input()));
    let mut waves = lookup.waves().to_vec();
    for (index, wave) in waves.iter_mut().enumerate() {
        for fetch in &mut wave.fetches {
            let is_whole = index == 0 && !is_cut_short;
            choose_ways(fetch, rows, is_whole && has_key_set(fetch, lookup.input()));
        }
    }
    let chosen = KvLookupExec::try_new(Arc::clone(lookup.input()), waves)?;
    let chosen = chosen.with_first_rows(wanted.first_rows());
    Ok(Arc::new(chosen.with_counted_by(lookup.counted_by())))
}

fn keys_at_once(fetch: &Fetch) -> u64 {
    match fetch.batch_size {
        Some(keys) => keys.get() as u64,
        None => (ANSWER_BYTES_AT_ONCE / fetch.answer_bytes().max(1)).clamp(1, KEYS_AT_ONCE),
    }
}

/// Chooses the way of one fetch, of which so many rows are expected, outside a plan.
pub fn set_access(fetch: &mut Fetch, rows: Option<u64>) {
    choose_ways(fetch, rows, false);
}

/// Chooses the way of one fetch, of which so many rows are expected, and whose keys can be
/// collected before or cannot.
///
/// A list of keys counts as one: that is the least that it is likely to hold, and workers turn from
/// takes to scans when there are many more.
fn choose_ways(fetch: &mut Fetch, rows: Option<u64>, has_key_set: bool) {
    let guarded = fetch.calls.iter().all(|call| call.guard.is_some());
    let keys = if guarded { rows.map(estimate::passing) } else { rows };
    let expected = expected(fetch, keys, has_key_set);
    let choice = ways::of(&fetch.store).and_then(|ways| ways.choose(&expected));
    match choice {
        Some(Choice { access, reason }) => {
            fetch.access = access;
            fetch.reason = Some(reason);
        }
        None => fetch.access = Access { expected_keys: keys, ..Access::default() },
    }
}

/// What is known of a fetch of which so many keys are expected.
pub(crate) fn expected(fetch: &Fetch, keys: Option<u64>, has_key_set: bool) -> Expected<'_> {
    Expected { fetch, keys, keys_at_once: keys_at_once(fetch), has_key_set }
}

#[cfg(test)]
mod tests {
    use datafusion::{
        common::tree_node::{TreeNode, TreeNodeRecursion},
        physical_expr::expressions::lit,
        physical_plan::{filter::FilterExec, limit::GlobalLimitExec},
    };

    use crate::samples::{frame, lookup};

    use super::*;

    /// The keys that the one fetch of a plan expects.
    fn expected_keys(plan: Arc<dyn ExecutionPlan>) -> Option<u64> {
        let mut expected = None;
        let plan = choose_access(plan).unwrap();
        plan.apply(|node| {
            if let Some(lookup) = node.downcast_ref::<KvLookupExec>() {
                expected = lookup.waves()[0].fetches[0].access.expected_keys;
            }
            Ok(TreeNodeRecursion::Continue)
        })
        .unwrap();
        expected
    }

    #[test]
    fn a_limit_bounds_the_keys_that_are_expected_below_a_condition() {
        let looked_up = lookup(frame(200_000), 10);
        assert_eq!(expected_keys(Arc::clone(&looked_up)), Some(200_000));
        let filter: Arc<dyn ExecutionPlan> =
            Arc::new(FilterExec::try_new(lit(true), looked_up).unwrap());
        assert_eq!(expected_keys(Arc::clone(&filter)), Some(200_000));
        // A fifth of the rows passes, one expects.
        let limit = Arc::new(GlobalLimitExec::new(filter, 0, Some(2)));
        assert_eq!(expected_keys(limit), Some(10));
    }
    /// The access of the one fetch of a lookup of seven rows, whose store is of a kind, and why.
    fn chosen(kind: &str) -> (Access, Option<String>) {
        let plan = lookup(frame(7), 10);
        let mut waves = plan.downcast_ref::<KvLookupExec>().unwrap().waves().to_vec();
        let fetch = &mut waves[0].fetches[0];
        Arc::make_mut(&mut fetch.store).spec.kind = kind.to_owned();
        set_access(fetch, Some(7));
        (fetch.access.clone(), fetch.reason.clone())
    }

    #[test]
    fn the_kind_of_a_store_chooses_where_it_has_ways() {
        let (access, reason) = chosen("lance");
        assert_eq!((access.expected_keys, access.says.as_deref()), (Some(7), Some("map+take")));
        assert_eq!(reason.as_deref(), Some("7 keys of 0 rows, 10 B a row"));
        let expected = Access { expected_keys: Some(7), ..Access::default() };
        assert_eq!(chosen("toy"), (expected, None));
    }
}
