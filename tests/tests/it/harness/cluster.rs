//! Clusters of real processes.

use anyhow::{Context, Result};
use keyloom_client::{Session, Settings};
use keyloom_common::rpc::PeerSecurity;

use super::{Daemon, Keys, eventually};

/// A coordinator and workers as processes. They end when this is dropped, or when the process of
/// the tests ends, however it ends.
#[derive(Debug)]
pub(crate) struct Cluster {
    pub(crate) address: String,
    pub(crate) coordinator: Daemon,
    pub(crate) workers: Vec<Daemon>,
    /// What its own sessions connect with.
    security: PeerSecurity,
}

impl Cluster {
    /// Workers of two slots each, all registered.
    pub(crate) async fn start(workers: usize) -> Result<Self> {
        Self::start_with(workers, &[], &[]).await
    }

    /// The same with environments (`KEYLOOM_COORDINATOR_…`, `KEYLOOM_WORKER_…`).
    pub(crate) async fn start_with(
        workers: usize,
        coordinator_env: &[(&str, &str)],
        worker_env: &[(&str, &str)],
    ) -> Result<Self> {
        Self::start_at("127.0.0.1:0", workers, coordinator_env, worker_env).await
    }

    /// The same, reached at this address, also if that is no loopback.
    pub(crate) async fn start_at(
        listen: &str,
        workers: usize,
        coordinator_env: &[(&str, &str)],
        worker_env: &[(&str, &str)],
    ) -> Result<Self> {
        let arguments = ["--insecure-listen", "--listen", listen];
        let mut coordinator = Daemon::start("keyloom-coordinator", &arguments, coordinator_env)?;
        let address = coordinator.line_with("tcp://")?;
        let start = |_| start_worker(&address, worker_env);
        let workers = (0..workers).map(start).collect::<Result<Vec<_>>>()?;
        let security = PeerSecurity::default();
        let cluster = Self { address, coordinator, workers, security };
        cluster.wait_for_workers(cluster.workers.len()).await?;
        Ok(cluster)
    }

    /// One that lets nobody in but those who have keys of it.
    pub(crate) async fn start_with_keys(
        workers: usize,
        keys: &Keys,
        coordinator_env: &[(&str, &str)],
        worker_env: &[(&str, &str)],
    ) -> Result<Self> {
        keys.write("coordinator.toml", &keys.coordinator_settings())?;
        let config = keys.path("coordinator.toml").to_string_lossy().into_owned();
        let arguments = ["--listen", "127.0.0.1:0", "--config", &config];
        let mut coordinator = Daemon::start("keyloom-coordinator", &arguments, coordinator_env)?;
        let address = coordinator.line_with(keys.scheme())?;
        let start = |_| start_worker_with_keys(&address, keys, worker_env);
        let workers = (0..workers).map(start).collect::<Result<Vec<_>>>()?;
        let cluster = Self { address, coordinator, workers, security: keys.role("operator") };
        cluster.wait_for_workers(cluster.workers.len()).await?;
        Ok(cluster)
    }

    /// Ends the worker that started first, and starts another one.
    pub(crate) async fn restart_a_worker(&mut self) -> Result<()> {
        drop(self.workers.remove(0));
        self.wait_for_workers(self.workers.len()).await?;
        self.workers.push(start_worker(&self.address, &[])?);
        self.wait_for_workers(self.workers.len()).await
    }

    /// Waits until exactly so many workers are registered.
    pub(crate) async fn wait_for_workers(&self, workers: usize) -> Result<()> {
        let settings = Settings { security: self.security.clone(), ..Settings::default() };
        let session = Session::connect_with(&self.address, settings).await?;
        let registered = async || Ok(session.workers().await?.len());
        let registered = eventually(registered, |registered| *registered == workers).await;
        registered.map(drop).with_context(|| {
            let daemons = self.workers.iter().chain([&self.coordinator]);
            daemons.map(Daemon::log).collect::<Vec<_>>().join("\n")
        })
    }
}

/// A worker of two slots.
fn start_worker(coordinator: &str, env: &[(&str, &str)]) -> Result<Daemon> {
    Daemon::start("keyloom-worker", &["--coordinator", coordinator, "--slots", "2"], env)
}

/// The same with keys of its cluster, which it gets by a file of settings.
pub(crate) fn start_worker_with_keys(
    coordinator: &str,
    keys: &Keys,
    env: &[(&str, &str)],
) -> Result<Daemon> {
    keys.write("worker.toml", &keys.worker_settings())?;
    let config = keys.path("worker.toml").to_string_lossy().into_owned();
    let arguments = ["--coordinator", coordinator, "--slots", "2", "--config", &config];
    Daemon::start("keyloom-worker", &arguments, env)
}
