//! What adds the tasks of a stage: slices of its input, rows that come, or the one of a shuffle.

use std::sync::Arc;

use arrow::{array::RecordBatch, datatypes::SchemaRef};
use datafusion::{
    execution::{SendableRecordBatchStream, TaskContext},
    physical_plan::ExecutionPlan,
};
use futures::StreamExt;
use keyloom_common::{
    BlobId, Error, Result, TaskId, ipc,
    output::WriteExec,
    plan::{FramePartition, Slice, encode_plan},
    rpc::{Work, guarded},
    size::batch_bytes,
};
use keyloom_planner::{Chain, KeySet};
use tokio::sync::{Semaphore, mpsc};

use super::super::{
    context::JobContext, give_way::give_way, held::HeldBlob, kept::DoneBefore,
    key_sets::CollectedKeys,
};
use crate::dispatch::StageHandle;

/// What the feeder says.
#[derive(Debug)]
pub(super) enum Fed {
    /// This is what tasks run that follow.
    Fragment(HeldBlob),
    /// Tasks read these.
    KeySets(CollectedKeys),
    /// These are a task's rows.
    Rows(u32, HeldBlob),
    /// There are this many tasks, or adding them failed.
    All(Result<u32>),
}

/// What the tasks of a stage are made of.
pub(super) enum Input {
    /// Chains over slices of their input, and what collects their keys.
    Slices(Arc<[Chain]>, (Vec<KeySet>, Arc<TaskContext>)),
    /// A fragment over rows that come.
    Rows(Arc<dyn ExecutionPlan>, SendableRecordBatchStream),
    /// A fragment that one task runs as a whole, with others.
    Shuffle(Arc<dyn ExecutionPlan>),
}

/// Adds the tasks of a stage.
pub(super) struct Feeder {
    pub(super) context: Arc<JobContext>,
    /// Its number in the plan.
    pub(super) stage: u32,
    pub(super) handle: StageHandle,
    pub(super) discard: bool,
    /// Whether the tasks only collect keys for others.
    pub(super) collects: bool,
    pub(super) places: Arc<Semaphore>,
    pub(super) tx: mpsc::UnboundedSender<Fed>,
    /// The tasks that were done in an earlier run.
    pub(super) before: Option<DoneBefore>,
    pub(super) next: u32,
}

impl Feeder {
    pub(super) async fn run(mut self, input: Input) {
        let feeding = async {
            match input {
                Input::Slices(chains, (key_sets, context)) => {
                    self.feed_slices(&chains, &key_sets, &context).await
                }
                Input::Rows(fragment, rows) => self.feed_rows(&fragment, rows).await,
                Input::Shuffle(fragment) => self.feed_shuffle(&fragment).await,
            }
        };
        // Also a panic is told, or the run would wait for tasks that never come.
        let fed = guarded(feeding).await;
        self.handle.close();
        if fed.is_ok() {
            self.context.stage_fed(self.stage);
        }
        // The run may be gone, and then nobody counts.
        let _ = self.tx.send(Fed::All(fed.map(|()| self.next)));
    }

    async fn feed_slices(
        &mut self,
        chains: &[Chain],
        key_sets: &[KeySet],
        context: &Arc<TaskContext>,
    ) -> Result<()> {
        let tasks: usize = chains.iter().map(Chain::tasks).sum();
        // Where all tasks are done, nobody looks anything up.
        let is_done = self.before.as_ref().is_some_and(|before| before.tasks() == tasks);
        let key_sets: &[KeySet] = if is_done { &[] } else { key_sets };
        if !key_sets.is_empty() {
            // Or keys would be collected for a job that then fails.
            self.context.check_tasks(tasks)?;
        }
        let keys = CollectedKeys::of(key_sets, &self.context, context).await?;
        for chain in chains {
            let plan = self.hold_plan(&keys.told(&chain.plan, &chain.places)?)?;
            for slice in chain.slices() {
                let slice = slice?;
                if !self.add_done_before().await? {
                    self.add(plan, &slice).await?;
                }
            }
        }
        let _ = self.tx.send(Fed::KeySets(keys));
        Ok(())
    }

    async fn feed_rows(
        &mut self,
        fragment: &Arc<dyn ExecutionPlan>,
        mut rows: SendableRecordBatchStream,
    ) -> Result<()> {
        let plan = self.hold_plan(fragment)?;
        // Of all rows: the first may come from what is never null, and others not.
        let schema = rows.schema();
        let settings = &self.context.settings;
        // Each task that writes makes files of its own.
        let (max_rows, max_bytes) = match fragment.is::<WriteExec>() {
            true => (settings.write_slice_rows, settings.write_slice_bytes),
            false => (settings.slice_rows, settings.slice_bytes),
        };
        let (mut batches, mut pending_rows, mut bytes) = (Vec::new(), 0, 0);
        while let Some(batch) = rows.next().await {
            let batch = batch.map_err(Error::from)?;
            let mut start = 0;
            while start < batch.num_rows() {
                let length = (max_rows - pending_rows).min(batch.num_rows() - start);
                let piece = batch.slice(start, length);
                start += length;
                pending_rows += length;
                bytes += batch_bytes(&piece);
                batches.push(piece);
                if pending_rows >= max_rows || bytes >= max_bytes {
                    self.add_rows(plan, &schema, &std::mem::take(&mut batches)).await?;
                    (pending_rows, bytes) = (0, 0);
                }
            }
        }
        if pending_rows > 0 { self.add_rows(plan, &schema, &batches).await } else { Ok(()) }
    }

    async fn feed_shuffle(&mut self, fragment: &Arc<dyn ExecutionPlan>) -> Result<()> {
        let plan = self.hold_plan(fragment)?;
        let (batch_rows, peers) = (self.context.batch_rows, Vec::new());
        self.add_work(Work::Shuffle { plan, peers, batch_rows, discard: self.discard }).await
    }

    async fn add_rows(
        &mut self,
        plan: BlobId,
        schema: &SchemaRef,
        batches: &[RecordBatch],
    ) -> Result<()> {
        let stream = ipc::encode_all(schema, batches)?;
        let rows = batches.iter().map(|batch| batch.num_rows() as u64).sum();
        let held = HeldBlob::rows(&self.context, stream)?;
        let blob = held.id();
        let _ = self.tx.send(Fed::Rows(self.next, held));
        self.add(plan, &Slice::Frame(FramePartition { blob, rows }, None)).await
    }

    /// Holds what tasks run, for as long as the run is there.
    fn hold_plan(&self, plan: &Arc<dyn ExecutionPlan>) -> Result<BlobId> {
        let held = HeldBlob::plan(&self.context, encode_plan(plan)?)?;
        let id = held.id();
        let _ = self.tx.send(Fed::Fragment(held));
        Ok(id)
    }

    /// Adds the next task as one that is done, if it was in an earlier run and what it takes to go
    /// on from there is still to be had.
    async fn add_done_before(&mut self) -> Result<bool> {
        let Some(before) = self.before.as_ref().filter(|before| before.has(self.next)) else {
            return Ok(false);
        };
        self.take_place().await?;
        let Some(finished) = before.finished(self.next).await else {
            self.places.add_permits(1);
            return Ok(false);
        };
        self.context.task_added(self.stage, self.collects)?;
        before.tell(self.next, finished);
        self.pass().await?;
        Ok(true)
    }

    async fn take_place(&self) -> Result<()> {
        let place = self.places.acquire().await;
        place.map_err(|_| Error::cancelled("the stage was stopped"))?.forget();
        Ok(())
    }

    /// Goes on to the next task.
    async fn pass(&mut self) -> Result<()> {
        let next = self.next.checked_add(1);
        self.next = next.ok_or_else(|| Error::resource_exhausted("a stage has too many tasks"))?;
        // There may be many tasks, and others on this thread.
        give_way().await;
        Ok(())
    }

    async fn add(&mut self, plan: BlobId, slice: &Slice) -> Result<()> {
        let work = Work::Fragment {
            plan,
            slice: slice.encode()?.into(),
            batch_rows: self.context.batch_rows,
            discard: self.discard,
            misses: self.context.misses.policy(),
        };
        self.add_work(work).await
    }

    async fn add_work(&mut self, work: Work) -> Result<()> {
        self.take_place().await?;
        self.context.task_added(self.stage, self.collects)?;
        self.handle.add(TaskId { stage: self.handle.stage(), index: self.next }, work);
        self.pass().await
    }
}
