//! What is asked of workers for no job: about a store, an input or an output.

use keyloom_common::{
    JobId, Result, StageId,
    rpc::{TaskReport, Work},
    trace::TraceParent,
};

use super::Jobs;

impl Jobs {
    /// Runs one piece of work on any worker.
    pub(crate) async fn ask_worker(&self, work: Work) -> Result<TaskReport> {
        let stage = StageId { job: JobId::new(), index: 0 };
        self.dispatcher.ask(stage, work, TraceParent::current()).await
    }
}
