//! Running one piece of work: a fragment, or a look at a store or an input.

mod fragment;
mod fragments;
mod operators;
mod rounds;
mod scrape;

use std::{future::Future, sync::Arc};

use datafusion::{
    execution::{
        TaskContext,
        runtime_env::{RuntimeEnv, RuntimeEnvBuilder},
    },
    prelude::{SessionConfig, SessionContext},
};
use keyloom_common::{
    AttemptId, Result,
    functions::OctetLength,
    memory::MemoryBudget,
    misses::{MissPolicy, share},
    plan::{FragmentRuntimeHandle, Slice, with_slice},
    rpc::{Chunk, TaskReport, Work},
    spill_folder::{SpillFolder, disk_manager},
    store::ResolvedStore,
};

use crate::{
    access::Access,
    input::Inputs,
    lookup::{Direct, LookupSettings},
    metrics::Metrics,
    object_stores::ObjectStores,
    output::Outputs,
    settings::{Memory, Settings},
    store::{BlobSource, OpenStores, Patience, StoreEnv},
};
use fragment::{Out, Runtime};
use fragments::Fragments;
use operators::Operators;

/// What runs tasks: open stores, object stores, functions. Shared by all tasks of a worker.
#[derive(Clone, Debug)]
pub struct Tasks {
    shared: TasksShared,
    blobs: Arc<dyn BlobSource>,
    in_process: bool,
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
        let fragments = Fragments::new(settings.fragment_cache_bytes, functions.task_ctx());
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
        Self { shared, blobs, in_process }
    }

    /// What is counted.
    pub(crate) fn meter(&self) -> &Arc<Metrics> {
        self.shared.meter()
    }

    /// Runs a piece of work, as this attempt. A fragment's rows go out through `deliver`, chunk by
    /// chunk; the next chunk is made when the one before was taken.
    ///
    /// # Errors
    /// Whatever stands in the way of a complete result.
    pub async fn run<F>(
        &self,
        attempt: AttemptId,
        work: Work,
        deliver: impl Fn(u32, Chunk) -> F + Send + Sync,
    ) -> Result<TaskReport>
    where
        F: Future<Output = Result<()>> + Send,
    {
        match work {
            Work::Fragment { plan, slice, batch_rows, discard, misses } => {
                let slice = Slice::decode(&slice.into_bytes())?;
                let fragment = self.shared.fragments.get(plan, self.blobs.as_ref()).await?;
                let plan = with_slice(&fragment, slice)?;
                let metrics = self.meter();
                let _counted = metrics.count_plan(&plan);
                let chunk_bytes = self.shared.settings.rpc.chunk_bytes;
                let memory = &self.shared.rows_out;
                let key_report_bytes = self.shared.settings.lookup.key_report_bytes;
                let context =
                    self.context(attempt, batch_rows, misses, share(&plan, key_report_bytes));
                let in_process = self.in_process;
                let out = Out { in_process, chunk_bytes, discard, key_report_bytes, memory };
                let deliver = |sequence, chunk: Chunk| {
                    metrics.output_bytes.inc_by(chunk.sent_bytes());
                    deliver(sequence, chunk)
                };
                let report = fragment::run(&plan, &context, out, deliver).await?;
                if let TaskReport::Rows { rows, .. } = &report {
                    metrics.output_rows.inc_by(*rows);
                }
                Ok(report)
            }
            Work::DescribeStore(spec) => {
                self.shared.stores.describe(&spec).await.map(TaskReport::Store)
            }
            Work::DescribeInput(spec, known) => {
                self.shared.inputs.describe(&spec, known).await.map(TaskReport::Input)
            }
            Work::PrepareOutput(planned) => {
                self.shared.outputs.prepare(planned).await.map(TaskReport::Prepared)
            }
            Work::CommitOutput(written) => {
                let committed = self.shared.outputs.commit(written, self.blobs.as_ref()).await;
                committed.map(TaskReport::Committed)
            }
            Work::AbortOutput(written) => {
                self.shared.outputs.abort(written, self.blobs.as_ref()).await?;
                Ok(TaskReport::Aborted)
            }
        }
    }

    /// What a task runs in, each of whose fetches may tell so many bytes of its keys. The functions
    /// of its fragment have been found.
    fn context(
        &self,
        attempt: AttemptId,
        batch_rows: u32,
        misses: MissPolicy,
        key_report_bytes: u64,
    ) -> Arc<TaskContext> {
        let runtime = Runtime {
            attempt,
            stores: Arc::clone(&self.shared.stores),
            inputs: Arc::clone(&self.shared.inputs),
            outputs: Arc::clone(&self.shared.outputs),
            blobs: Arc::clone(&self.blobs),
            lookup: LookupSettings { key_report_bytes, ..self.shared.settings.lookup.clone() },
            windows: self.shared.memory.windows.clone(),
            misses,
        };
        let mut config = SessionConfig::new()
            .with_batch_size(batch_rows as usize)
            .with_extension(Arc::new(FragmentRuntimeHandle(Arc::new(runtime))));
        // What it finds would be shared by all tasks of the fragment, and no scan asks for it.
        config.options_mut().optimizer.enable_aggregate_dynamic_filter_pushdown = false;
        let runtime = Arc::clone(&self.shared.runtime);
        Arc::new(TaskContext::default().with_session_config(config).with_runtime(runtime))
    }
}
