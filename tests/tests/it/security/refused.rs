//! Peers that are not let in: each is told why, or hung up on, and the coordinator's log says so,
//! too.

use std::{
    fs,
    io::{self, Read, Write},
    net::TcpStream,
};

use anyhow::{Context, Result, bail, ensure};
use keyloom_client::{Error, ErrorKind};
use keyloom_common::{
    BUILD, Secret,
    rpc::{self, Limits, PeerSecurity, Role, WorkerApiClient, handshake::Service, role_uri},
};
use serde_json::Value;

use super::{BOUND, check_job, connect};
use crate::harness::{Cluster, Keys, eventually, run_to_end};

use ErrorKind::{Invalid, PermissionDenied, Unavailable};

const NO_TOKEN: &str = "the coordinator wants a token, and there is none: set security.token_file \
                        or security.token";
const NO_CERTIFICATE: &str = "the coordinator wants a certificate, and there is none: set \
                              security.cert_file and security.key_file";
const WRONG_TOKEN: &str = "the token is none of the coordinator's";

/// What whoever connects says of a certificate that the coordinator does not take.
fn not_taken(alert: &str) -> String {
    format!("the peer does not accept security.cert_file: received fatal alert: {alert}")
}

fn no_client(who: &str) -> String {
    format!("{who} may not submit jobs: that takes the role client or operator")
}

fn no_worker(who: &str) -> String {
    format!("{who} may not run tasks: that takes the role worker")
}

/// Refuses a client, with this message.
async fn check_client(
    address: &str,
    peer: &PeerSecurity,
    kind: ErrorKind,
    message: &str,
) -> Result<()> {
    let error = connect(address, peer).await.err();
    check(error.with_context(|| format!("let in: {message}"))?, kind, message);
    Ok(())
}

/// Refuses a worker, with this message.
async fn check_worker(
    cluster: &Cluster,
    peer: &PeerSecurity,
    kind: ErrorKind,
    message: &str,
) -> Result<()> {
    let (limits, credentials) = (Limits::default(), peer.load()?);
    let dialled = rpc::connect(&cluster.address, Service::Worker, &limits, &credentials).await;
    let dialled =
        dialled.map(|transport| WorkerApiClient::new(Default::default(), transport).spawn());
    check(dialled.err().with_context(|| format!("let in: {message}"))?, kind, message);
    Ok(())
}

/// Waits until the coordinator's log holds all reasons: it rests a while before it says them.
async fn check_logged(cluster: &Cluster, reasons: &[&str]) -> Result<String> {
    let log = async || Ok(cluster.coordinator.log());
    eventually(log, |log| reasons.iter().all(|reason| log.contains(reason))).await
}

#[track_caller]
fn check(error: Error, kind: ErrorKind, message: &str) {
    assert_eq!((error.kind(), error.message()), (kind, message));
}

#[tokio::test]
async fn certificates_of_others_expired_swapped_and_missing_are_refused() -> Result<()> {
    let keys = Keys::certificates()?;
    let other = Keys::certificates()?;
    keys.certify_by_hand("expired", Some(&role_uri(Role::Client, "late")?), 2020)?;
    keys.certify_by_hand("nobody", None, 2999)?;
    keys.certify_by_hand("strange", Some("keyloom://role/janitor/joe"), 2999)?;
    let cluster = Cluster::start_with_keys(1, &keys, &[], &[]).await?;
    let address = cluster.address.as_str();
    let of = |name: &str| keys.peer(name, "client");

    // Of another authority.
    let stranger = PeerSecurity { ca_file: Some(keys.path("ca.pem")), ..other.role("client") };
    check_client(address, &stranger, PermissionDenied, &not_taken("UnknownCA")).await?;
    let stranger = PeerSecurity { ca_file: Some(keys.path("ca.pem")), ..other.role("worker") };
    check_worker(&cluster, &stranger, PermissionDenied, &not_taken("UnknownCA")).await?;
    // It does not trust the coordinator, either.
    let error = connect(address, &other.role("client")).await.err().context("let in")?;
    assert_eq!(error.kind(), PermissionDenied);
    let message = format!("the certificate of the coordinator at {address} is not accepted: ");
    let why = error.message().strip_prefix(&message).with_context(|| error.to_string())?;
    assert!(why.starts_with("UnknownIssuer; security.ca_file"), "{why}");
    // What it expects is somewhere else.
    let elsewhere = PeerSecurity { server_name: Some("elsewhere".to_owned()), ..of("client") };
    let error = connect(address, &elsewhere).await.err().context("let in")?;
    assert_eq!(error.kind(), PermissionDenied);
    assert!(error.message().contains("not valid for name \"elsewhere\""), "{error}");

    let expired = not_taken("CertificateExpired");
    check_client(address, &of("expired"), PermissionDenied, &expired).await?;
    let missing = PeerSecurity { cert_file: None, key_file: None, ..of("client") };
    check_client(address, &missing, PermissionDenied, NO_CERTIFICATE).await?;

    // Roles are swapped.
    check_client(address, &of("worker"), PermissionDenied, &no_client("worker 'worker'")).await?;
    for role in ["client", "operator"] {
        let message = no_worker(&format!("{role} '{role}'"));
        check_worker(&cluster, &of(role), PermissionDenied, &message).await?;
    }
    let no_role = "the certificate names no role: among its subject alternative names it needs a \
                   URI like keyloom://role/client/NAME";
    check_client(address, &of("nobody"), PermissionDenied, no_role).await?;
    let error = connect(address, &of("strange")).await.err().context("let in")?;
    assert_eq!(error.kind(), PermissionDenied);
    assert!(error.message().contains("\"keyloom://role/janitor/joe\""), "{error}");

    let swapped = no_client("worker 'worker'");
    check_logged(&cluster, &[&swapped, no_role, "expired", "UnknownIssuer"]).await?;
    check_job(&cluster, &keys.role("client")).await
}

#[tokio::test]
async fn tokens_that_are_wrong_missing_or_of_another_role_are_refused() -> Result<()> {
    let keys = Keys::tokens()?;
    let cluster = Cluster::start_with_keys(1, &keys, &[], &[]).await?;
    let address = cluster.address.as_str();
    let none = PeerSecurity::default();
    let wrong = PeerSecurity { token: Some(Secret::new("of-no-cluster-at-all")), ..none.clone() };
    check_client(address, &none, PermissionDenied, NO_TOKEN).await?;
    check_worker(&cluster, &none, PermissionDenied, NO_TOKEN).await?;
    check_client(address, &wrong, PermissionDenied, WRONG_TOKEN).await?;
    check_worker(&cluster, &wrong, PermissionDenied, WRONG_TOKEN).await?;
    let worker = keys.role("worker");
    check_client(address, &worker, PermissionDenied, &no_client("worker 'token'")).await?;
    for role in ["client", "operator"] {
        let message = no_worker(&format!("{role} 'token'"));
        check_worker(&cluster, &keys.role(role), PermissionDenied, &message).await?;
    }
    let swapped = no_client("worker 'token'");
    let log = check_logged(&cluster, &[NO_TOKEN, WRONG_TOKEN, &swapped]).await?;
    assert!(log.contains("a connection was refused peer=127.0.0.1:"), "{log}");
    for token in ["of-no-cluster-at-all", &Keys::token("worker")] {
        assert!(!log.contains(token), "{log}");
    }
    check_job(&cluster, &keys.role("client")).await
}

#[tokio::test]
async fn certificates_and_tokens_must_be_of_one_role() -> Result<()> {
    let keys = Keys::both()?;
    let cluster = Cluster::start_with_keys(1, &keys, &[], &[]).await?;
    let address = cluster.address.as_str();
    let message = "the certificate is that of client 'client', and the token is one of the role \
                   operator";
    check_client(address, &keys.peer("client", "operator"), PermissionDenied, message).await?;
    let no_token = PeerSecurity { token_file: None, ..keys.role("client") };
    check_client(address, &no_token, PermissionDenied, NO_TOKEN).await?;
    let only_token = PeerSecurity { cert_file: None, key_file: None, ..keys.role("client") };
    check_client(address, &only_token, PermissionDenied, NO_CERTIFICATE).await?;
    check_job(&cluster, &keys.role("client")).await
}

#[tokio::test]
async fn whoever_takes_the_wrong_way_is_told_which_is_right() -> Result<()> {
    let (tls, plain) = (Keys::certificates()?, Keys::tokens()?);
    let secured = Cluster::start_with_keys(1, &tls, &[], &[]).await?;
    let open = Cluster::start_with_keys(1, &plain, &[], &[]).await?;
    // Without TLS to where there is TLS alone.
    let address = secured.address.replace("tls://", "tcp://");
    let message = "the coordinator takes TLS alone: it is at tls://HOST:PORT, and \
                   security.ca_file holds the authority that signed its certificate";
    check_client(&address, &PeerSecurity::default(), Invalid, message).await?;
    // The other way round.
    let address = open.address.replace("tcp://", "tls://");
    let error = connect(&address, &tls.role("client")).await.err().context("let in")?;
    assert_eq!(error.kind(), Unavailable, "{error}");
    let begins = format!("no TLS with the coordinator at {address}: ");
    assert!(error.message().starts_with(&begins), "{error}");
    assert!(error.message().ends_with("; without TLS it is at tcp://HOST:PORT"), "{error}");
    check_logged(&open, &["it speaks TLS, and security.cert_file is not set"]).await?;
    // What is set does not suit the address: nobody is asked.
    let message = format!(
        "{address} needs security.ca_file: certificates of the authority that signed the \
         coordinator's"
    );
    check_client(&address, &PeerSecurity::default(), Invalid, &message).await?;
    let message = format!(
        "security.ca_file is set, and '{}' is without TLS: a coordinator with TLS is at \
         tls://HOST:PORT",
        open.address
    );
    check_client(&open.address, &tls.role("client"), Invalid, &message).await?;
    // A token that nobody asks for.
    let unasked =
        PeerSecurity { token: Some(Secret::new(Keys::token("client"))), ..tls.role("client") };
    let message = "a token is set, and the coordinator asks for none: it is not the one that the \
                   token is for, or its security.tokens are not set";
    check_client(&secured.address, &unasked, PermissionDenied, message).await?;
    check_job(&secured, &tls.role("client")).await?;
    check_job(&open, &plain.role("client")).await
}

#[tokio::test]
async fn a_worker_that_was_never_let_in_says_why_and_ends() -> Result<()> {
    let (tls, plain) = (Keys::certificates()?, Keys::tokens()?);
    let secured = Cluster::start_with_keys(0, &tls, &[], &[]).await?;
    let open = Cluster::start_with_keys(0, &plain, &[], &[]).await?;
    let (stranger, client) = (Keys::certificates()?, Keys::tokens()?);
    stranger.write("ca.pem", &fs::read_to_string(tls.path("ca.pem"))?)?;
    stranger.write("worker.toml", &stranger.worker_settings())?;
    client.write("worker.token", &Keys::token("client"))?;
    client.write("worker.toml", &client.worker_settings())?;
    client.write("empty.toml", "")?;
    for (cluster, config, reason) in [
        (&secured, stranger.path("worker.toml"), not_taken("UnknownCA")),
        (&open, client.path("worker.toml"), no_worker("client 'token'")),
        (&open, client.path("empty.toml"), NO_TOKEN.to_owned()),
    ] {
        let config = config.display().to_string();
        let line = ["keyloom-worker", "--coordinator", &cluster.address, "--config", &config];
        let (code, _, said) = run_to_end(&line, &[]).await?;
        assert_eq!(code, Some(2), "{said}");
        assert!(said.ends_with(&format!("error: {reason}\n")), "{said}");
    }
    Ok(())
}

/// Sends bytes and returns all that is answered before the coordinator hangs up.
fn talk(address: &str, bytes: &[u8]) -> Result<Vec<u8>> {
    let mut stream = TcpStream::connect(address.rsplit("//").next().context("an address")?)?;
    stream.set_read_timeout(Some(BOUND))?;
    // It may hang up while we still write.
    let _ = stream.write_all(bytes);
    let (mut answer, mut piece) = (Vec::new(), [0; 4096]);
    loop {
        match stream.read(&mut piece) {
            Ok(0) => return Ok(answer),
            Ok(count) => answer.extend(&piece[..count]),
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(answer),
            Err(error) => bail!("it was not hung up on: {error}"),
        }
    }
}

#[tokio::test]
async fn what_is_no_peer_of_this_build_learns_no_more_than_that() -> Result<()> {
    let (tls, plain) = (Keys::certificates()?, Keys::tokens()?);
    let clusters = [
        Cluster::start_with_keys(0, &tls, &[], &[]).await?,
        Cluster::start_with_keys(0, &plain, &[], &[]).await?,
    ];
    let old = b"{\"keyloom\":7,\"build\":\"0.0.9\",\"role\":\"client\"}\n";
    for cluster in &clusters {
        // A build before there were roles reads that it is another.
        let answer: Value = serde_json::from_slice(&talk(&cluster.address, old)?)?;
        let refused = answer["refused"].as_str().context("a reason")?;
        assert!(refused.starts_with("this Client is build 0.0.9 (protocol 7), "), "{refused}");
        assert!(refused.ends_with("; use one build on all machines"), "{refused}");
        assert_eq!((&answer["build"], &answer["challenge"]), (&Value::from(BUILD), &Value::Null));

        let answer = talk(&cluster.address, b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n")?;
        let answer = String::from_utf8_lossy(&answer).into_owned();
        ensure!(!answer.contains("HTTP") && !answer.contains("keyloom"), "{answer}");
    }
    let [secured, open] = &clusters;
    check_logged(secured, &["TLS: received corrupt message of type InvalidContentType"]).await?;
    check_logged(open, &["the peer does not speak Keyloom's protocol"]).await?;
    for (cluster, keys) in [(secured, &tls), (open, &plain)] {
        let session = connect(&cluster.address, &keys.role("operator")).await?;
        assert!(session.workers().await?.is_empty());
    }
    Ok(())
}
