//! Running a fragment over a slice: execute its one partition, hand out the rows as chunks.

use std::{future::Future, sync::Arc};

use arrow::{array::RecordBatch, datatypes::SchemaRef};
use async_trait::async_trait;
use datafusion::{
    execution::{SendableRecordBatchStream, TaskContext},
    physical_plan::{ExecutionPlan, stream::RecordBatchStreamAdapter},
};
use futures::{StreamExt, TryStreamExt};
use keyloom_common::{
    BlobId, Error, Result,
    lookup::KvLookupExec,
    memory::MemoryBudget,
    misses::{MissPolicy, lookups},
    output::WriteExec,
    plan::{FragmentRuntime, InputScanExec},
    report::PlanMetrics,
    rpc::{Chunk, ChunkWriter, TaskReport},
};

use super::underway::Counted;
use crate::{
    input::Inputs,
    lookup::{self, LookupSettings},
    output::{Outputs, Writing},
    store::{BlobSource, OpenStores},
};

/// What this worker gives to fragments.
#[derive(Debug)]
pub(super) struct Runtime {
    pub(super) counted: Arc<Counted>,
    pub(super) stores: Arc<OpenStores>,
    pub(super) inputs: Arc<Inputs>,
    pub(super) outputs: Arc<Outputs>,
    pub(super) blobs: Arc<dyn BlobSource>,
    pub(super) lookup: LookupSettings,
    /// What windows of lookups take of.
    pub(super) windows: MemoryBudget,
    /// What the job does about missing keys.
    pub(super) misses: MissPolicy,
}

#[async_trait]
impl FragmentRuntime for Runtime {
    fn lookup(
        &self,
        node: &KvLookupExec,
        partition: usize,
        input: SendableRecordBatchStream,
        _context: &Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let stores = Arc::clone(&self.stores);
        let (settings, windows) = (&self.lookup, &self.windows);
        Ok(lookup::run(node, partition, input, stores, settings, windows, self.misses))
    }

    fn scan(
        &self,
        node: &InputScanExec,
        partition: usize,
        context: &Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        self.inputs.scan(node, partition, context)
    }

    fn write(
        &self,
        node: &WriteExec,
        input: SendableRecordBatchStream,
    ) -> Result<SendableRecordBatchStream> {
        let (schema, counted) = (input.schema(), Arc::clone(&self.counted));
        let input = input.inspect_ok(move |batch| counted.write(batch.num_rows() as u64));
        let input = Box::pin(RecordBatchStreamAdapter::new(schema, input));
        let (attempt, computed) = (self.counted.attempt, &self.counted.computed);
        self.outputs.write(Writing { attempt, node, computed }, input)
    }

    async fn rows(&self, id: BlobId) -> Result<Vec<RecordBatch>> {
        self.blobs.rows(id).await
    }
}

/// How rows go out.
#[derive(Clone, Copy, Debug)]
pub(super) struct Out<'a> {
    /// Whether the coordinator is in this process.
    pub(super) in_process: bool,
    /// About the most bytes of a chunk.
    pub(super) chunk_bytes: usize,
    /// Whether they are dropped instead.
    pub(super) discard: bool,
    /// About the most bytes by which it is told which keys were asked for.
    pub(super) key_report_bytes: u64,
    /// What they take of until the coordinator has them. It is little, and there already, so that
    /// they do not wait for it.
    pub(super) memory: &'a MemoryBudget,
    /// Where they are counted as they go.
    pub(super) counted: &'a Counted,
}

pub(super) async fn run<F>(
    plan: &Arc<dyn ExecutionPlan>,
    context: &Arc<TaskContext>,
    out: Out<'_>,
    deliver: impl Fn(u32, Chunk) -> F + Send + Sync,
) -> Result<TaskReport>
where
    F: Future<Output = Result<()>> + Send,
{
    let key_report_bytes = out.key_report_bytes;
    let batches = plan.execute(0, Arc::clone(context))?;
    let (chunks, rows) = hand_in(&plan.schema(), batches, out, deliver).await?;
    let (metrics, lookups) = (PlanMetrics::of(plan.as_ref()), lookups(plan, key_report_bytes));
    Ok(TaskReport::Rows { chunks, rows, metrics, lookups })
}

/// Hands out rows; returns how many chunks and how many rows.
pub(super) async fn hand_in<F>(
    schema: &SchemaRef,
    mut batches: SendableRecordBatchStream,
    out: Out<'_>,
    deliver: impl Fn(u32, Chunk) -> F + Send + Sync,
) -> Result<(u32, u64)>
where
    F: Future<Output = Result<()>> + Send,
{
    let Out { in_process, chunk_bytes, discard, memory, counted, .. } = out;
    let mut writer = ChunkWriter::try_new(schema, in_process, chunk_bytes)?;
    let (mut chunks, mut rows) = (0, 0);
    while let Some(batch) = batches.next().await {
        let batch = batch.map_err(Error::from)?;
        rows += batch.num_rows() as u64;
        counted.hand_in(batch.num_rows() as u64);
        if !discard {
            let full = writer.write(batch)?;
            let _waiting = memory.force(full.iter().map(|chunk| chunk.size() as u64).sum());
            for chunk in full {
                deliver(chunks, chunk).await?;
                chunks += 1;
            }
        }
    }
    for chunk in writer.finish()? {
        deliver(chunks, chunk).await?;
        chunks += 1;
    }
    Ok((chunks, rows))
}
