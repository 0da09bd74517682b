//! The operator that submits a plan and streams back its rows, so that DataFusion's own `collect`,
//! `show` and `write_parquet` run on the cluster.

use std::{fmt, sync::Arc};

use arrow::{
    array::{ArrayRef, RecordBatch, StringArray},
    datatypes::SchemaRef,
};
use datafusion::{
    error::{DataFusionError, Result},
    execution::{SendableRecordBatchStream, TaskContext},
    physical_expr::EquivalenceProperties,
    physical_plan::{
        DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PlanProperties, displayable,
        execution_plan::{Boundedness, EmissionType, SchedulingType},
        stream::RecordBatchStreamAdapter,
    },
};
use futures::{TryStreamExt, stream};
use keyloom_common::{
    Error,
    output::{OutputSpec, committed_schema},
    shuffle::Shuffle,
    stack::Deep,
};

use super::{Job, JobOptions, in_vain, written};
use crate::link::Link;

/// What the result of a submitted plan is.
#[derive(Clone, Debug)]
pub(crate) enum ResultKind {
    /// Its rows.
    Rows,
    /// How it ran, in the columns of `EXPLAIN ANALYZE`.
    Analysis(SchemaRef),
}

/// Runs a plan as a job.
#[derive(Clone, Debug)]
pub(crate) struct SubmitExec {
    plan: Arc<dyn ExecutionPlan>,
    link: Arc<Link>,
    result: ResultKind,
    /// Whether its statement says that rows are shuffled.
    shuffle: Shuffle,
    /// Where workers write the rows, if the statement says so.
    output: Option<Arc<OutputSpec>>,
    properties: Arc<PlanProperties>,
}

impl SubmitExec {
    pub(crate) fn new(
        plan: Arc<dyn ExecutionPlan>,
        link: Arc<Link>,
        result: ResultKind,
        shuffle: Shuffle,
    ) -> Self {
        let schema = match &result {
            ResultKind::Rows => plan.schema(),
            ResultKind::Analysis(schema) => Arc::clone(schema),
        };
        let properties = properties(schema);
        Self { plan, link, result, shuffle, output: None, properties }
    }

    /// A plan whose rows workers write.
    pub(super) fn writing(
        plan: Arc<dyn ExecutionPlan>,
        link: Arc<Link>,
        output: Arc<OutputSpec>,
        shuffle: Shuffle,
    ) -> Self {
        let properties = properties(committed_schema());
        Self {
            output: Some(output),
            properties,
            ..Self::new(plan, link, ResultKind::Rows, shuffle)
        }
    }

    /// The same, but its result is how it ran.
    pub(super) fn analyzed(&self, schema: SchemaRef) -> Self {
        let (plan, link) = (Arc::clone(&self.plan), Arc::clone(&self.link));
        let analyzed = Self::new(plan, link, ResultKind::Analysis(schema), self.shuffle);
        Self { output: self.output.clone(), ..analyzed }
    }

    /// What is submitted, for people.
    pub(crate) fn shown(&self) -> Arc<dyn ExecutionPlan> {
        match &self.output {
            Some(output) => written::shown(&self.plan, output),
            None => Arc::clone(&self.plan),
        }
    }

    pub(crate) async fn start(&self, options: JobOptions) -> keyloom_common::Result<Job> {
        let output = match (&self.output, &options.output) {
            (Some(_), Some(_)) => {
                return Err(Error::invalid(
                    "this statement says itself where its rows are written; give it no other output",
                ));
            }
            (Some(output), None) => Some(OutputSpec::clone(output)),
            (None, given) => given.as_ref().map(|output| output.spec()).transpose()?,
        };
        Deep::new(async {
            let asks = self.asks_workers_to_shuffle();
            let misses = options.misses(&self.link.settings);
            let warning = if asks { in_vain::shuffle(&self.plan, misses)? } else { None };
            let (link, plan) = (Arc::clone(&self.link), Arc::clone(&self.plan));
            let job = Job::start(link, plan, output, options).await?;
            match warning {
                Some(warning) => self.link.warnings.say(warning),
                None if asks => in_vain::tell_of_workers(&self.link, job.id()).await,
                None => {}
            }
            Ok(job)
        })
        .await
    }

    /// Whether it is always to be shuffled. A session that is its own cluster never shuffles.
    fn asks_workers_to_shuffle(&self) -> bool {
        let is_own = self.link.connection.local_workers().is_some();
        match self.shuffle {
            Shuffle::Always => !is_own,
            Shuffle::Auto | Shuffle::Never => false,
        }
    }

    pub(crate) fn returns_rows(&self) -> bool {
        matches!(self.result, ResultKind::Rows)
    }
}

fn properties(schema: SchemaRef) -> Arc<PlanProperties> {
    let properties = PlanProperties::new(
        EquivalenceProperties::new(schema),
        Partitioning::UnknownPartitioning(1),
        EmissionType::Incremental,
        Boundedness::Bounded,
    );
    // It waits for messages, and DataFusion need put nothing around it.
    Arc::new(properties.with_scheduling_type(SchedulingType::Cooperative))
}

/// DataFusion explains statements that write: they are submitted as a whole, and it sees no more of
/// them.
impl DisplayAs for SubmitExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.output {
            Some(_) => {
                let shown = displayable(self.shown().as_ref()).indent(false).to_string();
                f.write_str(shown.trim_end())
            }
            None => f.write_str("SubmitExec"),
        }
    }
}

impl ExecutionPlan for SubmitExec {
    fn name(&self) -> &'static str {
        "SubmitExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    /// The plan is not this process's to run, so DataFusion is not to see it as a child.
    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        Vec::new()
    }

    fn with_new_children(
        self: Arc<Self>,
        _: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn execute(&self, _: usize, _: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let submit = self.clone();
        let batches: SendableRecordBatchStream = match &self.result {
            ResultKind::Rows => {
                let rows = async move {
                    let job = submit.start(JobOptions::default()).await;
                    let job = job.map_err(DataFusionError::from)?;
                    Ok::<_, DataFusionError>(job.into_stream().map_err(DataFusionError::from))
                };
                let rows = stream::once(rows).try_flatten();
                Box::pin(RecordBatchStreamAdapter::new(self.schema(), rows))
            }
            ResultKind::Analysis(schema) => {
                let schema = Arc::clone(schema);
                let analysis = async move {
                    let options = JobOptions { discard: true, ..JobOptions::default() };
                    let summary = submit.start(options).await?.finish().await?;
                    analysis(&schema, &summary.analysis.to_string())
                };
                Box::pin(RecordBatchStreamAdapter::new(self.schema(), stream::once(analysis)))
            }
        };
        Ok(batches)
    }
}

fn analysis(schema: &SchemaRef, plan: &str) -> Result<RecordBatch> {
    let column = |text: &str| Arc::new(StringArray::from(vec![text.to_owned()])) as ArrayRef;
    let columns = vec![column("Plan with Metrics"), column(plan)];
    Ok(RecordBatch::try_new(Arc::clone(schema), columns)?)
}
