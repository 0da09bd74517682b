//! The stages of a shuffle as Keyloom's own parts of plans: what lies between the nodes that cross
//! from one worker to another is one node to those who send it.

use std::sync::Arc;

use datafusion::{
    error::Result,
    physical_plan::{ExecutionPlan, repartition::RepartitionExec},
};
use datafusion_distributed::{
    BroadcastExec, DistributedExec, DistributedLeafExec, NetworkBoundaryExt,
};
use keyloom_common::plan::PartExec;

/// The plan, all of whose other operators are parts.
pub(super) fn in_parts(plan: &Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    if is_between(plan) {
        let children = plan.children();
        if children.is_empty() {
            return Ok(Arc::clone(plan));
        }
        let children = children.into_iter().map(in_parts).collect::<Result<_>>()?;
        return Arc::clone(plan).with_new_children(children);
    }
    let mut inputs = Vec::new();
    let part = down_to(plan, &mut inputs)?;
    Ok(Arc::new(PartExec::new(part, inputs)))
}

/// Whether a node is one of those that stages begin and end with, or a part already.
fn is_between(plan: &Arc<dyn ExecutionPlan>) -> bool {
    plan.as_ref().is_network_boundary()
        || plan.is::<RepartitionExec>()
        || plan.is::<BroadcastExec>()
        || plan.is::<DistributedLeafExec>()
        || plan.is::<DistributedExec>()
        || plan.is::<PartExec>()
}

/// The operators down to such nodes, which are the inputs.
fn down_to(
    plan: &Arc<dyn ExecutionPlan>,
    inputs: &mut Vec<Arc<dyn ExecutionPlan>>,
) -> Result<Arc<dyn ExecutionPlan>> {
    if is_between(plan) {
        let input = in_parts(plan)?;
        inputs.push(Arc::clone(&input));
        return Ok(input);
    }
    let children = plan.children();
    if children.is_empty() {
        return Ok(Arc::clone(plan));
    }
    let children =
        children.into_iter().map(|child| down_to(child, inputs)).collect::<Result<_>>()?;
    Arc::clone(plan).with_new_children(children)
}
