//! Clusters of processes on this machine, for one measurement each.

use std::{
    fs::{self, File},
    path::PathBuf,
    process::Stdio,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use keyloom_client::{Session, Settings};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
};

use crate::{keys::Keys, process};

/// How long processes may take to start and register.
const START_TIMEOUT: Duration = Duration::from_secs(30);

const ANY_PORT: &str = "127.0.0.1:0";

/// A coordinator and its workers. They end when this is dropped.
#[derive(Debug)]
pub(crate) struct Cluster {
    address: String,
    coordinator: Child,
    workers: Vec<Child>,
    /// Those without which nobody is let in.
    keys: Option<Keys>,
    /// Whether its workers listen for each other.
    shuffles: bool,
    /// Where its processes log, if they do.
    logs: Option<TempDir>,
}

impl Cluster {
    /// Starts workers of so many slots and waits until all are registered.
    pub(crate) async fn start(workers: usize, slots: usize) -> Result<Self> {
        let mut cluster = Self::coordinator(&[]).await?;
        let address = cluster.address.clone();
        cluster.add_workers(workers, slots, &address).await?;
        Ok(cluster)
    }

    /// The same, with workers that listen for each other.
    pub(crate) async fn start_shuffling(workers: usize, slots: usize) -> Result<Self> {
        let mut cluster = Self { shuffles: true, ..Self::coordinator(&[]).await? };
        let address = cluster.address.clone();
        cluster.add_workers(workers, slots, &address).await?;
        Ok(cluster)
    }

    /// The same as `start`, with metrics over HTTP, and all that is logged by default, as JSON in
    /// files.
    pub(crate) async fn start_watched(workers: usize, slots: usize) -> Result<Self> {
        let logs = tempfile::tempdir()?;
        let settings = watched("KEYLOOM_COORDINATOR_HTTP__LISTEN");
        let coordinator = Self::coordinator_logging(&settings, Some(&logs)).await?;
        let mut cluster = Self { logs: Some(logs), ..coordinator };
        let address = cluster.address.clone();
        cluster.add_workers(workers, slots, &address).await?;
        Ok(cluster)
    }

    /// The same as `start`, with TLS and certificates on both sides of all connections.
    pub(crate) async fn start_secured(workers: usize, slots: usize) -> Result<Self> {
        let keys = Keys::make().await?;
        let settings = keys.settings("KEYLOOM_COORDINATOR_", "coordinator");
        let mut cluster =
            Self { keys: Some(keys), ..Self::coordinator(&borrowed(&settings)).await? };
        let address = cluster.address.clone();
        cluster.add_workers(workers, slots, &address).await?;
        Ok(cluster)
    }

    /// Starts a coordinator without workers. Its settings have the names of the environment.
    pub(crate) async fn coordinator(settings: &[(&str, &str)]) -> Result<Self> {
        Self::coordinator_logging(settings, None).await
    }

    async fn coordinator_logging(
        settings: &[(&str, &str)],
        logs: Option<&TempDir>,
    ) -> Result<Self> {
        let listen = ["--listen", ANY_PORT];
        let mut coordinator = daemon("keyloom-coordinator", &listen, settings, logs)?;
        let stdout = coordinator.stdout.take().context("stdout is piped")?;
        let line = BufReader::new(stdout).lines().next_line().await?;
        let address = line.context("the coordinator ended before it listened")?;
        Ok(Self {
            address,
            coordinator,
            workers: Vec::new(),
            keys: None,
            shuffles: false,
            logs: None,
        })
    }

    /// Starts workers of so many slots that reach the coordinator by an address, and waits until
    /// all are registered.
    pub(crate) async fn add_workers(
        &mut self,
        workers: usize,
        slots: usize,
        address: &str,
    ) -> Result<()> {
        let slots = slots.to_string();
        let arguments = ["--coordinator", address, "--slots", &slots];
        let settings = self.keys.as_ref().map(|keys| keys.settings("KEYLOOM_WORKER_", "worker"));
        let mut settings = settings.unwrap_or_default();
        if self.shuffles {
            settings.push(("KEYLOOM_WORKER_SHUFFLE__LISTEN".to_owned(), ANY_PORT.to_owned()));
        }
        let mut settings = borrowed(&settings);
        if self.logs.is_some() {
            settings.extend(watched("KEYLOOM_WORKER_HTTP__LISTEN"));
        }
        for _ in 0..workers {
            self.workers.push(daemon("keyloom-worker", &arguments, &settings, self.logs.as_ref())?);
        }
        self.wait_for_workers().await
    }

    async fn wait_for_workers(&self) -> Result<()> {
        let session = self.session(Settings::default()).await?;
        let start = Instant::now();
        while session.workers().await?.len() < self.workers.len() {
            ensure!(start.elapsed() < START_TIMEOUT, "the workers did not register");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    }

    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    pub(crate) async fn session(&self, settings: Settings) -> Result<Session> {
        let security = self.keys.as_ref().map(Keys::client).unwrap_or_default();
        let settings = Settings { security, ..settings };
        Ok(Session::connect_with(&self.address, settings).await?)
    }

    /// The most memory that the coordinator held, in bytes.
    pub(crate) fn coordinator_peak_bytes(&self) -> Result<u64> {
        process::peak_bytes(pid(&self.coordinator)?)
    }

    /// How many bytes its processes have logged, if they do.
    pub(crate) fn log_bytes(&self) -> Result<u64> {
        let Some(logs) = &self.logs else { return Ok(0) };
        fs::read_dir(logs.path())?.map(|log| Ok(log?.metadata()?.len())).sum()
    }

    /// The processor time that the coordinator has used, in seconds.
    pub(crate) fn coordinator_seconds(&self) -> Result<f64> {
        process::processor_seconds(pid(&self.coordinator)?)
    }

    /// The most memory that any of the workers held, in bytes.
    pub(crate) fn worker_peak_bytes(&self) -> Result<u64> {
        let peaks = self.workers.iter().map(|worker| process::peak_bytes(pid(worker)?));
        Ok(peaks.collect::<Result<Vec<_>>>()?.into_iter().max().unwrap_or_default())
    }
}

/// Settings of a daemon that is watched, whose HTTP port has this name.
fn watched(listen: &str) -> [(&str, &str); 3] {
    [(listen, ANY_PORT), ("KEYLOOM_LOG", "info"), ("KEYLOOM_LOG_FORMAT", "json")]
}

fn borrowed(settings: &[(String, String)]) -> Vec<(&str, &str)> {
    settings.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
}

fn pid(child: &Child) -> Result<u32> {
    child.id().context("a process of the cluster has ended")
}

/// Starts a program that stands beside this one. It logs errors to stderr, or to a file of a folder.
fn daemon(
    name: &str,
    arguments: &[&str],
    settings: &[(&str, &str)],
    logs: Option<&TempDir>,
) -> Result<Child> {
    let program = beside(name)?;
    let stderr = match logs {
        Some(logs) => {
            File::options().create(true).append(true).open(logs.path().join(name))?.into()
        }
        None => Stdio::inherit(),
    };
    let mut command = Command::new(&program);
    command.args(arguments).kill_on_drop(true).env("KEYLOOM_LOG", "error");
    command.envs(settings.iter().copied());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(stderr);
    command.spawn().with_context(|| format!("cannot start {}", program.display()))
}

/// A program that stands beside this one.
pub(crate) fn beside(name: &str) -> Result<PathBuf> {
    let program = std::env::current_exe()?.with_file_name(name);
    ensure!(
        program.exists(),
        "{} is missing; run cargo build --workspace --release",
        program.display()
    );
    Ok(program)
}
