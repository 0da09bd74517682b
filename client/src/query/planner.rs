//! DataFusion plans; then what reads and looks up becomes a job.

use std::{borrow::Cow, sync::Arc};

use async_trait::async_trait;
use datafusion::{
    datasource::sink::DataSinkExec,
    error::Result,
    execution::context::{QueryPlanner, SessionState},
    logical_expr::LogicalPlan,
    physical_plan::{ExecutionPlan, analyze::AnalyzeExec, explain::ExplainExec},
    physical_planner::{DefaultPhysicalPlanner, PhysicalPlanner},
};

use keyloom_common::stack::Deep;

use super::{
    check_depth,
    scanned::Scanned,
    sealed::open,
    submit::{ResultKind, SubmitExec},
};
use crate::link::Link;

/// Plans queries as jobs of a session.
#[derive(Debug)]
pub(super) struct JobPlanner {
    link: Arc<Link>,
}

impl JobPlanner {
    pub(super) fn new(link: Arc<Link>) -> Self {
        Self { link }
    }

    /// What writes files or explains stays in this process; the rest is submitted.
    fn wrap(&self, plan: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
        if plan.is::<ExplainExec>() {
            return Ok(plan);
        }
        if plan.is::<DataSinkExec>() {
            let input = self.wrap(Arc::clone(plan.children()[0]))?;
            return plan.with_new_children(vec![input]);
        }
        let link = Arc::clone(&self.link);
        Ok(Arc::new(match plan.downcast_ref::<AnalyzeExec>() {
            Some(analyze) => SubmitExec::new(
                Arc::clone(analyze.input()),
                link,
                ResultKind::Analysis(plan.schema()),
            ),
            None => SubmitExec::new(plan, link, ResultKind::Rows),
        }))
    }
}

#[async_trait]
impl QueryPlanner for JobPlanner {
    async fn create_physical_plan(
        &self,
        logical_plan: &LogicalPlan,
        state: &SessionState,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let planner = DefaultPhysicalPlanner::default();
        // DataFusion's own methods plan on their caller's stack.
        let planning = async {
            check_depth(logical_plan)?;
            let plan = match open(logical_plan) {
                Some(plan) => {
                    let plan = state.optimize(&plan)?;
                    check_depth(&plan)?;
                    Cow::Owned(plan)
                }
                None => Cow::Borrowed(logical_plan),
            };
            let state = Scanned::remembering(state);
            planner.create_physical_plan(&plan, &state).await
        };
        self.wrap(Deep::new(planning).await?)
    }
}
