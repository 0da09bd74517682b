//! The HTTP ports of daemons over TLS, and what they read again while they answer.

use std::fs;

use anyhow::Result;
use keyloom_client::ErrorKind;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::{certificates::replace, check_job, connect};
use crate::harness::{Answer, Cluster, Daemon, Keys, eventually, get_over_tls};

const OLD: &str = "the-first-token-for-what-is-counted";
const NEW: &str = "the-next-token-for-what-is-counted";

/// The status and the body.
async fn asked(
    address: &str,
    path: &str,
    keys: &Keys,
    token: Option<&str>,
) -> Result<(u16, String)> {
    let answer = get_over_tls(address, path, &keys.path("ca.pem"), token).await?;
    let Answer { status, body, .. } = answer;
    Ok((status, body))
}

/// The statuses of what is counted: without a token, with the old one, and with the new one.
async fn statuses(address: &str, keys: &Keys) -> Result<[u16; 3]> {
    let mut statuses = [0; 3];
    for (status, token) in statuses.iter_mut().zip([None, Some(OLD), Some(NEW)]) {
        *status = asked(address, "/metrics", keys, token).await?.0;
    }
    Ok(statuses)
}

fn hang_up(daemon: &Daemon) -> Result<()> {
    Ok(kill(Pid::from_raw(daemon.pid().try_into()?), Signal::SIGHUP)?)
}

/// Waits until a port shows a certificate that the authority of these keys has signed.
async fn shows(address: &str, keys: &Keys) -> Result<()> {
    let ask = async || Ok(asked(address, "/healthz", keys, None).await.ok());
    let answer = eventually(ask, Option::is_some).await?;
    assert_eq!(answer, Some((200, "lives\n".to_owned())));
    Ok(())
}

/// That a port shows no certificate of theirs.
async fn shows_none(address: &str, keys: &Keys) {
    let error = asked(address, "/healthz", keys, None).await.expect_err("it is of another");
    assert!(format!("{error:#}").contains("UnknownIssuer"), "{error:#}");
}

#[tokio::test]
async fn a_coordinators_port_speaks_tls_and_reads_its_files_again_at_a_hangup() -> Result<()> {
    let (keys, old, new) = (Keys::certificates()?, Keys::certificates()?, Keys::certificates()?);
    replace(&keys, &old)?;
    keys.write("metrics.token", OLD)?;
    let file = keys.path("metrics.token").display().to_string();
    let env = [
        ("KEYLOOM_COORDINATOR_HTTP__LISTEN", "127.0.0.1:0"),
        ("KEYLOOM_COORDINATOR_HTTP__TOKEN_FILE", file.as_str()),
        // By themselves, the files are not looked at while the test runs.
        ("KEYLOOM_COORDINATOR_SECURITY__RELOAD_MS", "3600000"),
    ];
    let mut cluster = Cluster::start_with_keys(1, &keys, &env, &[]).await?;
    let address = cluster.coordinator.line_with("https://")?;
    shows(&address, &old).await?;
    assert_eq!(asked(&address, "/readyz", &old, None).await?, (200, "ready\n".to_owned()));
    assert_eq!(statuses(&address, &old).await?, [401, 200, 401]);
    shows_none(&address, &new).await;

    replace(&keys, &new)?;
    keys.write("metrics.token", NEW)?;
    shows(&address, &old).await?;
    hang_up(&cluster.coordinator)?;
    shows(&address, &new).await?;
    shows_none(&address, &old).await;
    assert_eq!(statuses(&address, &new).await?, [401, 401, 200]);
    let told = async || Ok(cluster.coordinator.log());
    let each = ["rpc", "http"].map(|port| format!(" were read again port={port}\n"));
    eventually(told, |log| each.iter().all(|line| log.contains(line))).await?;

    // What cannot be read changes nothing.
    keys.write("coordinator.pem", "nothing\n")?;
    hang_up(&cluster.coordinator)?;
    let told = async || Ok(cluster.coordinator.log());
    let each = ["rpc", "http"].map(|port| format!("the old ones stay port={port} error="));
    eventually(told, |log| each.iter().all(|line| log.contains(line))).await?;
    shows(&address, &new).await?;
    check_job(&cluster, &new.role("client")).await
}

#[tokio::test]
async fn a_workers_port_speaks_tls_by_a_certificate_for_its_host_and_reads_it_again() -> Result<()>
{
    let keys = Keys::certificates()?;
    // The port's are of authorities of their own, which tells them apart.
    let (files, old, new) = (Keys::certificates()?, Keys::certificates()?, Keys::certificates()?);
    for keys in [&old, &new] {
        keys.certify(["--worker", "w@127.0.0.1,localhost"])?;
    }
    replace(&files, &old)?;
    let [cert, key] =
        ["worker-w.pem", "worker-w-key.pem"].map(|name| files.path(name).display().to_string());
    let env = [
        ("KEYLOOM_WORKER_HTTP__LISTEN", "127.0.0.1:0"),
        ("KEYLOOM_WORKER_HTTP__CERT_FILE", cert.as_str()),
        ("KEYLOOM_WORKER_HTTP__KEY_FILE", key.as_str()),
    ];
    let mut cluster = Cluster::start_with_keys(1, &keys, &[], &env).await?;
    let address = cluster.workers[0].line_with("https://")?;
    shows(&address, &old).await?;
    assert_eq!(asked(&address, "/readyz", &old, None).await?, (200, "ready\n".to_owned()));
    shows_none(&address, &new).await;

    replace(&files, &new)?;
    hang_up(&cluster.workers[0])?;
    shows(&address, &new).await?;
    shows_none(&address, &old).await;
    let log = cluster.workers[0].log();
    assert!(log.contains("reads the certificate and the tokens of its HTTP port again"), "{log}");
    check_job(&cluster, &keys.role("client")).await
}

#[tokio::test]
async fn a_worker_whose_certificate_names_the_coordinators_host_is_not_taken_for_it() -> Result<()>
{
    let (keys, false_ones) = (Keys::certificates()?, Keys::certificates()?);
    keys.certify(["--worker", "w@127.0.0.1"])?;
    replace(&false_ones, &keys)?;
    for end in [".pem", "-key.pem"] {
        let worker = fs::read_to_string(keys.path(&format!("worker-w{end}")))?;
        false_ones.write(&format!("coordinator{end}"), &worker)?;
    }
    false_ones.write("coordinator.toml", &false_ones.coordinator_settings())?;
    let config = false_ones.path("coordinator.toml").to_string_lossy().into_owned();
    let arguments = ["--listen", "127.0.0.1:0", "--config", &config];
    let mut impostor = Daemon::start("keyloom-coordinator", &arguments, &[])?;
    let address = impostor.line_with("tls://")?;
    let error = connect(&address, &keys.role("client")).await.err();
    let expected = format!(
        "the certificate of the coordinator at {address} is not accepted: it is that of worker 'w'"
    );
    let error = error.map(|error| (error.kind(), error.message().to_owned()));
    assert_eq!(error, Some((ErrorKind::PermissionDenied, expected)));
    Ok(())
}
