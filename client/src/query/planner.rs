//! DataFusion plans; then what reads and looks up becomes a job.

use std::{borrow::Cow, sync::Arc};

use async_trait::async_trait;
use datafusion::{
    common::tree_node::TreeNode,
    datasource::sink::DataSinkExec,
    error::Result,
    execution::context::{QueryPlanner, SessionState},
    logical_expr::{LogicalPlan, PlanType, StringifiedPlan},
    physical_plan::{ExecutionPlan, analyze::AnalyzeExec, explain::ExplainExec},
    physical_planner::{DefaultPhysicalPlanner, ExtensionPlanner, PhysicalPlanner},
};

use keyloom_common::{Error, report::parts, shuffle::Shuffle, stack::Deep};
use keyloom_planner::PlanOptions;

use super::{
    check_depth, let_shuffle,
    scanned::Scanned,
    sealed::open,
    submit::{ResultKind, SubmitExec},
    written::WritePlanner,
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
    fn wrap(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        shuffle: Shuffle,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        if let Some(explain) = plan.downcast_ref::<ExplainExec>() {
            return Ok(Arc::new(with_parts(explain)));
        }
        if plan.is::<DataSinkExec>() {
            let input = self.wrap(Arc::clone(plan.children()[0]), shuffle)?;
            return plan.with_new_children(vec![input]);
        }
        // A statement that writes: it is what is submitted already.
        if plan.is::<SubmitExec>() {
            return Ok(plan);
        }
        let link = Arc::clone(&self.link);
        Ok(Arc::new(match plan.downcast_ref::<AnalyzeExec>() {
            Some(analyze) => match analyze.input().downcast_ref::<SubmitExec>() {
                Some(submit) => submit.analyzed(plan.schema()),
                None => {
                    let input = Arc::clone(analyze.input());
                    refuse_writes(&input)?;
                    SubmitExec::new(input, link, ResultKind::Analysis(plan.schema()), shuffle)
                }
            },
            None => {
                refuse_writes(&plan)?;
                SubmitExec::new(plan, link, ResultKind::Rows, shuffle)
            }
        }))
    }
}

/// The same plans as text, the physical one with what would run where, if workers may shuffle its
/// rows.
fn with_parts(explain: &ExplainExec) -> ExplainExec {
    let plans = explain.stringified_plans().iter().map(|shown| match shown.plan_type {
        PlanType::FinalPhysicalPlan => {
            StringifiedPlan::new(PlanType::FinalPhysicalPlan, parts::text(&shown.plan))
        }
        _ => shown.clone(),
    });
    ExplainExec::new(explain.schema(), plans.collect(), explain.verbose())
}

/// Refuses a query over the result of a statement that writes.
fn refuse_writes(plan: &Arc<dyn ExecutionPlan>) -> Result<()> {
    if plan.exists(|node| Ok(node.is::<SubmitExec>()))? {
        let message = "a statement that writes is a job of its own, and no table of another";
        return Err(Error::invalid(message).into());
    }
    Ok(())
}

#[async_trait]
impl QueryPlanner for JobPlanner {
    async fn create_physical_plan(
        &self,
        logical_plan: &LogicalPlan,
        state: &SessionState,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let writes: Arc<dyn ExtensionPlanner + Send + Sync> =
            Arc::new(WritePlanner::new(Arc::clone(&self.link)));
        let planner = DefaultPhysicalPlanner::with_extension_planners(vec![writes]);
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
            let mut state = Scanned::remembering(state);
            let_shuffle(state.config_mut().options_mut());
            planner.create_physical_plan(&plan, &state).await
        };
        let shuffle = PlanOptions::of(state.config_options()).shuffle.shuffle;
        self.wrap(Deep::new(planning).await?, shuffle)
    }
}
