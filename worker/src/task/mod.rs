//! Running one piece of work: a fragment, or a look at a store or an input.

mod fragment;
mod fragments;
mod operators;
mod part;
mod resumed;
mod rounds;
mod scrape;
#[cfg(test)]
mod tests;
mod underway;

use std::{future::Future, sync::Arc};

use datafusion::{
    execution::{
        TaskContext,
        runtime_env::{RuntimeEnv, RuntimeEnvBuilder},
    },
    physical_plan::ExecutionPlan,
    prelude::{SessionConfig, SessionContext},
};
use keyloom_common::{
    AttemptId, JobId, Result, StageId, TaskId,
    functions::OctetLength,
    memory::MemoryBudget,
    misses::{MissPolicy, share},
    plan::{FragmentRuntimeHandle, Slice, Telling, with_slice},
    rpc::{Chunk, TaskReport, Work},
    spill_folder::{SpillFolder, disk_manager},
    store::ResolvedStore,
};
use tokio_util::sync::CancellationToken;

use crate::{
    access::Access,
    input::Inputs,
    lookup::{Direct, LookupSettings},
    metrics::Metrics,
    object_stores::ObjectStores,
    output::Outputs,
    settings::{Memory, Settings},
    shuffle::{Part, Shuffled, Shuffles, run_alone},
    store::{BlobSource, OpenStores, Patience, StoreEnv},
};
use fragment::{Out, Runtime};
use fragments::Fragments;
use operators::Operators;
use underway::Counted;
pub(crate) use underway::Underway;

/// Stands for the attempts of shuffles at the workers that take part: their operators hand in
/// nothing by that name.
const SHUFFLED: AttemptId = AttemptId {
    task: TaskId { stage: StageId { job: JobId::from_u128(0), index: 0 }, index: 0 },
    number: 0,
};

/// What runs tasks: open stores, object stores, functions. Shared by all tasks of a worker.
#[derive(Clone, Debug)]
pub struct Tasks {
    shared: TasksShared,
    blobs: Arc<dyn BlobSource>,
    in_process: bool,
    /// Its part in shuffles, if it has one.
    shuffles: Option<Arc<Shuffles>>,
    underway: Underway,
}

/// The part that workers in one process share.
#[derive(Clone, Debug)]
pub struct TasksShared {
    settings: Arc<Settings>,
    metrics: Arc<Metrics>,
    memory: Memory,
    /// What rows take that go out.
    rows_out: MemoryBudget,
    stores: Arc<OpenStores>,
    inputs: Arc<Inputs>,
    outputs: Arc<Outputs>,
    fragments: Arc<Fragments>,
    /// Where functions are found.
    functions: Arc<TaskContext>,
    runtime: Arc<RuntimeEnv>,
    _spill: Arc<Option<SpillFolder>>,
}

impl TasksShared {
    /// Prepares to run tasks. Memory stores' contents are read through `blobs`.
    ///
    /// # Errors
    /// `invalid` if temporary files cannot be written where the settings say, or if `access` says
    /// what is no rule.
    pub fn new(settings: Settings, blobs: Arc<dyn BlobSource>) -> Result<Self> {
        let settings = settings.fitted();
        let memory = settings.memory();
        let rows_out = memory.commons.budget().part("all", u64::MAX);
        let metrics = Metrics::new(settings.lookup.counted_stores);
        let spill = SpillFolder::create_if_possible(settings.spill_folder.as_deref())?;
        let runtime = RuntimeEnvBuilder::new()
            .with_memory_pool(Arc::new(Operators::within(&memory)))
            .with_disk_manager_builder(disk_manager(spill.as_ref()))
            .build_arc()?;
        let profiles = settings.store.storage_profiles.clone();
        let access = Access::new(&settings.access, settings.own_files())?;
        let store = settings.store.clone();
        let stores = StoreEnv::limited(&memory.commons, store, access.clone(), blobs);
        let stores = Arc::new(OpenStores::new(stores).timed(&metrics.lookups));
        let objects = ObjectStores::new(profiles, Patience::of(&settings.store)).limited(access);
        let objects = Arc::new(objects);
        let inputs = Inputs::new(Arc::clone(&objects), Arc::clone(&stores), Arc::clone(&runtime));
        let inputs = Arc::new(inputs);
        let output = settings.output.clone();
        let outputs = Outputs::new(objects, Arc::clone(&stores), &memory.commons, output);
        let outputs = Arc::new(outputs);
        let functions = SessionContext::new();
        OctetLength::register(&functions);
        let functions = functions.task_ctx();
        let cached = settings.fragment_cache_bytes;
        let fragments = Fragments::new(cached, Arc::clone(&functions));
        let fragments = Arc::new(fragments);
        let (settings, spill) = (Arc::new(settings), Arc::new(spill));
        Ok(Self {
            settings,
            metrics,
            memory,
            rows_out,
            stores,
            inputs,
            outputs,
            fragments,
            functions,
            runtime,
            _spill: spill,
        })
    }

    /// What is counted.
    pub(crate) fn meter(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// Opens a store for lookups without a plan.
    ///
    /// # Errors
    /// If it cannot be opened.
    pub async fn direct(&self, store: &Arc<ResolvedStore>) -> Result<Direct> {
        Ok(Direct::new(self.stores.get(store).await?, self.settings.lookup.clone()))
    }
}

impl Tasks {
    /// Runs tasks whose own rows are read through `blobs`, for a coordinator that may be in this
    /// process.
    pub fn new(shared: TasksShared, blobs: Arc<dyn BlobSource>, in_process: bool) -> Self {
        Self { shared, blobs, in_process, shuffles: None, underway: Underway::default() }
    }

    /// How far the attempts are that run now.
    pub(crate) fn underway(&self) -> &Underway {
        &self.underway
    }

    /// What is counted.
    pub(crate) fn meter(&self) -> &Arc<Metrics> {
        self.shared.meter()
    }

    /// The same, where this is the worker's part in shuffles.
    #[must_use]
    pub fn with_shuffles(self, shuffles: Option<Arc<Shuffles>>) -> Self {
        Self { shuffles, ..self }
    }

    /// What the worker's part in shuffles is run with.
    pub(crate) fn part(&self) -> Part {
        let tasks = self.clone();
        let equip = move |config, batch_rows| {
            let key_report_bytes = tasks.shared.settings.lookup.key_report_bytes;
            let (misses, counted) = (MissPolicy::default(), Counted::new(SHUFFLED, None));
            tasks.equip(config, &Arc::new(counted), batch_rows, misses, key_report_bytes)
        };
        Part {
            equip: Arc::new(equip),
            runtime: Arc::clone(&self.shared.runtime),
            memory: self.shared.memory.clone(),
            functions: Arc::clone(&self.shared.functions),
            counts: self.meter().shuffles.clone(),
            totals: self.meter().shuffled.clone(),
            telling: self.telling(),
        }
    }

    /// How it is told what the operators of shuffles count.
    fn telling(&self) -> Telling {
        let metrics = Arc::clone(self.meter());
        Telling {
            key_bytes: self.shared.settings.lookup.key_report_bytes,
            ended: Arc::new(move |nodes| nodes.iter().for_each(|node| metrics.count_node(node))),
        }
    }

    /// Runs a piece of work, as this attempt. A fragment's rows go out through `deliver`, chunk by
    /// chunk; the next chunk is made when the one before was taken. `computed` is cancelled when
    /// nothing is left but to wait until what it writes is stored, if that is before its end.
    ///
    /// # Errors
    /// Whatever stands in the way of a complete result.
    pub async fn run<F>(
        &self,
        attempt: AttemptId,
        work: Work,
        computed: &CancellationToken,
        deliver: impl Fn(u32, Chunk) -> F + Send + Sync,
    ) -> Result<TaskReport>
    where
        F: Future<Output = Result<()>> + Send,
    {
        let (shared, metrics) = (&self.shared, self.meter());
        let deliver = |sequence, chunk: Chunk| {
            metrics.output_bytes.inc_by(chunk.sent_bytes());
            deliver(sequence, chunk)
        };
        match work {
            Work::Fragment { plan, slice, batch_rows, discard, misses } => {
                let slice = Slice::decode(&slice.into_bytes())?;
                let fragment = shared.fragments.get(plan, self.blobs.as_ref()).await?;
                let plan = with_slice(&fragment, slice)?;
                let running = self.underway.begin(attempt, Some(Arc::clone(&plan)), computed);
                let _counted = metrics.count_plan(&plan);
                let key_report_bytes = shared.settings.lookup.key_report_bytes;
                let share = share(&plan, key_report_bytes);
                let context = self.context(&running.counted, batch_rows, misses, share);
                let out = self.out(&running.counted, discard, key_report_bytes);
                let report = fragment::run(&plan, &context, out, deliver).await?;
                if let TaskReport::Rows { rows, .. } = &report {
                    metrics.output_rows.inc_by(*rows);
                }
                Ok(report)
            }
            Work::Shuffle { plan, peers, batch_rows, discard } => {
                let plan = shared.fragments.get(plan, self.blobs.as_ref()).await?;
                let running = self.underway.begin(attempt, None, computed);
                let shuffled = self.shuffled(&running.counted, &plan, &peers, batch_rows).await?;
                let Shuffled { batches, counted: told } = shuffled;
                let out = self.out(&running.counted, discard, 0);
                let (chunks, rows) =
                    fragment::hand_in(&plan.schema(), batches, out, deliver).await?;
                metrics.output_rows.inc_by(rows);
                // After the last row: by then all who ran a part of it have told what they counted.
                let (metrics, lookups) = told.take();
                Ok(TaskReport::Rows { chunks, rows, metrics, lookups })
            }
            Work::DescribeStore(spec) => shared.stores.describe(&spec).await.map(TaskReport::Store),
            Work::DescribeInput(spec, known) => {
                shared.inputs.describe(&spec, known).await.map(TaskReport::Input)
            }
            Work::PrepareOutput(planned, known) => {
                let known = known.into_iter().collect();
                shared.outputs.inspect(planned, &known).await.map(TaskReport::Prepared)
            }
            Work::CommitOutput(written) => {
                let committed = shared.outputs.commit(written, self.blobs.as_ref()).await;
                committed.map(TaskReport::Committed)
            }
            Work::AbortOutput(written) => {
                shared.outputs.abort(written, self.blobs.as_ref()).await?;
                Ok(TaskReport::Aborted)
            }
            Work::CheckResumed(resumed) => self.check_resumed(resumed).await,
        }
    }

    /// How the rows of an attempt go out.
    fn out<'a>(&'a self, counted: &'a Counted, discard: bool, key_report_bytes: u64) -> Out<'a> {
        let (in_process, memory) = (self.in_process, &self.shared.rows_out);
        let chunk_bytes = self.shared.settings.rpc.chunk_bytes;
        Out { in_process, chunk_bytes, discard, key_report_bytes, memory, counted }
    }

    /// The rows of a plan that shuffles them among workers; of one that is run alone, where no two
    /// workers can.
    async fn shuffled(
        &self,
        counted: &Arc<Counted>,
        plan: &Arc<dyn ExecutionPlan>,
        peers: &[String],
        batch_rows: u32,
    ) -> Result<Shuffled> {
        match &self.shuffles {
            Some(shuffles) if peers.len() > 1 => {
                shuffles.run(plan, peers, self.part(), batch_rows).await
            }
            _ => {
                if peers.len() > 1 {
                    tracing::warn!(
                        "runs a shuffle alone that others could share: shuffle.listen is not set"
                    );
                }
                let settings = &self.shared.settings;
                let key_report_bytes = settings.lookup.key_report_bytes;
                let misses = MissPolicy::default();
                let context = self.context(counted, batch_rows, misses, key_report_bytes);
                run_alone(plan, &settings.shuffle, self.telling(), &context)
            }
        }
    }

    /// What a task runs in, each of whose fetches may tell so many bytes of its keys. The functions
    /// of its fragment have been found.
    fn context(
        &self,
        counted: &Arc<Counted>,
        batch_rows: u32,
        misses: MissPolicy,
        key_report_bytes: u64,
    ) -> Arc<TaskContext> {
        let config = SessionConfig::new();
        let config = self.equip(config, counted, batch_rows, misses, key_report_bytes);
        let runtime = Arc::clone(&self.shared.runtime);
        Arc::new(TaskContext::default().with_session_config(config).with_runtime(runtime))
    }

    /// A session's configuration, with what operators find in it.
    fn equip(
        &self,
        config: SessionConfig,
        counted: &Arc<Counted>,
        batch_rows: u32,
        misses: MissPolicy,
        key_report_bytes: u64,
    ) -> SessionConfig {
        let runtime = Runtime {
            counted: Arc::clone(counted),
            stores: Arc::clone(&self.shared.stores),
            inputs: Arc::clone(&self.shared.inputs),
            outputs: Arc::clone(&self.shared.outputs),
            blobs: Arc::clone(&self.blobs),
            lookup: LookupSettings { key_report_bytes, ..self.shared.settings.lookup.clone() },
            windows: self.shared.memory.windows.clone(),
            misses,
        };
        let mut config = config
            .with_batch_size(batch_rows as usize)
            .with_extension(Arc::new(FragmentRuntimeHandle(Arc::new(runtime))));
        // What it finds would be shared by all tasks of the fragment, and no scan asks for it.
        config.options_mut().optimizer.enable_aggregate_dynamic_filter_pushdown = false;
        config
    }
}
