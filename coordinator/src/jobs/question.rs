//! What is asked of workers for no job: about a store or an input.

use keyloom_common::{
    Error, JobId, Result, StageId, TaskId,
    rpc::{TaskReport, Work},
    trace::TraceParent,
};

use super::Jobs;
use crate::{
    dispatch::{StageHandle, StageUpdate},
    scheduler::StageKind,
};

impl Jobs {
    /// Runs one piece of work on any worker.
    pub(crate) async fn ask_worker(&self, work: Work) -> Result<TaskReport> {
        let stage = StageId { job: JobId::new(), index: 0 };
        let trace = TraceParent::current();
        let (handle, mut updates) =
            self.dispatcher.open_stage(stage, StageKind::Question, Vec::new(), trace);
        handle.add(TaskId { stage, index: 0 }, work);
        handle.close();
        // Also when the asker is gone, whose call is then dropped here.
        let _cancel = CancelOnDrop(handle);
        match updates.recv().await {
            Some(StageUpdate::Done { finished, .. }) => Ok(finished.report),
            Some(StageUpdate::Failed(error)) => Err(error),
            None => Err(Error::cancelled("the coordinator is stopping")),
        }
    }
}

struct CancelOnDrop(StageHandle);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.cancel();
    }
}
