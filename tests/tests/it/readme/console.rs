//! A folder in which commands are run as they are typed.

use std::{env, ffi::OsString, path::Path, process::Stdio, time::Duration};

use anyhow::{Context, Result, bail};
use keyloom_client::Session;
use tempfile::TempDir;
use tokio::{process::Command, time::timeout};

use crate::harness::{Daemon, eventually, program};

/// How long a command may take.
const TIMEOUT: Duration = Duration::from_secs(120);

/// Where documents have their coordinator listen. Here it is any port that is free.
const ADDRESS: &str = "127.0.0.1:7700";

/// A folder, and the processes that were started in the background. Our programs are on the path,
/// and nothing of the environment's settings.
pub(super) struct Console {
    folder: TempDir,
    path: OsString,
    cluster: Option<Cluster>,
}

/// Processes that run until the console is gone.
struct Cluster {
    address: String,
    workers: Vec<Daemon>,
    _coordinator: Daemon,
}

/// What a command printed, on stdout and stderr, and whether it did what was asked.
pub(super) struct Ended {
    pub(super) printed: String,
    pub(super) is_done: bool,
}

impl Console {
    pub(super) fn open() -> Result<Self> {
        let keyloom = program("keyloom")?;
        let ours = keyloom.parent().context("programs are in a folder")?.to_owned();
        let others = env::var_os("PATH").unwrap_or_default();
        let path = env::join_paths([ours].into_iter().chain(env::split_paths(&others)))?;
        Ok(Self { folder: tempfile::tempdir()?, path, cluster: None })
    }

    pub(super) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Runs a command to its end, or starts what is to run in the background.
    pub(super) async fn run(&mut self, command: &str) -> Result<Ended> {
        if let Some(daemon) = command.strip_suffix(" &") {
            self.start(daemon).await?;
            return Ok(Ended { printed: String::new(), is_done: true });
        }
        match &self.cluster {
            Some(cluster) => self.finish(&cluster.reached_by(command)).await,
            None => self.finish(command).await,
        }
    }

    /// Runs a command of a shell, with both of its outputs in the order in which they come.
    async fn finish(&self, command: &str) -> Result<Ended> {
        let mut shell = Command::new("bash");
        shell.arg("-c").arg(format!("exec 2>&1\n{command}\n"));
        shell.current_dir(self.folder()).stdin(Stdio::null()).kill_on_drop(true);
        for (name, _) in env::vars_os() {
            if name.to_string_lossy().starts_with("KEYLOOM_") {
                shell.env_remove(name);
            }
        }
        shell.env("PATH", &self.path);
        let output = timeout(TIMEOUT, shell.output()).await.context("it does not end")??;
        let printed = String::from_utf8(output.stdout)?;
        Ok(Ended { printed, is_done: output.status.success() })
    }

    async fn start(&mut self, command: &str) -> Result<()> {
        let words: Vec<_> = command.split_whitespace().collect();
        let (name, arguments) = words.split_first().context("a program")?;
        match (*name, self.cluster.as_mut()) {
            ("keyloom-coordinator", None) => self.cluster = Some(Cluster::start(arguments)?),
            ("keyloom-worker", Some(cluster)) => cluster.add_worker(arguments).await?,
            _ => bail!("in the background run a coordinator and then its workers, not {command}"),
        }
        Ok(())
    }
}

impl Cluster {
    fn start(arguments: &[&str]) -> Result<Self> {
        let arguments: Vec<_> =
            arguments.iter().map(|word| word.replace(ADDRESS, "127.0.0.1:0")).collect();
        let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
        let mut coordinator = Daemon::start("keyloom-coordinator", &arguments, &[])?;
        let address = coordinator.line_with("tcp://")?;
        Ok(Self { address, workers: Vec::new(), _coordinator: coordinator })
    }

    /// What was typed, with the address that the coordinator really has.
    fn reached_by(&self, typed: &str) -> String {
        typed.replace(&format!("tcp://{ADDRESS}"), &self.address)
    }

    /// Starts a worker, and waits until it is registered.
    async fn add_worker(&mut self, arguments: &[&str]) -> Result<()> {
        let arguments: Vec<_> = arguments.iter().map(|word| self.reached_by(word)).collect();
        let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
        self.workers.push(Daemon::start("keyloom-worker", &arguments, &[])?);
        let started = self.workers.len();
        let session = Session::connect(&self.address).await?;
        let registered = async || Ok(session.workers().await?.len());
        eventually(registered, |registered| *registered == started).await?;
        Ok(())
    }
}
