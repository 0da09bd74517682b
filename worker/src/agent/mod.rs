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
#[cfg(test)]
mod testing;

use std::{fmt::Debug, sync::Arc};

use async_trait::async_trait;
use keyloom_common::{
    ErrorKind, Result, WorkerId,
    rpc::{Credentials, Limits, WorkerApiClient, WorkerInfo, connect, handshake::Service},
};
use tokio_util::sync::CancellationToken;

use crate::{settings::Settings, shuffle::Shuffles, task::TasksShared};

pub use blobs::CoordinatorBlobs;

/// How a worker reaches its coordinator.
#[async_trait]
pub trait Dial: Debug + Send + Sync {
    /// Opens a connection.
    ///
    /// # Errors
    /// `unavailable` if the coordinator cannot be reached now; `invalid` if it never will be;
    /// `permission_denied` if one of both does not believe the other.
    async fn dial(&self) -> Result<WorkerApiClient>;

    /// Whether the coordinator is in this process: rows then go there as they are.
    fn in_process(&self) -> bool {
        false
    }
}

/// Reaches a coordinator over TCP.
#[derive(Clone, Debug)]
pub struct TcpDial {
    /// `tcp://HOST:PORT` or `tls://HOST:PORT`.
    pub address: String,
    /// Bounds of the connection.
    pub limits: Limits,
    /// What it shows of itself, and whom it believes.
    pub credentials: Credentials,
}

#[async_trait]
impl Dial for TcpDial {
    async fn dial(&self) -> Result<WorkerApiClient> {
        let Self { address, limits, credentials } = self;
        let transport = connect(address, Service::Worker, limits, credentials).await?;
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
    /// Its part in shuffles, if it has one.
    pub shuffles: Option<Arc<Shuffles>>,
}

/// The lives that a worker had before.
#[derive(Debug, Default)]
struct Past {
    /// How many were short, in a row.
    failures: u32,
    /// Whether a coordinator has ever let it in.
    registered: bool,
}

impl Past {
    /// Whether there is no use in another try.
    fn is_for_good(&self, kind: ErrorKind) -> bool {
        match kind {
            ErrorKind::Invalid => true,
            ErrorKind::PermissionDenied => !self.registered,
            _ => false,
        }
    }
}

impl Agent {
    /// Works until the token is cancelled; then it lets running tasks end, within a bound.
    ///
    /// # Errors
    /// `invalid` if the coordinator refuses this build, `permission_denied` if it does not let this
    /// worker in, and never has. A coordinator that is not there is waited for, and so is one that
    /// did let it in before: certificates and tokens are renewed on one side after the other.
    pub async fn run(self, shutdown: CancellationToken) -> Result<()> {
        let mut past = Past::default();
        let _slots = self.tasks.meter().slots(self.slots);
        loop {
            tokio::select! {
                () = threads_work() => {}
                () = shutdown.cancelled() => return Ok(()),
            }
            let info = WorkerInfo {
                id: WorkerId::new(),
                name: self.name.clone(),
                slots: self.slots,
                shuffle: self.shuffles.as_ref().map(|shuffles| shuffles.address().to_owned()),
            };
            let worker = info.id;
            match orders::live(&self, info, &shutdown, &mut past).await {
                Ok(()) => return Ok(()),
                Err(error) if past.is_for_good(error.kind()) => return Err(error),
                Err(error) if shutdown.is_cancelled() => {
                    tracing::warn!(%worker, %error, "stopped without a coordinator");
                    return Ok(());
                }
                Err(error) => tracing::warn!(%worker, %error, "no coordinator; trying again"),
            }
            let rest = self.settings.reconnect(past.failures);
            past.failures += 1;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_was_never_let_in_does_not_try_again() {
        let kinds = [ErrorKind::Invalid, ErrorKind::PermissionDenied, ErrorKind::Unavailable];
        let ends = |registered| {
            let past = Past { failures: 0, registered };
            kinds.map(|kind| past.is_for_good(kind))
        };
        assert_eq!(ends(false), [true, true, false]);
        assert_eq!(ends(true), [true, false, false]);
    }
}
