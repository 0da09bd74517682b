//! Certificates at the coordinator's HTTP port: who is known by one there, and who is not, compared
//! with what the same certificate is worth at the coordinator's own port.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use keyloom_client::ErrorKind;
use keyloom_common::rpc::{PeerSecurity, Role, role_uri};
use serde_json::{Value, json};
use tokio::{io::AsyncReadExt, time::timeout};

use super::{BOUND, check_job, connect, kept_out};
use crate::harness::{Answer, Asked, Cluster, Keys, ask_over_tls, connect_over_tls, eventually};

const PORT: (&str, &str) = ("KEYLOOM_COORDINATOR_HTTP__LISTEN", "127.0.0.1:0");

/// The HTTP port of a coordinator, and the authority of its certificate.
struct Port<'a> {
    address: String,
    keys: &'a Keys,
}

/// A certificate and its key.
fn shown(keys: &Keys, name: &str) -> [PathBuf; 2] {
    [format!("{name}.pem"), format!("{name}-key.pem")].map(|file| keys.path(&file))
}

impl Port<'_> {
    async fn ask(&self, own: Option<&[PathBuf; 2]>, asked: Asked<'_>) -> Result<Answer> {
        let ca_file = self.keys.path("ca.pem");
        let answer = ask_over_tls(&self.address, &ca_file, own, &asked);
        timeout(BOUND, answer).await.context("no answer")?
    }

    /// Asks as somebody whose certificate the port's own authority has signed.
    async fn ask_as(&self, name: &str, path: &str) -> Result<Answer> {
        self.ask(Some(&shown(self.keys, name)), Asked { path, ..Asked::default() }).await
    }

    /// Hands a job in, and gives its id.
    async fn submit_as(&self, name: &str) -> Result<String> {
        let body = json!({ "sql": "SELECT 1 AS one" }).to_string();
        let asked = Asked { path: "/v1/jobs", token: None, body: Some(&body) };
        let answer = self.ask(Some(&shown(self.keys, name)), asked).await?;
        assert_eq!(answer.status, 202, "{answer:?}");
        Ok(read(&answer)?["id"].as_str().context("an id")?.to_owned())
    }

    /// Why the port ends a connection over which nothing was asked yet.
    async fn ended(&self, own: &[PathBuf; 2]) -> Result<String> {
        let ended = async || -> Result<()> {
            let ca_file = self.keys.path("ca.pem");
            let mut stream = connect_over_tls(&self.address, &ca_file, Some(own)).await?;
            stream.read_to_end(&mut Vec::new()).await?;
            bail!("it ends without a word")
        };
        let ended = timeout(BOUND, ended()).await.context("it does not end")?;
        Ok(ended.err().map(|error| format!("{error:#}")).unwrap_or_default())
    }
}

fn read(answer: &Answer) -> Result<Value> {
    serde_json::from_str(&answer.body).with_context(|| format!("{answer:?}"))
}

/// That something is refused, and why.
fn refused(answer: &Answer, status: u16) -> Result<String> {
    let body = read(answer)?;
    let error = &body["error"];
    assert_eq!((answer.status, &error["kind"]), (status, &json!("permission_denied")));
    Ok(error["message"].as_str().context("a message")?.to_owned())
}

/// What the same certificate is worth at the coordinator's own port.
async fn kind_of_refusal(cluster: &Cluster, peer: &PeerSecurity) -> Option<ErrorKind> {
    connect(&cluster.address, peer).await.err().map(|error| error.kind())
}

#[tokio::test]
async fn a_certificate_says_who_asks_and_what_one_may() -> Result<()> {
    let keys = Keys::certificates()?;
    keys.certify_numbered("alice", 7)?;
    keys.certify_numbered("bob", 8)?;
    keys.certify_by_hand("nobody", None, 4000)?;
    let mut cluster = Cluster::start_with_keys(1, &keys, &[PORT], &[]).await?;
    let port = Port { address: cluster.coordinator.line_with("https://")?, keys: &keys };

    for name in ["alice", "bob", "operator"] {
        let answer = port.ask_as(name, "/v1/jobs").await?;
        assert_eq!(answer.status, 200, "{name}: {answer:?}");
        assert_eq!(kind_of_refusal(&cluster, &keys.peer(name, "client")).await, None, "{name}");
    }
    let denied = Some(ErrorKind::PermissionDenied);
    for (name, status, expected) in [
        ("worker", 403, "may not submit jobs: that takes the role client or operator"),
        ("nobody", 401, "the certificate names no role"),
    ] {
        let why = refused(&port.ask_as(name, "/v1/jobs").await?, status)?;
        assert!(why.contains(expected), "{name}: {why}");
        assert_eq!(kind_of_refusal(&cluster, &keys.peer(name, "client")).await, denied, "{name}");
    }
    let asked = Asked { path: "/v1/jobs", ..Asked::default() };
    let why = refused(&port.ask(None, asked).await?, 401)?;
    assert_eq!(why, "a certificate must be shown (security.ca_file is set), and none was");
    let nothing = PeerSecurity { ca_file: Some(keys.path("ca.pem")), ..PeerSecurity::default() };
    assert_eq!(kind_of_refusal(&cluster, &nothing).await, denied);
    // Those who watch over processes have none, or any.
    let asked = Asked { path: "/healthz", ..Asked::default() };
    assert_eq!(port.ask(None, asked).await?.status, 200);
    assert_eq!(port.ask_as("nobody", "/healthz").await?.status, 200);

    let job = format!("/v1/jobs/{}", port.submit_as("alice").await?);
    let answer = port.ask_as("alice", &job).await?;
    let owner = read(&answer)?["owner"].as_str().context("an owner")?.to_owned();
    assert!(answer.status == 200 && owner.contains("alice"), "{answer:?}");
    assert_eq!(port.ask_as("operator", &job).await?.status, 200);
    let why = refused(&port.ask_as("bob", &job).await?, 403)?;
    assert!(why.contains("belongs to another client"), "{why}");
    Ok(())
}

#[tokio::test]
async fn a_certificate_that_is_not_taken_ends_in_the_handshake_at_either_port() -> Result<()> {
    let (keys, other) = (Keys::certificates()?, Keys::certificates()?);
    keys.certify_numbered("alice", 7)?;
    keys.certify_numbered("bob", 8)?;
    keys.certify_by_hand("expired", Some(&role_uri(Role::Client, "expired")?), 2001)?;
    keys.revoke(&[99])?;
    let file = keys.path("crl.pem").display().to_string();
    let env = [PORT, ("KEYLOOM_COORDINATOR_SECURITY__CRL_FILE", file.as_str())];
    let mut cluster = Cluster::start_with_keys(1, &keys, &env, &[]).await?;
    let port = Port { address: cluster.coordinator.line_with("https://")?, keys: &keys };

    let ca_file = Some(keys.path("ca.pem"));
    let stranger = PeerSecurity { ca_file, ..other.role("client") };
    for (own, peer, alert) in [
        (shown(&other, "client"), stranger, "UnknownCA"),
        (shown(&keys, "expired"), keys.peer("expired", "client"), "CertificateExpired"),
    ] {
        let expected = format!("received fatal alert: {alert}");
        assert_eq!(port.ended(&own).await?, expected);
        let error = connect(&cluster.address, &peer).await.err().context("let in")?;
        assert!(error.message().ends_with(&expected), "{error}");
    }

    assert_eq!(port.ask_as("alice", "/v1/jobs").await?.status, 200);
    keys.revoke(&[99, 7])?;
    let ask = async || Ok(port.ask_as("alice", "/v1/jobs").await.is_err());
    eventually(ask, |is_ended| *is_ended).await?;
    let expected = "received fatal alert: CertificateRevoked";
    assert_eq!(port.ended(&shown(&keys, "alice")).await?, expected);
    let error = kept_out(&cluster, &keys.peer("alice", "client")).await?;
    assert!(error.message().ends_with(expected), "{error}");
    assert_eq!(port.ask_as("bob", "/v1/jobs").await?.status, 200);
    check_job(&cluster, &keys.peer("bob", "client")).await
}
