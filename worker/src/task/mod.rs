//! Running one piece of work: a fragment, or a look at a store or an input.

mod fragment;
mod operators;

use std::{future::Future, sync::Arc};

use datafusion::{
    execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder},
    prelude::{SessionConfig, SessionContext},
};
use keyloom_common::{
    Result,
    functions::OctetLength,
    plan::FragmentRuntimeHandle,
    rpc::{Chunk, TaskOutput, Work},
    spill_folder::{SpillFolder, disk_manager},
    store::ResolvedStore,
};

use crate::{
    input::Inputs,
    lookup::Direct,
    settings::{Memory, Settings},
    store::{BlobSource, OpenStores, StoreEnv},
};
use fragment::{Out, Runtime};
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
    memory: Memory,
    stores: Arc<OpenStores>,
    inputs: Arc<Inputs>,
    runtime: Arc<RuntimeEnv>,
    _spill: Arc<Option<SpillFolder>>,
}

impl TasksShared {
    /// Prepares to run tasks. Memory stores' contents are read through `blobs`.
    ///
    /// # Errors
    /// `invalid` if temporary files cannot be written where the settings say.
    pub fn new(settings: Settings, blobs: Arc<dyn BlobSource>) -> Result<Self> {
        let settings = settings.fitted();
        let memory = settings.memory();
        let spill = SpillFolder::create_if_possible(settings.spill_folder.as_deref())?;
        let runtime = RuntimeEnvBuilder::new()
            .with_memory_pool(Arc::new(Operators::within(&memory)))
            .with_disk_manager_builder(disk_manager(spill.as_ref()))
            .build_arc()?;
        let profiles = settings.store.storage_profiles.clone();
        let stores = StoreEnv::within(&memory.commons, settings.store.clone(), blobs);
        let stores = Arc::new(OpenStores::new(stores));
        let inputs = Inputs::new(profiles, Arc::clone(&stores), Arc::clone(&runtime));
        let inputs = Arc::new(inputs);
        let (settings, spill) = (Arc::new(settings), Arc::new(spill));
        Ok(Self { settings, memory, stores, inputs, runtime, _spill: spill })
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

    /// Runs a piece of work. A fragment's rows go out through `deliver`, chunk by chunk; the next
    /// chunk is made when the one before was taken.
    ///
    /// # Errors
    /// Whatever stands in the way of a complete result.
    pub async fn run<F>(
        &self,
        work: Work,
        deliver: impl Fn(u32, Chunk) -> F + Send + Sync,
    ) -> Result<TaskOutput>
    where
        F: Future<Output = Result<()>> + Send,
    {
        match work {
            Work::Fragment { plan, batch_rows, discard } => {
                let session = self.session(batch_rows);
                let chunk_bytes = self.shared.settings.rpc.chunk_bytes;
                let memory = self.shared.memory.commons.budget();
                let out = Out { in_process: self.in_process, chunk_bytes, discard, memory };
                fragment::run(plan.bytes(), &session.task_ctx(), out, deliver).await
            }
            Work::DescribeStore(spec) => {
                self.shared.stores.describe(&spec).await.map(TaskOutput::Store)
            }
            Work::DescribeInput(spec, known) => {
                self.shared.inputs.describe(&spec, known).await.map(TaskOutput::Input)
            }
        }
    }

    fn session(&self, batch_rows: u32) -> SessionContext {
        let runtime = Runtime {
            stores: Arc::clone(&self.shared.stores),
            inputs: Arc::clone(&self.shared.inputs),
            blobs: Arc::clone(&self.blobs),
            lookup: self.shared.settings.lookup.clone(),
            windows: self.shared.memory.windows.clone(),
        };
        let config = SessionConfig::new()
            .with_batch_size(batch_rows as usize)
            .with_extension(Arc::new(FragmentRuntimeHandle(Arc::new(runtime))));
        let session = SessionContext::new_with_config_rt(config, Arc::clone(&self.shared.runtime));
        OctetLength::register(&session);
        session
    }
}
