//! A look at what a job that is resumed reads and has written: it goes on with what it was planned
//! with, or not at all.

use std::sync::Arc;

use datafusion::{
    common::tree_node::{TreeNode, TreeNodeRecursion},
    physical_plan::ExecutionPlan,
};
use keyloom_common::{
    Result,
    lookup::KvLookupExec,
    plan::InputScanExec,
    rpc::{ResumedJob, TaskReport},
    store::{LANCE, ResolvedStore},
};

use super::Tasks;

impl Tasks {
    /// Looks whether the inputs and stores of a plan are what they were, and which of the pieces
    /// that were written are not there any more.
    ///
    /// # Errors
    /// `invalid` or `not_found`, naming the input or the store that is another; or why it cannot be
    /// looked at.
    pub(super) async fn check_resumed(&self, resumed: ResumedJob) -> Result<TaskReport> {
        let ResumedJob { plan, written } = resumed;
        let plan = self.shared.fragments.get(plan, self.blobs.as_ref()).await?;
        let (scans, stores) = read_by(&plan)?;
        let scans: Vec<_> =
            scans.iter().filter_map(|node| node.downcast_ref::<InputScanExec>()).collect();
        for scan in scans {
            self.shared.inputs.check_unchanged(scan).await?;
        }
        for store in &stores {
            self.check_store(store).await?;
        }
        let gone = match written {
            Some(written) => self.shared.outputs.gone(written, self.blobs.as_ref()).await?,
            None => Vec::new(),
        };
        let gone = gone.into_iter().map(|place| u32::try_from(place).unwrap_or(u32::MAX));
        Ok(TaskReport::Resumed { gone: gone.collect() })
    }

    async fn check_store(&self, store: &Arc<ResolvedStore>) -> Result<()> {
        self.shared.stores.get(store).await?;
        if store.spec.kind != LANCE {
            return Ok(());
        }
        let looked = self.shared.stores.check_dataset(&store.spec, store.description.snapshot);
        looked.await.map_err(|error| error.context(format_args!("store '{}'", store.alias)))
    }
}

/// The scans and the stores of a plan.
type Read = (Vec<Arc<dyn ExecutionPlan>>, Vec<Arc<ResolvedStore>>);

fn read_by(plan: &Arc<dyn ExecutionPlan>) -> Result<Read> {
    let (mut scans, mut stores) = (Vec::new(), Vec::new());
    plan.apply(|node| {
        if node.is::<InputScanExec>() {
            scans.push(Arc::clone(node));
        }
        if let Some(lookup) = node.downcast_ref::<KvLookupExec>() {
            let fetches = lookup.waves().iter().flat_map(|wave| &wave.fetches);
            stores.extend(fetches.map(|fetch| Arc::clone(&fetch.store)));
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok((scans, stores))
}
