//! The coordinator's part of a plan, whose leaves gather what workers send.

use std::sync::Arc;

use datafusion::{error::Result, physical_plan::ExecutionPlan};
use keyloom_common::output::PreparedOutput;
use keyloom_planner::{Fragment, Gather, Grain};

use super::{commit::CommitExec, concat::ConcatExec, remote::RemoteExec};

/// Makes the operators that gather.
struct Gatherer;

impl Gather for Gatherer {
    fn remote(&self, fragment: Fragment) -> Arc<dyn ExecutionPlan> {
        Arc::new(RemoteExec::new(fragment))
    }

    fn concat(&self, parts: Arc<dyn ExecutionPlan>) -> Arc<dyn ExecutionPlan> {
        Arc::new(ConcatExec::new(parts))
    }

    fn commit(
        &self,
        pieces: Arc<dyn ExecutionPlan>,
        output: Arc<PreparedOutput>,
    ) -> Arc<dyn ExecutionPlan> {
        Arc::new(CommitExec::new(pieces, output))
    }
}

/// The part of a plan for the coordinator. With `discard`, the rows of the result are not wanted:
/// if they come straight from workers, these drop them. What a job writes is its effect and not its
/// rows: it is written all the same.
pub(crate) fn cut(
    plan: Arc<dyn ExecutionPlan>,
    grain: Grain,
    discard: bool,
) -> Result<Arc<dyn ExecutionPlan>> {
    let plan = keyloom_planner::cut(plan, grain, &Gatherer)?;
    Ok(match plan.downcast_ref::<RemoteExec>() {
        Some(remote) if discard => Arc::new(remote.discarding()),
        _ => plan,
    })
}
