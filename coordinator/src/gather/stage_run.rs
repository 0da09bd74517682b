//! One run of a fragment: its tasks are added, and their outputs come back in task order.

use std::{collections::BTreeMap, sync::Arc};

use arrow::array::RecordBatch;
use datafusion::{
    execution::{SendableRecordBatchStream, TaskContext},
    physical_plan::{ExecutionPlan, execute_stream},
};
use futures::{Stream, StreamExt, stream};
use keyloom_common::{
    BlobId, Error, Result, TaskId, ipc,
    output::WriteExec,
    plan::{FramePartition, Slice, encode_plan},
    rpc::{Chunk, Work, guarded},
    size::batch_bytes,
    trace::TraceParent,
};
use keyloom_planner::{Chain, Fragment, KeySet, Source, shuffled_partitions};
use tokio::sync::{Semaphore, mpsc};
use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument;

use super::{
    context::JobContext,
    give_way::give_way,
    held::HeldBlob,
    kept::{DoneBefore, Keeping},
    key_sets::CollectedKeys,
    progress::work_of,
    stores::stores_of,
    told::{Told, counted},
};
use crate::{
    dispatch::{Finished, StageHandle, StageUpdate},
    scheduler::StageKind,
    settings::Settings,
};

/// A piece of a task's Arrow IPC stream.
#[derive(Debug)]
pub(crate) struct Piece {
    /// The task; each has a stream of its own.
    pub(crate) task: u32,
    pub(crate) chunk: Chunk,
}

/// The tasks of a fragment under way. Dropping it cancels them.
#[derive(Debug)]
pub(crate) struct StageRun {
    context: Arc<JobContext>,
    /// Its number in the plan.
    number: u32,
    handle: StageHandle,
    /// Of tasks that are counted already.
    updates: mpsc::UnboundedReceiver<StageUpdate>,
    _counting: AbortOnDropHandle<()>,
    _keeping: Option<AbortOnDropHandle<()>>,
    /// Places for tasks that the coordinator feeds and that are not consumed.
    places: Arc<Semaphore>,
    feeder: AbortOnDropHandle<()>,
    fed: mpsc::UnboundedReceiver<Fed>,
    done: BTreeMap<u32, Finished>,
    next: u32,
    total: Option<u32>,
    /// What the tasks run, for as long as there are some.
    fragments: Vec<HeldBlob>,
    key_sets: CollectedKeys,
    /// The rows of tasks that the coordinator feeds.
    rows: BTreeMap<u32, HeldBlob>,
}

/// What the feeder says.
#[derive(Debug)]
enum Fed {
    /// This is what tasks run that follow.
    Fragment(HeldBlob),
    /// Tasks read these.
    KeySets(CollectedKeys),
    /// These are a task's rows.
    Rows(u32, HeldBlob),
    /// There are this many tasks, or adding them failed.
    All(Result<u32>),
}

impl StageRun {
    /// Starts the tasks of a fragment. With `discard`, workers drop their rows.
    pub(super) fn start(
        fragment: &Fragment,
        discard: bool,
        task_context: &Arc<TaskContext>,
    ) -> Result<Self> {
        let context = JobContext::of(task_context)?;
        let Fragment { stage, plan, source, key_sets, collects, .. } = fragment;
        let (stage, trace) = (context.stage(*stage), TraceParent::of(&context.span));
        let (handle, updates) =
            context.dispatcher.open_stage(stage, kind(fragment), stores_of(plan)?, trace);
        context.stage_begun(fragment.stage, work_of(fragment));
        context.first_attempt().into_iter().for_each(|number| handle.number_from(number));
        let keeping = Keeping::of(&context, fragment.stage, updates);
        let Keeping { updates, before, task: keeping } = keeping;
        let told = Arc::new(Told::of(fragment, &context));
        let meets = Arc::clone(&told);
        let (updates, counting) = counted(
            updates,
            move |index, finished| told.count(index, finished),
            move |incident| meets.met(incident),
        );
        let places = Arc::new(Semaphore::new(places(fragment, &context.settings)));
        let (tx, fed) = mpsc::unbounded_channel();
        let feeder = Feeder {
            context: Arc::clone(&context),
            stage: fragment.stage,
            handle: handle.clone(),
            discard,
            collects: *collects,
            places: Arc::clone(&places),
            tx,
            before,
            next: 0,
        };
        let input = match source {
            Source::Slices(chains) => {
                let key_sets = (key_sets.clone(), Arc::clone(task_context));
                Input::Slices(Arc::clone(chains), key_sets)
            }
            Source::Rows(rows) => {
                let rows = execute_stream(Arc::clone(rows), Arc::clone(task_context))?;
                Input::Rows(Arc::clone(plan), rows)
            }
            Source::Shuffle => Input::Shuffle(Arc::clone(plan)),
        };
        let feeding = feeder.run(input).instrument(context.span.clone());
        Ok(Self {
            number: fragment.stage,
            handle,
            updates,
            _counting: counting,
            _keeping: keeping,
            places,
            feeder: AbortOnDropHandle::new(tokio::spawn(feeding)),
            context,
            fed,
            done: BTreeMap::new(),
            next: 0,
            total: None,
            fragments: Vec::new(),
            key_sets: CollectedKeys::default(),
            rows: BTreeMap::new(),
        })
    }

    /// The outputs of all tasks, in task order.
    pub(crate) fn pieces(self) -> impl Stream<Item = Result<Piece>> + Send {
        let tasks = stream::try_unfold(self, async |mut run| {
            Ok::<_, Error>(run.next_in_order().await?.map(|finished| (finished, run)))
        });
        tasks.flat_map(|task| match task {
            Ok((task, finished)) => chunks(task, finished).left_stream(),
            Err(error) => stream::once(async { Err(error) }).right_stream(),
        })
    }

    async fn next_in_order(&mut self) -> Result<Option<(u32, Finished)>> {
        self.handle.set_due(self.next);
        while !self.done.contains_key(&self.next) {
            if self.total == Some(self.next) {
                return Ok(None);
            }
            self.progress().await?;
        }
        let index = self.next;
        let finished = self.done.remove(&index);
        self.next += 1;
        self.consumed(index);
        Ok(finished.map(|finished| (index, finished)))
    }

    /// The output of whichever task is done first: for readers that need them all.
    pub(crate) async fn next_done(&mut self) -> Result<Option<(u32, Finished)>> {
        loop {
            if let Some((index, finished)) = self.done.pop_first() {
                self.next += 1;
                self.consumed(index);
                return Ok(Some((index, finished)));
            }
            if self.total == Some(self.next) {
                return Ok(None);
            }
            self.progress().await?;
        }
    }

    async fn progress(&mut self) -> Result<()> {
        tokio::select! {
            // What is said of a task comes before its end, and is to be heard before.
            biased;
            Some(fed) = self.fed.recv() => match fed {
                Fed::Fragment(fragment) => self.fragments.push(fragment),
                Fed::KeySets(keys) => self.key_sets = keys,
                Fed::Rows(task, rows) => {
                    self.rows.insert(task, rows);
                }
                Fed::All(total) => self.total = Some(total?),
            },
            update = self.updates.recv() => match update {
                Some(StageUpdate::Done { index, finished }) => {
                    self.done.insert(index, *finished);
                }
                Some(StageUpdate::Failed(lost)) => return Err(lost.error),
                // It was told before.
                Some(StageUpdate::Met(_)) => {}
                None => return Err(Error::cancelled("the coordinator is stopping")),
            },
        }
        Ok(())
    }

    fn consumed(&mut self, index: u32) {
        self.handle.consumed(TaskId { stage: self.handle.stage(), index });
        self.places.add_permits(1);
        self.rows.remove(&index);
    }
}

impl Drop for StageRun {
    fn drop(&mut self) {
        self.feeder.abort();
        self.handle.cancel();
        self.context.stage_dropped(self.number);
    }
}

/// The pieces of one task's output.
pub(super) fn chunks(task: u32, finished: Finished) -> impl Stream<Item = Result<Piece>> + Send {
    stream::try_unfold((0, finished), move |(index, mut finished)| async move {
        let chunk = finished.chunks.take(index).await?;
        Ok(chunk.map(|chunk| (Piece { task, chunk }, (index + 1, finished))))
    })
}

/// How many tasks may be there that are not consumed. The rows of those that write are large, and
/// held for as long: all of them must find room, beside what others hold.
fn places(fragment: &Fragment, settings: &Settings) -> usize {
    let most = settings.scheduler.max_tasks_ahead;
    let most = match &fragment.source {
        Source::Rows(_) if fragment.plan.is::<WriteExec>() => {
            let slices = settings.blob_bytes / 2 / (settings.write_slice_bytes as u64).max(1);
            most.min(usize::try_from(slices).unwrap_or(usize::MAX))
        }
        Source::Rows(_) | Source::Slices(_) | Source::Shuffle => most,
    };
    most.max(1)
}

/// What the tasks of a fragment are. A shuffle has something to do for as many workers as its
/// largest input has partitions.
fn kind(fragment: &Fragment) -> StageKind {
    match &fragment.source {
        Source::Shuffle => {
            let partitions = shuffled_partitions(&fragment.plan);
            StageKind::Shuffle { workers: u32::try_from(partitions).unwrap_or(u32::MAX) }
        }
        Source::Rows(_) | Source::Slices(_) => StageKind::Work,
    }
}

/// What the tasks of a stage are made of.
enum Input {
    /// Chains over slices of their input, and what collects their keys.
    Slices(Arc<[Chain]>, (Vec<KeySet>, Arc<TaskContext>)),
    /// A fragment over rows that come.
    Rows(Arc<dyn ExecutionPlan>, SendableRecordBatchStream),
    /// A fragment that one task runs as a whole, with others.
    Shuffle(Arc<dyn ExecutionPlan>),
}

/// Adds the tasks of a stage.
struct Feeder {
    context: Arc<JobContext>,
    /// Its number in the plan.
    stage: u32,
    handle: StageHandle,
    discard: bool,
    /// Whether the tasks only collect keys for others.
    collects: bool,
    places: Arc<Semaphore>,
    tx: mpsc::UnboundedSender<Fed>,
    /// The tasks that were done in an earlier run.
    before: Option<DoneBefore>,
    next: u32,
}

impl Feeder {
    async fn run(mut self, input: Input) {
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
                    self.add_rows(plan, &std::mem::take(&mut batches)).await?;
                    (pending_rows, bytes) = (0, 0);
                }
            }
        }
        if pending_rows > 0 { self.add_rows(plan, &batches).await } else { Ok(()) }
    }

    async fn feed_shuffle(&mut self, fragment: &Arc<dyn ExecutionPlan>) -> Result<()> {
        let plan = self.hold_plan(fragment)?;
        let (batch_rows, peers) = (self.context.batch_rows, Vec::new());
        self.add_work(Work::Shuffle { plan, peers, batch_rows, discard: self.discard }).await
    }

    async fn add_rows(&mut self, plan: BlobId, batches: &[RecordBatch]) -> Result<()> {
        let Some(first) = batches.first() else { return Ok(()) };
        let stream = ipc::encode_all(&first.schema(), batches)?;
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
