//! Running a fragment: decode the plan, execute its one partition, hand out the rows as chunks.

use std::{future::Future, sync::Arc};

use arrow::array::RecordBatch;
use async_trait::async_trait;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use futures::StreamExt;
use keyloom_common::{
    BlobId, Error, Result,
    lookup::KvLookupExec,
    plan::{FragmentRuntime, InputScanExec, decode_plan},
    report::PlanMetrics,
    rpc::{Chunk, ChunkWriter, TaskOutput},
};

use crate::{
    input::Inputs,
    lookup::{self, LookupSettings},
    store::{BlobSource, OpenStores},
};

/// What this worker gives to fragments.
#[derive(Debug)]
pub(super) struct Runtime {
    pub(super) stores: Arc<OpenStores>,
    pub(super) inputs: Arc<Inputs>,
    pub(super) blobs: Arc<dyn BlobSource>,
    pub(super) lookup: LookupSettings,
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
        Ok(lookup::run(node, partition, input, Arc::clone(&self.stores), &self.lookup))
    }

    fn scan(
        &self,
        node: &InputScanExec,
        partition: usize,
        context: &Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        self.inputs.scan(node, partition, context)
    }

    async fn rows(&self, id: BlobId) -> Result<Vec<RecordBatch>> {
        self.blobs.rows(id).await
    }
}

/// How rows go out.
#[derive(Clone, Copy, Debug)]
pub(super) struct Out {
    /// Whether the coordinator is in this process.
    pub(super) in_process: bool,
    /// About the most bytes of a chunk.
    pub(super) chunk_bytes: usize,
    /// Whether they are dropped instead.
    pub(super) discard: bool,
}

pub(super) async fn run<F>(
    plan: &[u8],
    context: &Arc<TaskContext>,
    out: Out,
    deliver: impl Fn(u32, Chunk) -> F + Send + Sync,
) -> Result<TaskOutput>
where
    F: Future<Output = Result<()>> + Send,
{
    let plan = decode_plan(plan, context)?;
    let Out { in_process, chunk_bytes, discard } = out;
    let mut writer = ChunkWriter::try_new(&plan.schema(), in_process, chunk_bytes)?;
    let mut batches = plan.execute(0, Arc::clone(context))?;
    let (mut chunks, mut rows) = (0, 0);
    while let Some(batch) = batches.next().await {
        let batch = batch.map_err(Error::from)?;
        rows += batch.num_rows() as u64;
        if !discard {
            for chunk in writer.write(batch)? {
                deliver(chunks, chunk).await?;
                chunks += 1;
            }
        }
    }
    for chunk in writer.finish()? {
        deliver(chunks, chunk).await?;
        chunks += 1;
    }
    Ok(TaskOutput::Rows { chunks, rows, metrics: PlanMetrics::of(plan.as_ref()) })
}
