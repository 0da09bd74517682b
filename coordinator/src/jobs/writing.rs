//! What a job writes: where, and by which stage.

use std::sync::Arc;

use datafusion::{
    common::tree_node::{TreeNode, TreeNodeRecursion},
    physical_plan::ExecutionPlan,
};
use keyloom_common::{
    BlobId, Error, Result,
    output::{PreparedOutput, WriteExec},
    rpc::bincode,
};
use keyloom_planner::{Chain, Source};

use crate::{gather::RemoteExec, history::Cut};

/// Where the rows of a plan go, if workers write them.
pub(super) fn output_of(plan: &Arc<dyn ExecutionPlan>) -> Result<Option<Arc<PreparedOutput>>> {
    let mut output = None;
    plan.apply(|node| {
        Ok(match node.downcast_ref::<WriteExec>() {
            Some(write) => {
                output = Some(Arc::clone(write.output()));
                TreeNodeRecursion::Stop
            }
            None => TreeNodeRecursion::Continue,
        })
    })?;
    Ok(output)
}

/// How the stages of a cut plan are cut whose tasks can be kept, of those that read slices: the one
/// that writes, or else those whose rows the coordinator computes with. The same plan, cut by the
/// same settings, gives the same again; but for one that is shuffled, which takes several workers.
pub(super) fn cuts_of(cut: &Arc<dyn ExecutionPlan>) -> Result<Vec<Cut>> {
    let (mut found, mut shuffles) = (Vec::new(), false);
    cut.apply(|node| {
        if let Some(fragment) = node.downcast_ref::<RemoteExec>().map(RemoteExec::fragment) {
            match &fragment.source {
                Source::Slices(chains) if !fragment.collects => {
                    let writes = fragment.plan.is::<WriteExec>();
                    found.push((fragment.stage, writes, Arc::clone(chains)));
                }
                Source::Slices(_) | Source::Rows(_) => {}
                Source::Shuffle => shuffles = true,
            }
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    if shuffles || found.iter().any(|(_, writes, _)| *writes) {
        found.retain(|(_, writes, _)| *writes);
    }
    found.into_iter().map(|(stage, writes, chains)| of_chains(stage, writes, &chains)).collect()
}

fn of_chains(stage: u32, writes: bool, chains: &[Chain]) -> Result<Cut> {
    let (mut tasks, mut slices) = (0, BlobId::NONE);
    for slice in chains.iter().flat_map(Chain::slices) {
        slices = BlobId::of(&bincode::encode(&(slices, slice?))?);
        tasks += 1;
    }
    Ok(Cut { stage, tasks, slices, writes })
}

/// What is said where a plan is cut otherwise than before.
pub(super) fn cut_otherwise(before: Option<Cut>, now: Option<Cut>) -> Error {
    let tasks = |cut: Option<Cut>| cut.map_or(0, |cut| cut.tasks);
    Error::invalid(format!(
        "its plan is cut otherwise than before ({} tasks that write, and {} before): the \
         coordinator's settings by which plans are cut (write_slice_rows, write_slice_bytes, \
         write_slices, slice_rows, row_slices, answer_slices) have changed; set them as they were, \
         or submit it again",
        tasks(now),
        tasks(before)
    ))
}
