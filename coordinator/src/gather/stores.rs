//! Which stores the tasks of a fragment look up, for the scheduler: it knows where those are warm.

use std::sync::Arc;

use datafusion::{
    common::tree_node::{TreeNode, TreeNodeRecursion},
    physical_plan::ExecutionPlan,
};
use keyloom_common::{Result, lookup::KvLookupExec, store::ResolvedStore};

use crate::scheduler::StoreDigest;

/// The stores that a plan looks up, each once.
pub(super) fn stores_of(plan: &Arc<dyn ExecutionPlan>) -> Result<Vec<StoreDigest>> {
    let mut stores = Vec::new();
    plan.apply(|node| {
        if let Some(lookup) = node.downcast_ref::<KvLookupExec>() {
            let fetches = lookup.waves().iter().flat_map(|wave| &wave.fetches);
            stores.extend(fetches.map(|fetch| digest(&fetch.store)));
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    stores.sort_unstable();
    stores.dedup();
    Ok(stores)
}

/// Workers know an open store by the same: however the snapshot was asked for, it is the same one.
fn digest(store: &ResolvedStore) -> StoreDigest {
    StoreDigest::of(&(store.spec.bare(), store.description.snapshot))
}

#[cfg(test)]
mod tests {
    use datafusion::physical_plan::limit::LocalLimitExec;
    use keyloom_common::store::{LANCE, Pin, Snapshot, StoreSpec};

    use super::*;
    use crate::samples::{self, frame, lookup, version};

    fn store(uri: &str, pin: Option<Pin>, snapshot: Snapshot) -> Arc<ResolvedStore> {
        samples::store(StoreSpec { pin, ..StoreSpec::new("store", LANCE, uri) }, snapshot)
    }

    #[test]
    fn a_plan_without_lookups_has_none() {
        assert_eq!(stores_of(&frame(1)).unwrap(), []);
    }

    #[test]
    fn all_lookups_of_a_plan_are_found_and_each_store_counts_once() {
        let below = lookup(frame(1), vec![store("/a", None, version(1))]);
        let limited: Arc<dyn ExecutionPlan> = Arc::new(LocalLimitExec::new(below, 1));
        let stores = ["/b", "/a", "/b", "/c"].map(|uri| store(uri, None, version(1))).to_vec();
        assert_eq!(stores_of(&lookup(limited, stores)).unwrap().len(), 3);
    }

    #[test]
    fn a_store_is_the_same_however_its_snapshot_was_asked_for() {
        let newest = digest(&store("/a", None, version(3)));
        assert_eq!(digest(&store("/a", Some(Pin::Version(3)), version(3))), newest);
        assert_eq!(digest(&store("/a", Some(Pin::Tag("t".to_owned())), version(3))), newest);
        assert_ne!(digest(&store("/a", None, version(4))), newest);
        assert_ne!(digest(&store("/b", None, version(3))), newest);
    }
}
