//! Running a fragment: decode the plan, execute its one partition, hand out the rows as chunks.

use std::{future::Future, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use futures::StreamExt;
use keyloom_common::{
    BlobId, Error, Result,
    ipc::Encoder,
    lookup::KvLookupExec,
    plan::{FragmentRuntime, InputScanExec, decode_plan},
    report::PlanMetrics,
    rpc::TaskOutput,
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

    async fn blob(&self, id: BlobId) -> Result<Bytes> {
        self.blobs.blob(id).await
    }
}

pub(super) async fn run<F>(
    plan: &[u8],
    context: &Arc<TaskContext>,
    chunk_bytes: usize,
    discard: bool,
    deliver: impl Fn(u32, Bytes) -> F + Send + Sync,
) -> Result<TaskOutput>
where
    F: Future<Output = Result<()>> + Send,
{
    let plan = decode_plan(plan, context)?;
    let mut encoder = Encoder::try_new(&plan.schema(), chunk_bytes)?;
    let mut batches = plan.execute(0, Arc::clone(context))?;
    let (mut chunks, mut rows) = (0, 0);
    while let Some(batch) = batches.next().await {
        let batch = batch.map_err(Error::from)?;
        rows += batch.num_rows() as u64;
        if !discard {
            for chunk in encoder.write(&batch)? {
                deliver(chunks, chunk).await?;
                chunks += 1;
            }
        }
    }
    for chunk in encoder.finish()? {
        deliver(chunks, chunk).await?;
        chunks += 1;
    }
    Ok(TaskOutput::Rows { chunks, rows, metrics: PlanMetrics::of(plan.as_ref()) })
}
