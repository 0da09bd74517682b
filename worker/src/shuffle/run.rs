//! Running a plan whose rows are shuffled: the worker that is asked cuts it into stages, sends
//! these to its peers, itself among them, and gives what comes out.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use datafusion::{
    common::DFSchema,
    error::{DataFusionError, Result},
    execution::{
        SendableRecordBatchStream, SessionState, SessionStateBuilder, TaskContext,
        context::QueryPlanner,
    },
    logical_expr::{EmptyRelation, LogicalPlan},
    physical_plan::{
        ExecutionPlan, Partitioning, execution_plan::reset_plan_states,
        repartition::RepartitionExec, stream::RecordBatchStreamAdapter,
    },
    prelude::SessionConfig,
};
use datafusion_distributed::{
    DistributedExt, SessionStateBuilderExt, WorkerResolver, display_plan_ascii,
};
use futures::{StreamExt, stream};
use keyloom_common::{
    Error,
    plan::{PartCodec, Telling, of_shuffle, unshuffled},
};
use tokio::{runtime::Handle, time::timeout};
use url::Url;

use super::{
    Part,
    counted::{Counted, Shuffled},
    crossing::Crossing,
    leaves::Leaves,
    listening::Listening,
    memory::runtime_of_session,
    parts::in_parts,
    peers::Peers,
    sessions::headers,
    settings::ShuffleSettings,
};

/// What a plan is run with.
pub(super) struct Means<'a> {
    pub(super) settings: &'a ShuffleSettings,
    pub(super) peers: &'a Peers,
    pub(super) part: Part,
    pub(super) batch_rows: u32,
}

/// The rows of a plan that the workers at these addresses run together.
///
/// # Errors
/// If that cannot begin. Later errors come through the stream.
pub(super) async fn together(
    plan: &Arc<dyn ExecutionPlan>,
    addresses: &[String],
    means: Means<'_>,
) -> keyloom_common::Result<Shuffled> {
    let silence = means.settings.silence();
    let counted = Counted::of(plan, means.part.telling.clone());
    let state = session(plan, addresses, means, &counted)?;
    // The plan is there already: what is planned is how to distribute it.
    let nothing = LogicalPlan::EmptyRelation(EmptyRelation {
        produce_one_row: false,
        schema: Arc::new(DFSchema::empty()),
    });
    let stages = state.query_planner().create_physical_plan(&nothing, &state).await?;
    tracing::debug!("shuffles:\n{}", display_plan_ascii(stages.as_ref(), false));
    let batches = in_parts(&stages, plan, &counted)?.execute(0, state.task_ctx())?;
    Ok(Shuffled { batches: watched(batches, silence, of_shuffle), counted })
}

/// The rows of a plan that this worker runs alone. Nothing is repartitioned, which could stand
/// still for ever where memory is short.
///
/// # Errors
/// If that cannot begin. Later errors come through the stream.
pub(super) fn alone(
    plan: &Arc<dyn ExecutionPlan>,
    silence: Duration,
    telling: Telling,
    context: &Arc<TaskContext>,
) -> keyloom_common::Result<Shuffled> {
    let leaves = Leaves { workers: 1, partitions: read_at_once(plan) };
    let run = reset_plan_states(unshuffled(leaves.spread(Arc::clone(plan))?)?)?;
    let batches = run.execute(0, Arc::clone(context))?;
    let counted = Counted::alone(&run, plan, telling);
    Ok(Shuffled { batches: watched(batches, silence, Error::from_datafusion), counted })
}

/// A session that makes stages of a plan.
fn session(
    plan: &Arc<dyn ExecutionPlan>,
    addresses: &[String],
    means: Means<'_>,
    counted: &Arc<Counted>,
) -> keyloom_common::Result<SessionState> {
    let Means { settings, peers, part, batch_rows } = means;
    let Part { equip, runtime, memory, functions, totals, .. } = part;
    let (runtime, room) = runtime_of_session(&runtime, &memory)?;
    let crossing = Crossing { peers: peers.clone(), totals };
    let listening = Listening { crossing, counted: Arc::downgrade(counted) };
    let workers = Workers::at(addresses)?;
    let compression = settings.compression.among(&workers.0);
    let leaves = Leaves { workers: workers.0.len(), partitions: read_at_once(plan) };
    let config = equip(SessionConfig::new(), batch_rows).with_extension(room);
    let builder = SessionStateBuilder::new()
        .with_config(config.with_target_partitions(partitions(plan)))
        .with_runtime_env(runtime)
        .with_query_planner(Arc::new(Planned(Arc::clone(plan))))
        .with_distributed_planner()
        .with_distributed_worker_resolver(workers)
        .with_distributed_channel_resolver(listening)
        .with_distributed_user_codec(PartCodec::new(functions))
        .with_distributed_desired_task_count_handler(leaves)
        .with_distributed_scale_up_leaf_node_handler(leaves)
        // It is heard on the way to peers: who asks for what was collected waits for tasks that
        // were planned and never run, without end.
        .with_distributed_metrics_collection(true)?
        // Its nodes hide their inputs from those that count tasks.
        .with_distributed_children_isolator_unions(false)?
        .with_distributed_worker_connection_buffer_budget_bytes(settings.buffer_bytes)?
        .with_distributed_compression(compression)?
        .with_distributed_passthrough_headers(headers(batch_rows))?;
    Ok(builder.build())
}

/// How many partitions of an input each worker reads at the same time: no more than this one has
/// threads.
/// What is grouped before rows are sent is so in each of them, and the fewer, the less is sent.
fn read_at_once(plan: &Arc<dyn ExecutionPlan>) -> usize {
    partitions(plan).min(Handle::current().metrics().num_workers())
}

/// How many partitions rows are shuffled into on each worker.
fn partitions(plan: &Arc<dyn ExecutionPlan>) -> usize {
    let own = plan.downcast_ref::<RepartitionExec>().and_then(|node| match node.partitioning() {
        Partitioning::Hash(_, partitions) => Some(*partitions),
        _ => None,
    });
    let below = plan.children().into_iter().map(partitions).max();
    own.into_iter().chain(below).max().unwrap_or(1)
}

/// The rows, with errors as they are read by `own`, and one if no rows come for so long: a shuffle
/// that does not go on says nothing by itself.
fn watched(
    batches: SendableRecordBatchStream,
    silence: Duration,
    own: fn(DataFusionError) -> Error,
) -> SendableRecordBatchStream {
    let schema = batches.schema();
    let batches = stream::try_unfold(batches, move |mut batches| async move {
        let next = timeout(silence, batches.next()).await.map_err(|_| silent(silence))?;
        let next = next.transpose().map_err(own)?;
        Ok::<_, DataFusionError>(next.map(|batch| (batch, batches)))
    });
    Box::pin(RecordBatchStreamAdapter::new(schema, batches))
}

/// Not worth another attempt, which would wait as long.
fn silent(silence: Duration) -> Error {
    Error::resource_exhausted(format!(
        "a shuffle gave no row for {silence:?} and was given up; shuffle.silence_timeout_ms on the \
         workers says how long one may take, and without a shuffle (shuffle = \"never\" in the \
         session) there is no such bound"
    ))
}

/// The workers that take part.
struct Workers(Vec<Url>);

impl Workers {
    fn at(addresses: &[String]) -> keyloom_common::Result<Self> {
        let urls = addresses.iter().map(|address| {
            Url::parse(address).map_err(|error| {
                Error::internal(format!("a worker shuffles at '{address}': {error}"))
            })
        });
        urls.collect::<keyloom_common::Result<_>>().map(Self)
    }
}

impl WorkerResolver for Workers {
    fn get_urls(&self) -> Result<Vec<Url>> {
        Ok(self.0.clone())
    }
}

/// A plan that is there already.
#[derive(Debug)]
struct Planned(Arc<dyn ExecutionPlan>);

#[async_trait]
impl QueryPlanner for Planned {
    async fn create_physical_plan(
        &self,
        _: &LogicalPlan,
        _: &SessionState,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(Arc::clone(&self.0))
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::RecordBatch;
    use datafusion::{
        physical_expr::expressions::Column,
        physical_plan::{EmptyRecordBatchStream, displayable, empty::EmptyExec},
    };
    use keyloom_common::ErrorKind;

    use super::*;
    use crate::samples::ids;

    #[test]
    fn addresses_stay_what_they_are() {
        for address in ["tcp://10.0.0.5:7801", "tls://worker.internal:7801", "tcp://[::1]:80"] {
            let workers = Workers::at(&[address.to_owned()]).unwrap();
            assert_eq!(workers.get_urls().unwrap()[0].as_str(), address);
        }
        assert_eq!(Workers::at(&["nowhere".to_owned()]).err().unwrap().kind(), ErrorKind::Internal);
    }

    fn shuffled(partitions: usize) -> Arc<dyn ExecutionPlan> {
        let empty = Arc::new(EmptyExec::new(ids()));
        let by_id = Partitioning::Hash(vec![Arc::new(Column::new("id", 0))], partitions);
        Arc::new(RepartitionExec::try_new(empty, by_id).unwrap())
    }

    #[test]
    fn a_plan_says_into_how_many_parts_it_is_shuffled() {
        let empty: Arc<dyn ExecutionPlan> = Arc::new(EmptyExec::new(ids()));
        assert_eq!(partitions(&empty), 1);
        let shuffled = shuffled(3);
        assert_eq!(partitions(&shuffled), 3, "{}", displayable(shuffled.as_ref()).one_line());
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 3)]
    async fn a_worker_reads_no_more_at_once_than_it_has_threads() {
        assert_eq!([2, 3, 4].map(|partitions| read_at_once(&shuffled(partitions))), [2, 3, 3]);
    }

    #[tokio::test]
    async fn silence_ends_a_shuffle_by_name() {
        let silence = Duration::from_millis(1);
        let never = RecordBatchStreamAdapter::new(ids(), stream::pending::<Result<RecordBatch>>());
        let mut waiting = watched(Box::pin(never), silence, of_shuffle);
        let error = Error::from(waiting.next().await.unwrap().unwrap_err());
        assert_eq!(error.kind(), ErrorKind::ResourceExhausted);
        assert!(error.message().contains("no row for 1ms"), "{error}");
        let none = EmptyRecordBatchStream::new(ids());
        let mut ended = watched(Box::pin(none), silence, of_shuffle);
        assert!(ended.next().await.is_none());
    }
}
