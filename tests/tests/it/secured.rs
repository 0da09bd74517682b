//! A coordinator that asks who one is: by tokens here, which need no certificates. Those are tested
//! beside the code that reads them.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Output, Stdio},
    time::Duration,
};

use anyhow::{Context, Result};
use keyloom_client::{ErrorKind, Session};
use keyloom_common::rpc::{
    self, ClientApiClient, Credentials, Limits, PeerSecurity, handshake::Service, in_time,
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tempfile::TempDir;
use tokio::{process::Command, time::timeout};

use crate::harness::{Daemon, eventually, program};

/// How long a process may take to end that should not run.
const TIMEOUT: Duration = Duration::from_secs(60);

/// No call takes longer.
const BOUND: Duration = Duration::from_secs(30);

const RELOADED: &str = "certificates and tokens were read again";

fn token(role: &str) -> String {
    format!("{role}-0123456789abcdef")
}

/// A coordinator on loopback that wants tokens.
struct Guarded {
    folder: TempDir,
    coordinator: Daemon,
    address: String,
}

impl Guarded {
    fn start() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let mut env = Vec::new();
        for role in ["client", "worker", "operator"] {
            let path = folder.path().join(role);
            fs::write(&path, token(role))?;
            let variable = format!("KEYLOOM_COORDINATOR_SECURITY__TOKENS__{}", role.to_uppercase());
            env.push((variable, path.display().to_string()));
        }
        let env: Vec<_> = env.iter().map(|(name, path)| (name.as_str(), path.as_str())).collect();
        let arguments = ["--listen", "127.0.0.1:0"];
        let mut coordinator = Daemon::start("keyloom-coordinator", &arguments, &env)?;
        let address = coordinator.line_with("tcp://")?;
        Ok(Self { folder, coordinator, address })
    }

    fn file(&self, role: &str) -> PathBuf {
        self.folder.path().join(role)
    }

    /// A worker that has the token in this file.
    fn worker(&self, file: &Path) -> Result<Daemon> {
        let file = file.display().to_string();
        let arguments = ["--coordinator", self.address.as_str(), "--slots", "1"];
        let env = [("KEYLOOM_WORKER_SECURITY__TOKEN_FILE", file.as_str())];
        Daemon::start("keyloom-worker", &arguments, &env)
    }

    /// A client by hand that has the token in this file.
    async fn client(&self, file: &Path) -> keyloom_common::Result<ClientApiClient> {
        let token_file = Some(file.to_owned());
        let credentials = PeerSecurity { token_file, ..PeerSecurity::default() }.load()?;
        self.connect(Service::Client, &credentials).await
    }

    async fn connect(
        &self,
        service: Service,
        credentials: &Credentials,
    ) -> keyloom_common::Result<ClientApiClient> {
        let limits = Limits::default();
        let transport = rpc::connect(&self.address, service, &limits, credentials).await?;
        Ok(ClientApiClient::new(Default::default(), transport).spawn())
    }
}

async fn workers(client: &ClientApiClient) -> Result<usize> {
    Ok(in_time(BOUND, |context| client.workers(context)).await?.len())
}

#[tokio::test]
async fn whoever_has_a_token_is_let_in_and_nobody_else() -> Result<()> {
    let guarded = Guarded::start()?;
    let _worker = guarded.worker(&guarded.file("worker"))?;
    for role in ["client", "operator"] {
        let client = guarded.client(&guarded.file(role)).await?;
        eventually(async || workers(&client).await, |workers| *workers == 1).await?;
    }
    let denied = Session::connect(&guarded.address).await.err().context("it was let in")?;
    assert_eq!(denied.kind(), ErrorKind::PermissionDenied, "{denied}");
    assert!(denied.message().starts_with("the coordinator wants a token"), "{denied}");
    let denied = guarded.client(&guarded.file("worker")).await.err().context("it was let in")?;
    let expected = "worker 'token' may not submit jobs: that takes the role client or operator";
    assert_eq!((denied.kind(), denied.message()), (ErrorKind::PermissionDenied, expected));
    // The log says who was refused, and why, and no token.
    let told = async || Ok(guarded.coordinator.log());
    let log = eventually(told, |log| log.contains(expected)).await?;
    assert!(log.contains("a connection was refused"), "{log}");
    assert!(log.contains("peer=127.0.0.1:"), "{log}");
    assert!(!log.contains(&token("worker")), "{log}");
    Ok(())
}

/// Runs a program that must end by itself.
async fn ended(name: &str, arguments: &[&str], env: &[(&str, &str)]) -> Result<Output> {
    let mut command = Command::new(program(name)?);
    command.args(arguments).envs(env.iter().copied());
    command.stdin(Stdio::null()).kill_on_drop(true);
    Ok(timeout(TIMEOUT, command.output()).await.with_context(|| format!("{name} runs"))??)
}

#[tokio::test]
async fn a_worker_that_is_not_let_in_ends_and_says_why() -> Result<()> {
    let guarded = Guarded::start()?;
    let file = guarded.file("client").display().to_string();
    let arguments = ["--coordinator", guarded.address.as_str(), "--slots", "1"];
    for (env, expected) in [
        (
            vec![("KEYLOOM_WORKER_SECURITY__TOKEN_FILE", file.as_str())],
            "error: client 'token' may not run tasks: that takes the role worker\n",
        ),
        (
            Vec::new(),
            "error: the coordinator wants a token, and there is none: set security.token_file or \
             security.token\n",
        ),
    ] {
        let Output { status, stderr, .. } = ended("keyloom-worker", &arguments, &env).await?;
        let stderr = String::from_utf8(stderr)?;
        assert_eq!(status.code(), Some(2), "{stderr}");
        assert!(stderr.ends_with(expected), "{stderr}");
    }
    Ok(())
}

#[tokio::test]
async fn a_token_is_replaced_while_all_goes_on() -> Result<()> {
    let guarded = Guarded::start()?;
    let (worker_file, old) = (guarded.file("worker"), guarded.file("old"));
    fs::copy(&worker_file, &old)?;
    let _worker = guarded.worker(&old)?;
    let client = guarded.client(&guarded.file("client")).await?;
    eventually(async || workers(&client).await, |workers| *workers == 1).await?;

    fs::write(&worker_file, token("worker-new"))?;
    kill(Pid::from_raw(guarded.coordinator.pid().try_into()?), Signal::SIGHUP)?;
    let told = async || Ok(guarded.coordinator.log());
    eventually(told, |log| log.contains(RELOADED)).await?;
    // Whoever is in stays in; who comes needs the new one.
    let another = guarded.worker(&worker_file)?;
    eventually(async || workers(&client).await, |workers| *workers == 2).await?;
    let old = old.display().to_string();
    let env = [("KEYLOOM_WORKER_SECURITY__TOKEN_FILE", old.as_str())];
    let arguments = ["--coordinator", guarded.address.as_str(), "--slots", "1"];
    let late = ended("keyloom-worker", &arguments, &env).await?;
    assert_eq!(late.status.code(), Some(2), "{}", String::from_utf8_lossy(&late.stderr));
    drop(another);
    Ok(())
}

#[tokio::test]
async fn what_is_open_is_refused_or_told_at_each_start() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("client");
    fs::write(&file, token("client"))?;
    let file = file.display().to_string();
    let open = "0.0.0.0:0 can be reached from other machines, and ";
    for (env, expected) in [
        (Vec::new(), "there is neither TLS nor authentication"),
        (
            vec![("KEYLOOM_COORDINATOR_SECURITY__TOKENS__CLIENT", file.as_str())],
            "tokens are asked for without TLS",
        ),
    ] {
        let said = format!("{open}{expected}");
        let arguments = ["--listen", "0.0.0.0:0"];
        let refused = ended("keyloom-coordinator", &arguments, &env).await?;
        let stderr = String::from_utf8(refused.stderr)?;
        assert_eq!(refused.status.code(), Some(2), "{stderr}");
        assert!(stderr.contains(&format!("error: {said}")), "{stderr}");

        let arguments = ["--insecure-listen", "--listen", "0.0.0.0:0"];
        let mut coordinator = Daemon::start("keyloom-coordinator", &arguments, &env)?;
        coordinator.line_with("tcp://0.0.0.0:")?;
        let log = coordinator.log();
        assert!(log.contains(&format!("--insecure-listen: {said}")), "{log}");
    }
    Ok(())
}

#[tokio::test]
async fn files_that_are_not_what_they_should_be_are_named_at_start() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("short");
    fs::write(&file, "hunter2\n")?;
    let file = file.display().to_string();
    let short = format!("'{file}' line 1 has 7 characters, and a token has at least 16\n");
    let coordinator = ("keyloom-coordinator", vec!["--listen", "127.0.0.1:0"]);
    let worker = |address| ("keyloom-worker", vec!["--coordinator", address, "--slots", "1"]);
    for ((name, arguments), variable, expected) in [
        (
            coordinator,
            "KEYLOOM_COORDINATOR_SECURITY__TOKENS__WORKER",
            format!("error: security.tokens.worker {short}"),
        ),
        (
            worker("tcp://127.0.0.1:1"),
            "KEYLOOM_WORKER_SECURITY__TOKEN_FILE",
            format!("error: security.token_file {short}"),
        ),
    ] {
        let output = ended(name, &arguments, &[(variable, file.as_str())]).await?;
        assert_eq!(String::from_utf8(output.stderr)?, expected);
        assert_eq!(output.status.code(), Some(2));
    }
    let (name, arguments) = worker("tls://127.0.0.1:1");
    let output = ended(name, &arguments, &[]).await?;
    let stderr = String::from_utf8(output.stderr)?;
    let expected = "error: coordinator: tls://127.0.0.1:1 needs security.ca_file";
    assert!(stderr.starts_with(expected), "{stderr}");
    Ok(())
}
