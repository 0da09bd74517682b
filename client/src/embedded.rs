//! A cluster within the process: a coordinator and workers on a runtime of their own.
//!
//! The workers share their open stores, as they share the memory that these take.

use std::{num::NonZeroUsize, sync::Arc, thread::available_parallelism};

use async_trait::async_trait;
use keyloom_common::{
    Result,
    background::Background,
    rpc::{ClientApiClient, WorkerApiClient},
};
use keyloom_coordinator::{Coordinator, Local};
use keyloom_worker::{Agent, Dial, TasksShared, agent::CoordinatorBlobs};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::settings::EmbeddedSettings;

/// A coordinator and workers in this process. Dropping it stops them.
#[derive(Debug)]
pub(crate) struct Embedded {
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
    pub(crate) fn start(settings: EmbeddedSettings) -> Result<Self> {
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
            };
            background.handle().spawn(agent.run(stop.clone()));
        }
        drop(entered);
        Ok(Self { local, tasks, background, _stop: stop.drop_guard() })
    }

    /// What the workers share.
    pub(crate) fn tasks(&self) -> &TasksShared {
        &self.tasks
    }

    pub(crate) fn background(&self) -> &Background {
        &self.background
    }

    /// A connection to the coordinator.
    pub(crate) fn client(&self) -> ClientApiClient {
        let _entered = self.background.handle().enter();
        self.local.client()
    }
}
