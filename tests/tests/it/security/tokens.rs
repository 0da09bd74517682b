//! Tokens that change while a cluster runs.

use anyhow::Result;
use keyloom_client::ErrorKind;
use keyloom_common::{Secret, rpc::PeerSecurity};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::{check_job, check_rows, connect, kept_out, let_in, prepared};
use crate::harness::{Cluster, Keys, Proxy, eventually, start_worker_with_keys};

const NEW: &str = "the-next-token-of-clients";

/// A client that has a token from its environment.
fn with_token(token: &str) -> PeerSecurity {
    PeerSecurity { token: Some(Secret::new(token)), ..PeerSecurity::default() }
}

#[tokio::test]
async fn a_second_token_is_taken_beside_the_first_and_then_alone_without_a_restart() -> Result<()> {
    let keys = Keys::tokens()?;
    let cluster = Cluster::start_with_keys(1, &keys, &[], &[]).await?;
    let (old, new) = (with_token(&Keys::token("client")), with_token(NEW));
    let begun = prepared(&cluster, &old).await?;
    let error = connect(&cluster.address, &new).await.err();
    assert_eq!(error.map(|error| error.kind()), Some(ErrorKind::PermissionDenied));

    keys.write("client.token", &format!("{}\n{NEW}\n", Keys::token("client")))?;
    let_in(&cluster, &new).await?;
    check_job(&cluster, &new).await?;
    check_job(&cluster, &old).await?;

    keys.write("client.token", &format!("{NEW}\n"))?;
    let error = kept_out(&cluster, &old).await?;
    assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{error}");
    check_job(&cluster, &new).await?;
    // Whoever is in stays in.
    check_rows(&begun).await
}

#[tokio::test]
async fn a_hangup_has_tokens_read_at_once() -> Result<()> {
    let keys = Keys::tokens()?;
    // By themselves, the files are not looked at while the test runs.
    let seldom = [("KEYLOOM_COORDINATOR_SECURITY__RELOAD_MS", "3600000")];
    let cluster = Cluster::start_with_keys(1, &keys, &seldom, &[]).await?;
    let (old, new) = (with_token(&Keys::token("client")), with_token(NEW));
    let begun = prepared(&cluster, &old).await?;

    keys.write("client.token", &format!("{NEW}\n"))?;
    kill(Pid::from_raw(cluster.coordinator.pid().try_into()?), Signal::SIGHUP)?;
    let_in(&cluster, &new).await?;
    let error = kept_out(&cluster, &old).await?;
    assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{error}");
    let log = cluster.coordinator.log();
    assert!(log.contains("certificates and tokens were read again port=rpc\n"), "{log}");
    check_rows(&begun).await
}

#[tokio::test]
async fn a_hangup_ends_no_worker() -> Result<()> {
    let keys = Keys::tokens()?;
    let cluster = Cluster::start_with_keys(1, &keys, &[], &[]).await?;
    let worker = &cluster.workers[0];
    kill(Pid::from_raw(worker.pid().try_into()?), Signal::SIGHUP)?;
    let told = async || Ok(worker.log());
    eventually(told, |log| log.contains("nothing to read again")).await?;
    check_job(&cluster, &keys.role("client")).await
}

#[tokio::test]
async fn a_file_of_tokens_that_cannot_be_used_changes_nothing_and_is_told() -> Result<()> {
    let keys = Keys::tokens()?;
    let cluster = Cluster::start_with_keys(1, &keys, &[], &[]).await?;
    keys.write("client.token", "short\n")?;
    let told = async || Ok(cluster.coordinator.log());
    let log = eventually(told, |log| log.contains("client.token")).await?;
    assert!(log.contains("WARN") && !log.contains("short\n"), "{log}");
    check_job(&cluster, &with_token(&Keys::token("client"))).await?;
    keys.write("client.token", &format!("{NEW}\n"))?;
    let_in(&cluster, &with_token(NEW)).await?;
    check_job(&cluster, &with_token(NEW)).await
}

#[tokio::test]
async fn a_worker_that_was_in_waits_for_a_token_that_holds() -> Result<()> {
    let (keys, own) = (Keys::tokens()?, Keys::tokens()?);
    let mut cluster = Cluster::start_with_keys(0, &keys, &[], &[]).await?;
    let proxy = Proxy::start(&cluster.address).await?;
    cluster.workers.push(start_worker_with_keys(proxy.address(), &own, &[])?);
    cluster.wait_for_workers(1).await?;

    let new = "the-next-token-of-workers\n";
    keys.write("worker.token", new)?;
    let refused = async || {
        // Until the coordinator has read its file again, the old one holds.
        proxy.reset();
        Ok(cluster.workers[0].log())
    };
    eventually(refused, |log| log.contains("the token is none of the coordinator's")).await?;
    own.write("worker.token", new)?;
    cluster.wait_for_workers(1).await?;
    check_job(&cluster, &keys.role("client")).await
}
