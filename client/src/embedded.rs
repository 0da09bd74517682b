//! A cluster within the process: a coordinator and workers on a runtime of their own.
//!
//! The workers share their open stores, as they share the memory that these take.

use std::{num::NonZeroUsize, sync::Arc, thread::available_parallelism};

use async_trait::async_trait;
use keyloom_common::{
    Error, Result,
    rpc::{ClientApiClient, WorkerApiClient},
};
use keyloom_coordinator::{Coordinator, Local};
use keyloom_worker::{Agent, Dial, TasksShared, agent::CoordinatorBlobs};
use tokio::runtime::{Builder, Handle, Runtime};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::settings::EmbeddedSettings;

/// A coordinator and workers in this process. Dropping it stops them.
#[derive(Debug)]
pub(crate) struct Embedded {
    local: Local,
    runtime: Option<Runtime>,
    _stop: DropGuard,
}

#[derive(Debug)]
struct LocalDial(Local);

#[async_trait]
impl Dial for LocalDial {
    async fn dial(&self) -> Result<WorkerApiClient> {
        Ok(self.0.worker())
    }
}

impl Embedded {
    pub(crate) fn start(settings: EmbeddedSettings) -> Result<Self> {
        let workers = settings
            .workers
            .unwrap_or_else(|| available_parallelism().map_or(1, NonZeroUsize::get));
        let runtime = Builder::new_multi_thread()
            .thread_name("keyloom")
            .worker_threads(workers.max(available_parallelism().map_or(1, NonZeroUsize::get)))
            .enable_all()
            .build()
            .map_err(|error| Error::resource_exhausted(format!("no threads: {error}")))?;
        let entered = runtime.enter();
        let local = Coordinator::start(settings.coordinator).local();
        let dial: Arc<dyn Dial> = Arc::new(LocalDial(local.clone()));
        let blobs = CoordinatorBlobs::new(Arc::clone(&dial), settings.worker.rpc.clone());
        let tasks = TasksShared::new(settings.worker.clone(), Arc::new(blobs))?;
        let stop = CancellationToken::new();
        for index in 0..workers.max(1) {
            let agent = Agent {
                name: format!("embedded-{index}"),
                slots: 1,
                settings: settings.worker.clone(),
                dial: Arc::clone(&dial),
                tasks: tasks.clone(),
            };
            runtime.spawn(agent.run(stop.clone()));
        }
        drop(entered);
        Ok(Self { local, runtime: Some(runtime), _stop: stop.drop_guard() })
    }

    pub(crate) fn handle(&self) -> Option<&Handle> {
        self.runtime.as_ref().map(Runtime::handle)
    }

    /// A connection to the coordinator.
    pub(crate) fn client(&self) -> ClientApiClient {
        let _entered = self.handle().map(Handle::enter);
        self.local.client()
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // Waiting is not allowed here if the session is dropped within another runtime.
            runtime.shutdown_background();
        }
    }
}
