//! One piece of work for whichever worker has room for it: what is asked of a worker, and not made
//! of rows.

use keyloom_common::{
    Error, Result, StageId, TaskId,
    rpc::{TaskReport, Work},
    trace::TraceParent,
};

use super::{Dispatcher, Incident, Lost, StageHandle, StageUpdate};
use crate::scheduler::StageKind;

impl Dispatcher {
    /// Runs one piece of work, as the only task of a stage, on one worker after the other while
    /// they are lost. Who stops waiting stops it.
    ///
    /// # Errors
    /// The worker's; `unavailable` if there is none, or those that had it were lost.
    pub(crate) async fn ask(
        &self,
        stage: StageId,
        work: Work,
        trace: Option<TraceParent>,
    ) -> Result<TaskReport> {
        self.ask_counted(stage, 0, work, trace, drop).await.map_err(|lost| lost.error)
    }

    /// As [`Self::ask`], with how often workers were asked if that fails. The first of these
    /// attempts has this number: a worker may still be at what an earlier run of the job asked.
    /// What is met meanwhile is told.
    pub(crate) async fn ask_counted(
        &self,
        stage: StageId,
        first_attempt: u32,
        work: Work,
        trace: Option<TraceParent>,
        mut met: impl FnMut(Incident) + Send,
    ) -> Result<TaskReport, Lost> {
        let (handle, mut updates) = self.open_stage(stage, StageKind::Question, Vec::new(), trace);
        handle.number_from(first_attempt);
        handle.add(TaskId { stage, index: 0 }, work);
        handle.close();
        // Also when the asker is gone, whose call is then dropped here.
        let _cancel = CancelOnDrop(handle);
        loop {
            match updates.recv().await {
                Some(StageUpdate::Met(incident)) => met(incident),
                Some(StageUpdate::Done { finished, .. }) => return Ok(finished.report),
                Some(StageUpdate::Failed(lost)) => return Err(lost),
                None => return Err(Error::cancelled("the coordinator is stopping").into()),
            }
        }
    }
}

struct CancelOnDrop(StageHandle);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.cancel();
    }
}
