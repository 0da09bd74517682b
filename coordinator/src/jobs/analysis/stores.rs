//! What a job asked of stores: the ways that its lookups took, with the stores' figures and what
//! was counted.

use std::{collections::BTreeMap, sync::Arc};

use datafusion::{
    common::tree_node::{TreeNode, TreeNodeRecursion},
    physical_plan::ExecutionPlan,
};
use keyloom_common::{
    lookup::{Fetch, KvLookupExec},
    report::StoreRun,
};
use keyloom_planner::report_way;

use crate::gather::{RemoteExec, StageReport};

/// By alias.
pub(super) fn stores(
    cut: &Arc<dyn ExecutionPlan>,
    reports: &BTreeMap<u32, StageReport>,
) -> Vec<StoreRun> {
    let mut stores = Stores::default();
    // The closures cannot fail.
    let _ = cut.apply(|node| {
        if let Some(remote) = node.downcast_ref::<RemoteExec>() {
            stores.add_fragment(&remote.fragment().plan)?;
        }
        Ok(TreeNodeRecursion::Continue)
    });
    for report in reports.values() {
        for (alias, metric) in report.metrics.of_stores() {
            if let Some((store, _)) = stores.0.get_mut(alias) {
                store.count(&metric.name, metric.value);
            }
        }
    }
    stores.0.into_values().map(|(store, _)| store).collect()
}

/// What is known of each store, and the columns of which values were asked.
#[derive(Debug, Default)]
struct Stores(BTreeMap<String, (StoreRun, Vec<usize>)>);

impl Stores {
    fn add_fragment(&mut self, plan: &Arc<dyn ExecutionPlan>) -> datafusion::error::Result<()> {
        plan.apply(|node| {
            if let Some(lookup) = node.downcast_ref::<KvLookupExec>() {
                for fetch in lookup.waves().iter().flat_map(|wave| &wave.fetches) {
                    self.add(fetch);
                }
            }
            Ok(TreeNodeRecursion::Continue)
        })?;
        Ok(())
    }

    fn add(&mut self, fetch: &Fetch) {
        let alias = fetch.store.alias.clone();
        let (store, used) = self.0.entry(alias).or_insert_with(|| (known(fetch), Vec::new()));
        used.extend(fetch.columns());
        used.sort_unstable();
        used.dedup();
        store.columns_used = u32::try_from(used.len()).unwrap_or(u32::MAX);
        let Some(figures) = &fetch.store.description.figures else { return };
        let bytes = used.iter().filter_map(|column| figures.value_bytes.get(*column));
        store.row_bytes = bytes.copied().fold(0, u64::saturating_add);
        report_way(fetch, store);
    }
}

/// What a fetch says of its store.
fn known(fetch: &Fetch) -> StoreRun {
    let store = &fetch.store;
    StoreRun {
        store: store.alias.clone(),
        kind: store.spec.kind.clone(),
        key: store.key().to_string(),
        rows: store.description.figures.as_ref().map(|figures| figures.rows),
        columns: u32::try_from(store.schema().fields().len()).unwrap_or(u32::MAX),
        ..StoreRun::default()
    }
}
