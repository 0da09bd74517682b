//! Running a plan: cut it, run the coordinator's part, and send the rows out as chunks.

use std::{sync::Arc, time::Instant};

use arrow::datatypes::SchemaRef;
use datafusion::{
    common::tree_node::{TreeNode, TreeNodeRecursion},
    execution::{TaskContext, runtime_env::RuntimeEnv},
    physical_plan::{ExecutionPlan, execute_stream},
    prelude::{SessionConfig, SessionContext},
};
use futures::StreamExt;
use keyloom_common::{
    BlobId, Error, Result,
    functions::OctetLength,
    lookup::KvLookupExec,
    misses::{MissPolicy, missed_schema},
    output::PreparedOutput,
    plan::{FrameScanExec, by_hash, decode_plan, unshuffled},
    report::LogKind,
    rpc::{ChunkWriter, Next, guarded},
};
use keyloom_planner::check_write;
use tokio_util::sync::CancellationToken;

use super::{
    analysis::Ran,
    ending::Ending,
    results::Results,
    stop::stoppable,
    summary::summary,
    turns::Turn,
    writing::{cuts_of, output_of},
};
use crate::{
    gather::{JobContext, RemoteExec, cut, look_again},
    history::{Cut, Happened},
    output::check_output,
};

/// What is told of a job whose rows would be shuffled.
const NOT_SHUFFLED: &str =
    "fewer than two workers listen for others (shuffle.listen), and it does not shuffle";

/// A plan that is ready to run.
#[derive(Debug)]
pub(super) struct Prepared {
    job: Arc<JobContext>,
    context: Arc<TaskContext>,
    cut: Arc<dyn ExecutionPlan>,
    blobs: Vec<BlobId>,
    output: Option<Arc<PreparedOutput>>,
    /// Whether it would be shuffled, if there were workers for that.
    lacks_workers: bool,
}

impl Prepared {
    /// Decodes and cuts a plan, which ends when the token is cancelled. One that reads or writes
    /// what its client may not is refused, and one that writes what it reads.
    pub(super) fn new(
        plan: &[u8],
        job: &Arc<JobContext>,
        runtime: Arc<RuntimeEnv>,
        stop: &CancellationToken,
    ) -> Result<Self> {
        let context = task_context(job, runtime);
        let plan = decode_plan(plan, &context)?;
        job.rights.iter().try_for_each(|rights| rights.check_plan(&plan))?;
        check_output(&plan)?;
        check_write(&plan)?;
        let (blobs, output) = (blobs(&plan)?, output_of(&plan)?);
        let (plan, lacks_workers) = as_it_runs(plan, job)?;
        let cut = cut(plan, job.settings.grain(), job.discard)?;
        let (job, cut) = (Arc::clone(job), stoppable(cut, stop)?);
        Ok(Self { job, context, cut, blobs, output, lacks_workers })
    }

    /// The job.
    pub(super) fn job(&self) -> &Arc<JobContext> {
        &self.job
    }

    /// Tells, once the job is known, what becomes of it that is not as it asks.
    pub(super) fn tell(&self) {
        if self.lacks_workers {
            self.job.tell(Happened::new(LogKind::NotShuffled, NOT_SHUFFLED));
        }
    }

    /// Where its rows go, if workers write them.
    pub(super) fn output(&self) -> Option<&PreparedOutput> {
        self.output.as_deref()
    }

    /// The columns of its rows.
    pub(super) fn schema(&self) -> SchemaRef {
        self.cut.schema()
    }

    /// How the stages are cut whose tasks can be kept.
    pub(super) fn cuts(&self) -> Result<Vec<Cut>> {
        cuts_of(&self.cut)
    }

    /// Whether the coordinator computes rows itself, and does not only pass them on.
    pub(super) fn computes(&self) -> bool {
        let remote = self.cut.downcast_ref::<RemoteExec>().filter(|remote| remote.is_ordered());
        remote.is_none_or(|remote| !remote.fragment().key_sets.is_empty())
    }

    /// The blobs that the plan reads.
    pub(super) fn blobs(&self) -> impl Iterator<Item = BlobId> + '_ {
        self.blobs.iter().copied()
    }
}

/// A plan as it runs, and whether it lacks workers to be shuffled among. Its rows are shuffled
/// where it says so, if several workers can, and nobody limits its misses, or wants to have them:
/// that goes by tasks and their rows.
fn as_it_runs(
    plan: Arc<dyn ExecutionPlan>,
    job: &JobContext,
) -> Result<(Arc<dyn ExecutionPlan>, bool)> {
    let counts_all = job.misses.policy() != MissPolicy::default();
    let counts = |node: &Arc<dyn ExecutionPlan>| {
        let lookup = node.downcast_ref::<KvLookupExec>();
        Ok(lookup.is_some_and(|lookup| counts_all || lookup.limits_misses()))
    };
    let (may, can) = (!plan.exists(counts)?, job.dispatcher.shufflers() > 1);
    if may && can {
        return Ok((plan, false));
    }
    let lacks_workers = may && plan.exists(|node| Ok(by_hash(node).is_some()))?;
    Ok((unshuffled(plan)?, lacks_workers))
}

fn task_context(job: &Arc<JobContext>, runtime: Arc<RuntimeEnv>) -> Arc<TaskContext> {
    let config = SessionConfig::new()
        .with_batch_size(job.batch_rows as usize)
        .with_extension(Arc::clone(job));
    let session = SessionContext::new_with_config_rt(config, runtime);
    OctetLength::register(&session);
    session.task_ctx()
}

fn blobs(plan: &Arc<dyn ExecutionPlan>) -> Result<Vec<BlobId>> {
    let mut blobs = Vec::new();
    plan.apply(|node| {
        if let Some(frame) = node.downcast_ref::<FrameScanExec>() {
            blobs.extend(frame.partitions().iter().map(|partition| partition.blob));
        }
        if let Some(lookup) = node.downcast_ref::<KvLookupExec>() {
            for fetch in lookup.waves().iter().flat_map(|wave| &wave.fetches) {
                blobs.extend(fetch.store.spec.content);
            }
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(blobs)
}

/// Runs a plan to its end when its turn has come; the last message is a summary or an error.
pub(super) async fn run(prepared: Prepared, turn: Turn, mut results: Results, ending: Ending) {
    let mut begun = Instant::now();
    let outcome = guarded(async {
        results.begin(turn.come().await?);
        if prepared.computes() {
            prepared.job.set_computes();
        }
        begun = Instant::now();
        if let Some(record) = prepared.job.record() {
            record.known.begin();
            record.known.removed().await;
        }
        look_again(&prepared.job).await?;
        let rows = send_rows(&prepared, &mut results).await?;
        // Of what it writes, the result only tells.
        let written = prepared.job.output.committed().map(|committed| committed.rows);
        prepared.job.check_misses()?;
        send_missed(&prepared.job, &mut results).await?;
        Ok(written.unwrap_or(rows))
    });
    let outcome = outcome.await;
    let took = begun.elapsed();
    let last = match outcome {
        Ok(rows) => {
            let workers = prepared.job.dispatcher.workers().await;
            let ran = Ran { begun, took, workers: &workers };
            Ok(summary(&prepared.cut, &prepared.job, rows, &ran))
        }
        Err(error) => Err(error),
    };
    ending.tell(&last).await;
    results.end(last.map(Next::Done)).await;
}

/// Sends the result and counts its rows.
async fn send_rows(prepared: &Prepared, results: &mut Results) -> Result<u64> {
    let plan = &prepared.cut;
    match plan.downcast_ref::<RemoteExec>() {
        Some(remote) if remote.is_ordered() => pass_on(remote, prepared, results).await,
        _ => compute(prepared, results).await,
    }
}

/// Sends the rows that missed their keys, if they were to be kept.
async fn send_missed(job: &JobContext, results: &mut Results) -> Result<()> {
    let batches = job.misses.take_rows(job.batch_rows as usize)?;
    if batches.is_empty() {
        return Ok(());
    }
    let (schema, chunk_bytes) = (missed_schema(), job.settings.rpc.chunk_bytes);
    let mut writer = ChunkWriter::try_new(&schema, job.in_process, chunk_bytes)?;
    for batch in batches {
        for chunk in writer.write(batch)? {
            results.send_missed(chunk).await?;
        }
    }
    for chunk in writer.finish()? {
        results.send_missed(chunk).await?;
    }
    Ok(())
}

/// Rows that the coordinator only passes on are neither decoded nor encoded.
async fn pass_on(remote: &RemoteExec, prepared: &Prepared, results: &mut Results) -> Result<u64> {
    let mut pieces = Box::pin(remote.pieces(&prepared.context)?);
    while let Some(piece) = pieces.next().await {
        let piece = piece?;
        results.send(piece.task, piece.chunk).await?;
    }
    Ok(prepared.job.reports().get(&remote.fragment().stage).map_or(0, |report| report.rows))
}

async fn compute(prepared: &Prepared, results: &mut Results) -> Result<u64> {
    let plan = Arc::clone(&prepared.cut);
    let JobContext { settings, in_process, .. } = prepared.job.as_ref();
    let mut writer = ChunkWriter::try_new(&plan.schema(), *in_process, settings.rpc.chunk_bytes)?;
    let mut batches = execute_stream(plan, Arc::clone(&prepared.context))?;
    let mut rows = 0;
    while let Some(batch) = batches.next().await {
        let batch = batch.map_err(Error::from)?;
        rows += batch.num_rows() as u64;
        if !prepared.job.discard {
            for chunk in writer.write(batch)? {
                results.send(0, chunk).await?;
            }
        }
    }
    for chunk in writer.finish()? {
        results.send(0, chunk).await?;
    }
    Ok(rows)
}
