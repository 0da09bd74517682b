//! A cluster within the process: a coordinator and workers on a runtime of their own.
//!
//! The workers share their open stores, as they share the memory that these take. All that the
//! client takes of the coordinator and of the worker is in this room, which the feature `embedded`
//! brings: nothing outside of it names them.

mod new_store;
mod session;
mod settings;
mod validate;

use std::{num::NonZeroUsize, sync::Arc, thread::available_parallelism};

use arrow::array::ArrayRef;
use async_trait::async_trait;
use keyloom_common::{
    Result,
    background::Background,
    lookup::Fetch,
    rpc::{ClientApiClient, WorkerApiClient},
    store::ResolvedStore,
};
use keyloom_coordinator::{Coordinator, Local};
use keyloom_worker::{Agent, Dial, Direct, TasksShared, agent::CoordinatorBlobs};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::peer::{LocalStore, LocalWorkers, Peer};

pub use new_store::NewStore;
pub use settings::EmbeddedSettings;

/// A coordinator and workers in this process. Dropping it stops them.
#[derive(Debug)]
struct Embedded {
    local: Local,
    tasks: TasksShared,
    background: Background,
    _stop: DropGuard,
}

#[derive(Debug)]
struct LocalDial(Local);

#[async_trait]
impl Dial for LocalDial {
    async fn dial(&self) -> Result<WorkerApiClient> {
        Ok(self.0.worker())
    }

    fn in_process(&self) -> bool {
        true
    }
}

impl Embedded {
    fn start(settings: EmbeddedSettings) -> Result<Self> {
        let workers = settings
            .workers
            .unwrap_or_else(|| available_parallelism().map_or(1, NonZeroUsize::get));
        let threads = workers.max(available_parallelism().map_or(1, NonZeroUsize::get));
        let background = Background::start("keyloom", threads)?;
        let entered = background.handle().enter();
        let local = Coordinator::start(settings.coordinator)?.local();
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
                // In one process, rows are not sent around.
                shuffles: None,
            };
            background.handle().spawn(agent.run(stop.clone()));
        }
        drop(entered);
        Ok(Self { local, tasks, background, _stop: stop.drop_guard() })
    }

    /// A connection to the coordinator.
    fn client(&self) -> ClientApiClient {
        let _entered = self.background.handle().enter();
        self.local.client()
    }
}

#[async_trait]
impl Peer for Embedded {
    async fn dial(&self) -> Result<ClientApiClient> {
        Ok(self.client())
    }

    fn background(&self) -> &Background {
        &self.background
    }

    fn address(&self) -> Option<&str> {
        None
    }

    fn workers(&self) -> Option<&dyn LocalWorkers> {
        Some(&self.tasks)
    }
}

#[async_trait]
impl LocalWorkers for TasksShared {
    async fn open(&self, store: &Arc<ResolvedStore>) -> Result<Box<dyn LocalStore>> {
        Ok(Box::new(self.direct(store).await?))
    }
}

#[async_trait]
impl LocalStore for Direct {
    async fn answers(&self, fetch: Arc<Fetch>, keys: &ArrayRef) -> Result<ArrayRef> {
        // Its own method, and not this one again.
        Direct::answers(self, fetch, keys).await
    }
}
