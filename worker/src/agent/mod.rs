//! A worker's life: connect to a coordinator, register, take orders, run them, hand in the output.
//!
//! A life ends when either connection ends; all its tasks end with it, and the next life registers
//! under a new id. Heartbeats have a thread, a runtime and a connection of their own: a worker that
//! is busy still says that it lives. A worker whose threads hang ends its life, and begins none
//! before one of them does something again.
//!
//! A worker that is told to stop asks for no new tasks, obeys what orders are on their way, and
//! leaves when the coordinator says that it holds nothing any more.

mod blobs;
mod heartbeat;
mod orders;
mod pulse;
mod running;

use std::{fmt::Debug, sync::Arc};

use async_trait::async_trait;
use keyloom_common::{
    ErrorKind, Result, WorkerId,
    rpc::{Limits, WorkerApiClient, WorkerInfo, connect, handshake::Role},
};
use tokio_util::sync::CancellationToken;

use crate::{settings::Settings, task::TasksShared};

pub use blobs::CoordinatorBlobs;

/// How a worker reaches its coordinator.
#[async_trait]
pub trait Dial: Debug + Send + Sync {
    /// Opens a connection.
    ///
    /// # Errors
    /// `unavailable` if the coordinator cannot be reached now; `invalid` if it never will be.
    async fn dial(&self) -> Result<WorkerApiClient>;

    /// Whether the coordinator is in this process: rows then go there as they are.
    fn in_process(&self) -> bool {
        false
    }
}

/// Reaches a coordinator over TCP.
#[derive(Clone, Debug)]
pub struct TcpDial {
    /// `tcp://HOST:PORT`.
    pub address: String,
    /// Bounds of the connection.
    pub limits: Limits,
}

#[async_trait]
impl Dial for TcpDial {
    async fn dial(&self) -> Result<WorkerApiClient> {
        let transport = connect(&self.address, Role::Worker, &self.limits).await?;
        Ok(WorkerApiClient::new(tarpc::client::Config::default(), transport).spawn())
    }
}

/// A worker.
#[derive(Clone, Debug)]
pub struct Agent {
    /// For people: host and process.
    pub name: String,
    /// How many tasks it runs at once.
    pub slots: u32,
    /// Its settings.
    pub settings: Settings,
    /// How it reaches its coordinator.
    pub dial: Arc<dyn Dial>,
    /// What it runs tasks with.
    pub tasks: TasksShared,
}

impl Agent {
    /// Works until the token is cancelled; then it lets running tasks end, within a bound.
    ///
    /// # Errors
    /// `invalid` if the coordinator refuses this build. A coordinator that is not there is waited
    /// for.
    pub async fn run(self, shutdown: CancellationToken) -> Result<()> {
        let mut failures = 0;
        loop {
            tokio::select! {
                () = threads_work() => {}
                () = shutdown.cancelled() => return Ok(()),
            }
            let info =
                WorkerInfo { id: WorkerId::new(), name: self.name.clone(), slots: self.slots };
            let worker = info.id;
            match orders::live(&self, info, &shutdown, &mut failures).await {
                Ok(()) => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Invalid => return Err(error),
                Err(error) if shutdown.is_cancelled() => {
                    tracing::warn!(%worker, %error, "stopped without a coordinator");
                    return Ok(());
                }
                Err(error) => tracing::warn!(%worker, %error, "no coordinator; trying again"),
            }
            let rest = self.settings.reconnect(failures);
            failures += 1;
            tokio::select! {
                () = tokio::time::sleep(rest) => {}
                () = shutdown.cancelled() => return Ok(()),
            }
        }
    }
}

/// Waits until a thread of the runtime does something: the one that this is polled on may be apart
/// from those that run tasks.
async fn threads_work() {
    // It only fails where the runtime ends, and all with it.
    let _ = tokio::spawn(async {}).await;
}
