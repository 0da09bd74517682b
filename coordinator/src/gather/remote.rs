//! The operator that stands for a fragment: its rows come from workers.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use arrow::array::RecordBatch;
use datafusion::{
    error::{DataFusionError, Result},
    execution::{SendableRecordBatchStream, TaskContext},
    physical_plan::{
        DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, Partitioning,
        PlanProperties, stream::RecordBatchStreamAdapter,
    },
};
use futures::{Stream, StreamExt, TryStreamExt, stream};
use keyloom_common::{Error, ipc::Decoder};
use keyloom_planner::{Fragment, Reading, Source};
use tokio::sync::oneshot;
use tokio_util::task::AbortOnDropHandle;

use super::{
    own::own,
    properties::without_order,
    stage_run::{Piece, StageRun, chunks},
};
use crate::dispatch::Finished;

/// A fragment that workers run.
#[derive(Debug)]
pub(crate) struct RemoteExec {
    fragment: Fragment,
    /// Whether workers drop the rows instead of sending them.
    discard: bool,
    properties: Arc<PlanProperties>,
    /// For runs: where each partition's output will arrive. Filled by the first to execute.
    runs: Mutex<Option<Runs>>,
}

/// Runs under way.
#[derive(Debug)]
struct Runs {
    receivers: Vec<Option<oneshot::Receiver<RunResult>>>,
    _distributor: AbortOnDropHandle<()>,
}

type RunResult = keyloom_common::Result<(u32, Finished)>;

impl RemoteExec {
    pub(super) fn new(fragment: Fragment) -> Self {
        let plan = &fragment.plan;
        let equivalences = match fragment.reading {
            Reading::Runs => plan.equivalence_properties().clone(),
            Reading::Ordered => without_order(plan),
        };
        let properties = Arc::new(PlanProperties::new(
            equivalences,
            Partitioning::UnknownPartitioning(fragment.partitions()),
            plan.pipeline_behavior(),
            plan.boundedness(),
        ));
        Self { fragment, discard: false, properties, runs: Mutex::default() }
    }

    /// The same, but the rows are dropped where they are made.
    pub(super) fn discarding(&self) -> Self {
        Self { discard: true, ..Self::new(self.fragment.clone()) }
    }

    pub(crate) fn fragment(&self) -> &Fragment {
        &self.fragment
    }

    /// The rows as workers sent them, in order: for results that are only passed on.
    pub(crate) fn pieces(
        &self,
        context: &Arc<TaskContext>,
    ) -> keyloom_common::Result<impl Stream<Item = keyloom_common::Result<Piece>> + Send + use<>>
    {
        Ok(StageRun::start(&self.fragment, self.discard, context)?.pieces())
    }

    /// Whether the rows are one ordered stream.
    pub(crate) fn is_ordered(&self) -> bool {
        self.fragment.reading == Reading::Ordered
    }

    fn ordered(&self, context: &Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let batches = decode(self.pieces(context)?).map_err(DataFusionError::from);
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), batches)))
    }

    fn run(
        &self,
        partition: usize,
        context: &Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let run = self.receiver(partition, context)?;
        let pieces = async move {
            let run = run.await;
            let (task, finished) = run.map_err(|_| Error::cancelled("the stage was stopped"))??;
            Ok::<_, Error>(chunks(task, finished))
        };
        let batches = decode(stream::once(pieces).try_flatten()).map_err(DataFusionError::from);
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), batches)))
    }

    fn receiver(
        &self,
        partition: usize,
        context: &Arc<TaskContext>,
    ) -> Result<oneshot::Receiver<RunResult>> {
        let mut runs = self.runs.lock().unwrap_or_else(PoisonError::into_inner);
        let runs = match &mut *runs {
            Some(runs) => runs,
            none => none.insert(self.start_runs(context)?),
        };
        runs.receivers[partition]
            .take()
            .ok_or_else(|| Error::internal("a sorted run was read twice").into())
    }

    fn start_runs(&self, context: &Arc<TaskContext>) -> Result<Runs> {
        let run = StageRun::start(&self.fragment, self.discard, context)?;
        let partitions = self.properties.output_partitioning().partition_count();
        let (senders, receivers): (Vec<_>, Vec<_>) =
            (0..partitions).map(|_| oneshot::channel()).unzip();
        let distributor = AbortOnDropHandle::new(tokio::spawn(distribute(run, senders)));
        let receivers = receivers.into_iter().map(Some).collect();
        Ok(Runs { receivers, _distributor: distributor })
    }
}

/// Hands each task's output to the reader of its partition.
async fn distribute(mut run: StageRun, senders: Vec<oneshot::Sender<RunResult>>) {
    let mut senders: Vec<_> = senders.into_iter().map(Some).collect();
    loop {
        match run.next_done().await {
            Ok(None) => return,
            Ok(Some((task, finished))) => {
                let sender = senders.get_mut(task as usize).and_then(Option::take);
                if sender.is_some_and(|sender| sender.send(Ok((task, finished))).is_err()) {
                    return;
                }
            }
            Err(error) => {
                for sender in senders.into_iter().flatten() {
                    // A reader that is gone needs no error.
                    let _ = sender.send(Err(error.clone()));
                }
                return;
            }
        }
    }
}

/// Batches from the pieces of streams that follow each other, for operators that may keep them.
fn decode(
    pieces: impl Stream<Item = keyloom_common::Result<Piece>> + Send,
) -> impl Stream<Item = keyloom_common::Result<RecordBatch>> + Send {
    pieces
        .scan((None, Decoder::new()), |(task, decoder), piece| {
            let batches = piece.and_then(|piece| {
                if task.replace(piece.task) != Some(piece.task) {
                    *decoder = Decoder::new();
                }
                piece.chunk.decode(decoder)
            });
            std::future::ready(Some(
                batches.map(|batches| stream::iter(batches.into_iter().map(own))),
            ))
        })
        .try_flatten()
}

impl DisplayAs for RemoteExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RemoteExec: stage={}, rows={:?}", self.fragment.stage, self.fragment.reading)
    }
}

impl ExecutionPlan for RemoteExec {
    fn name(&self) -> &'static str {
        "RemoteExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        let input = match &self.fragment.source {
            Source::Slices(_) | Source::Shuffle => None,
            Source::Rows(input) => Some(input),
        };
        self.fragment.key_sets.iter().map(|key_set| &key_set.keys).chain(input).collect()
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let mut fragment = self.fragment.clone();
        let input = match &mut fragment.source {
            Source::Slices(_) | Source::Shuffle => None,
            Source::Rows(input) => Some(input),
        };
        let before = fragment.key_sets.iter_mut().map(|key_set| &mut key_set.keys).chain(input);
        before.zip(children).for_each(|(before, child)| *before = child);
        Ok(Arc::new(Self { discard: self.discard, ..Self::new(fragment) }))
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        match self.fragment.reading {
            Reading::Ordered => self.ordered(&context),
            Reading::Runs => self.run(partition, &context),
        }
    }
}
