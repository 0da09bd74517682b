//! What is known of the fetches of a plan whose stores have several ways to their rows: what each
//! way is estimated to cost, and what would help.

use std::sync::Arc;

use datafusion::physical_plan::ExecutionPlan;
use keyloom_common::{
    lookup::{Fetch, KvLookupExec},
    report::Advice,
};

use crate::{
    choose::expected,
    key_sets::{cuts_short, has_key_set},
    ways,
};

/// The advice for each fetch of a plan whose ways are chosen, in the order of the plan.
pub fn advise(plan: &Arc<dyn ExecutionPlan>) -> Vec<Advice> {
    let mut advice = Vec::new();
    add(plan, false, &mut advice);
    advice
}

/// Adds that of a part of a plan, of which only some rows may be wanted.
fn add(plan: &Arc<dyn ExecutionPlan>, is_cut_short: bool, advice: &mut Vec<Advice>) {
    if let Some(lookup) = plan.downcast_ref::<KvLookupExec>() {
        for (index, wave) in lookup.waves().iter().enumerate() {
            let is_whole = index == 0 && !is_cut_short;
            advice.extend(wave.fetches.iter().filter_map(|fetch| {
                advice_of(fetch, is_whole && has_key_set(fetch, lookup.input()))
            }));
        }
    }
    let below = cuts_short(plan, is_cut_short);
    plan.children().into_iter().for_each(|child| add(child, below, advice));
}

fn advice_of(fetch: &Fetch, has_key_set: bool) -> Option<Advice> {
    ways::of(&fetch.store)?.advise(&expected(fetch, fetch.access.expected_keys, has_key_set))
}
