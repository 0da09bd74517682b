//! Collects the keys of fetches before a fragment's tasks run, and tells the tasks where they are.

mod distinct;
mod no_set;

use std::sync::Arc;

use arrow::datatypes::{Schema, SchemaRef};
use datafusion::{
    execution::TaskContext,
    physical_plan::{ExecutionPlan, execute_stream},
};
use futures::{StreamExt, future::try_join_all};
use keyloom_common::{BlobId, Error, Result, ipc, lookup::KvLookupExec};
use keyloom_planner::KeySet;

use self::{distinct::Distinct, no_set::NoSet};
use super::{context::JobContext, held::HeldBlob};

/// Key sets that are there for workers to read, for as long as this is.
#[derive(Debug, Default)]
pub(super) struct CollectedKeys(Vec<Collected>);

#[derive(Debug)]
struct Collected {
    /// As those of [`KeySet`].
    fetches: Vec<(usize, usize)>,
    blob: HeldBlob,
}

impl CollectedKeys {
    /// Runs what collects the keys, all of it at once. A set that is too large is not there:
    /// lookups do without.
    ///
    /// # Errors
    /// Of the rows that hold the keys.
    pub(super) async fn of(
        key_sets: &[KeySet],
        context: &Arc<JobContext>,
        task_context: &Arc<TaskContext>,
    ) -> Result<Self> {
        if context.settings.max_key_set_bytes == 0 {
            return Ok(Self::default());
        }
        let sets = key_sets.iter().map(|set| collect(set, context, task_context));
        let sets = try_join_all(sets.collect::<Vec<_>>()).await?;
        Ok(Self(sets.into_iter().flatten().collect()))
    }

    /// A chain of the fragment's nodes, which stand at these places there, with the names of the
    /// sets.
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
        for (index, blob) in self.of_lookup(*place) {
            let first = waves.first_mut().and_then(|wave| wave.fetches.get_mut(index));
            let fetch = first.ok_or_else(|| Error::internal("keys of no fetch"))?;
            fetch.key_set = Some(blob.id());
        }
        let input = children.into_iter().next();
        let input = input.ok_or_else(|| Error::internal("a lookup without an input"))?;
        let told = KvLookupExec::try_new(input, waves)?;
        let told = told.with_first_rows(lookup.first_rows());
        Ok(Arc::new(told.with_counted_by(lookup.counted_by())))
    }

    /// The fetches of a lookup whose keys are there.
    fn of_lookup(&self, place: usize) -> impl Iterator<Item = (usize, &HeldBlob)> {
        let fetches = self.0.iter().flat_map(|Collected { fetches, blob }| {
            fetches.iter().map(move |(place, fetch)| (*place, *fetch, blob))
        });
        fetches.filter(move |(of, ..)| *of == place).map(|(_, fetch, blob)| (fetch, blob))
    }
}

/// The keys of a set, if they are not too many, and there is room for them.
async fn collect(
    set: &KeySet,
    context: &Arc<JobContext>,
    task_context: &Arc<TaskContext>,
) -> Result<Option<Collected>> {
    match blob(&set.keys, context, task_context).await {
        Ok(blob) => Ok(Some(Collected { fetches: set.fetches.clone(), blob })),
        Err(reason) => reason.go_on(context.job).map(|()| None),
    }
}

/// Each key once, for workers to read.
async fn blob(
    keys: &Arc<dyn ExecutionPlan>,
    context: &Arc<JobContext>,
    task_context: &Arc<TaskContext>,
) -> Result<HeldBlob, NoSet> {
    let schema = keys.schema();
    let mut batches = execute_stream(Arc::clone(keys), Arc::clone(task_context))?;
    let (most, pool) = (context.settings.max_key_set_bytes, task_context.memory_pool());
    let mut keys = Distinct::try_new(Arc::clone(&schema), most, pool)?;
    while let Some(batch) = batches.next().await {
        keys.add(&batch?)?;
    }
    let keys = keys.finish(context.batch_rows as usize)?;
    let keys = ipc::encode_all(&unique(&schema), &keys)?;
    HeldBlob::rows(context, keys).map_err(NoSet::of_room)
}

/// The schema as no other set has it: blobs are told apart by their contents, and each goes with
/// its own stage.
fn unique(schema: &Schema) -> SchemaRef {
    let name = ("set".to_owned(), BlobId::unique().to_string());
    Arc::new(schema.clone().with_metadata([name].into()))
}
