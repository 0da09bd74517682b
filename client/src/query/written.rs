//! Queries whose rows workers write, instead of handing them to the client.
//!
//! To DataFusion the query is not there: it is planned as a whole by itself, as if its rows were
//! wanted, and what writes is put on top of it when it is submitted. So no rule takes the end of a
//! plan for a place where order or columns do not matter.

use std::{fmt, sync::Arc};

use async_trait::async_trait;
use datafusion::{
    common::{DFSchema, DFSchemaRef},
    error::Result,
    execution::context::SessionState,
    logical_expr::{LogicalPlan, UserDefinedLogicalNode},
    physical_plan::ExecutionPlan,
    physical_planner::{ExtensionPlanner, PhysicalPlanner},
};
use keyloom_common::{
    described::Output,
    output::{OutputInspection, OutputSpec, PreparedOutput, WriteExec, committed_schema},
    rpc::PlannedOutput,
};
use keyloom_planner::PlanOptions;

use super::{
    SubmitExec, check_depth,
    leaf::{Held, Leaf},
    seal,
    sealed::opened,
};
use crate::link::Link;

/// The query that writes these rows, and whose own row says what was written.
///
/// # Errors
/// `invalid` if the output contradicts itself.
pub(crate) fn written(rows: LogicalPlan, output: &Output) -> keyloom_common::Result<LogicalPlan> {
    let output = Arc::new(output.spec()?);
    let schema = Arc::new(DFSchema::try_from(committed_schema())?);
    Ok(Leaf::of(Written { rows: seal(rows), output, schema }))
}

/// The plan with what writes its rows on top, as far as a worker finds that they can be. What jobs
/// that nobody knows have left there is warned of.
///
/// # Errors
/// Why the output cannot be written.
pub(super) async fn prepared(
    link: &Link,
    plan: Arc<dyn ExecutionPlan>,
    spec: OutputSpec,
) -> keyloom_common::Result<Arc<dyn ExecutionPlan>> {
    let planned = PlannedOutput { spec, schema: plan.schema() };
    let inspected = link.connection.prepare_output(planned).await?;
    let OutputInspection { prepared, leftovers } = inspected;
    if let Some(warning) = leftovers.warning(&prepared.spec.path) {
        link.warnings.say(&warning);
    }
    Ok(Arc::new(WriteExec::new(plan, Arc::new(prepared))))
}

/// The same plan for people: no worker has looked at the output.
pub(super) fn shown(plan: &Arc<dyn ExecutionPlan>, spec: &OutputSpec) -> Arc<dyn ExecutionPlan> {
    let output = PreparedOutput { spec: spec.clone(), schema: plan.schema(), version: None };
    Arc::new(WriteExec::new(Arc::clone(plan), Arc::new(output)))
}

/// A query that writes.
struct Written {
    rows: LogicalPlan,
    output: Arc<OutputSpec>,
    schema: DFSchemaRef,
}

impl Held for Written {
    const NAME: &'static str = "Write";

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    fn show(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Write: {}", self.output)
    }
}

/// Plans queries that write.
#[derive(Debug)]
pub(super) struct WritePlanner {
    link: Arc<Link>,
}

impl WritePlanner {
    pub(super) fn new(link: Arc<Link>) -> Self {
        Self { link }
    }
}

#[async_trait]
impl ExtensionPlanner for WritePlanner {
    async fn plan_extension(
        &self,
        planner: &dyn PhysicalPlanner,
        node: &dyn UserDefinedLogicalNode,
        _: &[&LogicalPlan],
        _: &[Arc<dyn ExecutionPlan>],
        state: &SessionState,
    ) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        let Some(written) = Leaf::<Written>::held(node) else { return Ok(None) };
        let rows = state.optimize(opened(&written.rows))?;
        check_depth(&rows)?;
        let plan = planner.create_physical_plan(&rows, state).await?;
        let (link, output) = (Arc::clone(&self.link), Arc::clone(&written.output));
        let shuffle = PlanOptions::of(state.config_options()).shuffle.shuffle;
        Ok(Some(Arc::new(SubmitExec::writing(plan, link, output, shuffle))))
    }
}
