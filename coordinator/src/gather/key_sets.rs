//! Collects the keys of fetches before a fragment's tasks run, and tells the tasks where they are.

use std::sync::Arc;

use arrow::array::RecordBatch;
use datafusion::{
    execution::TaskContext,
    physical_plan::{ExecutionPlan, execute_stream},
};
use futures::StreamExt;
use keyloom_common::{Error, ErrorKind, Result, ipc, lookup::KvLookupExec, size::batch_bytes};
use keyloom_planner::KeySet;

use super::{context::JobContext, held::HeldBlob};

/// Key sets that are there for workers to read, for as long as this is.
#[derive(Debug, Default)]
pub(super) struct CollectedKeys(Vec<Collected>);

#[derive(Debug)]
struct Collected {
    /// The lookup's place in the fragment, and which of its first wave's fetches it is.
    place: usize,
    fetch: usize,
    blob: HeldBlob,
}

impl CollectedKeys {
    /// Runs what collects the keys. A set that is too large is not there: lookups do without.
    ///
    /// # Errors
    /// Of the rows that hold the keys.
    pub(super) async fn of(
        key_sets: &[KeySet],
        context: &Arc<JobContext>,
        task_context: &Arc<TaskContext>,
    ) -> Result<Self> {
        let mut collected = Vec::with_capacity(key_sets.len());
        for KeySet { place, fetch, keys } in key_sets {
            if let Some(blob) = collect(keys, context, task_context).await? {
                collected.push(Collected { place: *place, fetch: *fetch, blob });
            }
        }
        Ok(Self(collected))
    }

    /// A chain of the fragment's nodes, which stand at these places there, with the names of the sets.
    pub(super) fn told(
        &self,
        chain: &Arc<dyn ExecutionPlan>,
        places: &[usize],
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let (Some((place, below)), false) = (places.split_first(), self.0.is_empty()) else {
            return Ok(Arc::clone(chain));
        };
        let children = chain.children().into_iter();
        let children: Vec<_> =
            children.map(|child| self.told(child, below)).collect::<Result<_>>()?;
        let Some(lookup) = chain.downcast_ref::<KvLookupExec>() else {
            return Ok(Arc::clone(chain).with_new_children(children)?);
        };
        let mut waves = lookup.waves().to_vec();
        for Collected { fetch, blob, .. } in self.0.iter().filter(|keys| keys.place == *place) {
            let first = waves.first_mut().and_then(|wave| wave.fetches.get_mut(*fetch));
            let fetch = first.ok_or_else(|| Error::internal("keys of no fetch"))?;
            fetch.key_set = Some(blob.id());
        }
        let input = children.into_iter().next();
        let input = input.ok_or_else(|| Error::internal("a lookup without an input"))?;
        Ok(Arc::new(KvLookupExec::try_new(input, waves)?))
    }
}

/// The keys as a blob, if they are not too many.
async fn collect(
    keys: &Arc<dyn ExecutionPlan>,
    context: &Arc<JobContext>,
    task_context: &Arc<TaskContext>,
) -> Result<Option<HeldBlob>> {
    let mut keys = execute_stream(Arc::clone(keys), Arc::clone(task_context))?;
    let (mut batches, mut bytes) = (Vec::<RecordBatch>::new(), 0);
    while let Some(batch) = keys.next().await {
        let batch = batch.map_err(Error::from)?;
        bytes += batch_bytes(&batch) as u64;
        if bytes > context.settings.max_key_set_bytes {
            tracing::info!(job = %context.job, "more keys than max_key_set_bytes: not collected");
            return Ok(None);
        }
        batches.push(batch);
    }
    match HeldBlob::rows(context, ipc::encode_all(&keys.schema(), &batches)?) {
        Err(error) if error.kind() == ErrorKind::ResourceExhausted => {
            tracing::info!(job = %context.job, %error, "no room for the job's keys: not collected");
            Ok(None)
        }
        held => held.map(Some),
    }
}
