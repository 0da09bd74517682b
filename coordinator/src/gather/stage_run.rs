//! One run of a fragment: its tasks are added, and their outputs come back in task order.

mod feeder;

use std::{collections::BTreeMap, sync::Arc};

use datafusion::{execution::TaskContext, physical_plan::execute_stream};
use futures::{Stream, StreamExt, stream};
use keyloom_common::{Error, Result, TaskId, output::WriteExec, rpc::Chunk, trace::TraceParent};
use keyloom_planner::{Fragment, Source, shuffled_partitions};
use tokio::sync::{Semaphore, mpsc};
use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument;

use super::{
    context::JobContext,
    held::HeldBlob,
    kept::Keeping,
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
use feeder::{Fed, Feeder, Input};

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

impl StageRun {
    /// Starts the tasks of a fragment. With `discard`, workers drop their rows.
    pub(super) fn start(
        fragment: &Fragment,
        discard: bool,
        task_context: &Arc<TaskContext>,
    ) -> Result<Self> {
        let context = JobContext::of(task_context)?;
        let Fragment { stage, plan, collects, .. } = fragment;
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
        let feeding = feeder.run(input(fragment, task_context)?);
        let feeding = feeding.instrument(context.span.clone());
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

/// What the tasks of a fragment are made of.
fn input(fragment: &Fragment, task_context: &Arc<TaskContext>) -> Result<Input> {
    let plan = &fragment.plan;
    Ok(match &fragment.source {
        Source::Slices(chains) => {
            let key_sets = (fragment.key_sets.clone(), Arc::clone(task_context));
            Input::Slices(Arc::clone(chains), key_sets)
        }
        Source::Rows(rows) => {
            let rows = execute_stream(Arc::clone(rows), Arc::clone(task_context))?;
            Input::Rows(Arc::clone(plan), rows)
        }
        Source::Shuffle => Input::Shuffle(Arc::clone(plan)),
    })
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
