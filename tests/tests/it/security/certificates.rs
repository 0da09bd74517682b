//! Certificates as `keyloom certs` makes them, and that change while a cluster runs.

use std::{fs, process::Stdio};

use anyhow::{Context, Result};
use keyloom_client::ErrorKind;
use serde_json::Value;
use tokio::{process::Command, time::timeout};

use super::{BOUND, ROWS, check_job, check_rows, connect, kept_out, let_in, prepared};
use crate::harness::{Cluster, Keys, eventually, program, start_worker_with_keys};

/// What the command says, and its exit code.
async fn keyloom(arguments: &[&str]) -> Result<(Option<i32>, String, String)> {
    let mut command = Command::new(program("keyloom")?);
    command.args(arguments).stdin(Stdio::null()).kill_on_drop(true);
    let output = timeout(BOUND, command.output()).await.context("it does not end")??;
    let (stdout, stderr) = (String::from_utf8(output.stdout)?, String::from_utf8(output.stderr)?);
    Ok((output.status.code(), stdout, stderr))
}

#[tokio::test]
async fn what_the_command_made_is_shown_added_to_and_never_overwritten_unasked() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let certs = folder.path().join("certs").to_string_lossy().into_owned();
    let create = ["certs", "create", &certs, "--days", "30"];
    let (code, said, _) = keyloom(&create).await?;
    assert_eq!(code, Some(0));
    assert!(said.contains("[security]\nca_file = "), "{said}");
    let path = |name: &str| format!("{certs}/{name}");
    let authority = fs::read_to_string(path("ca.pem"))?;

    let (code, said, error) = keyloom(&create).await?;
    let there = format!("error: {} is there, and is not overwritten\n", path("coordinator.pem"));
    assert_eq!((code, said.as_str()), (Some(2), ""));
    assert!(error.starts_with(&there), "{error}");

    let (code, _, error) = keyloom(&[&create[..], &["--client", "alice"]].concat()).await?;
    assert_eq!((code, error.as_str()), (Some(0), ""));
    let before = fs::read_to_string(path("worker.pem"))?;
    let (code, _, error) = keyloom(&[&create[..], &["--overwrite"]].concat()).await?;
    assert_eq!((code, error.as_str()), (Some(0), ""));
    assert_ne!(fs::read_to_string(path("worker.pem"))?, before);
    assert_eq!(fs::read_to_string(path("ca.pem"))?, authority, "the authority stays");

    let alice = path("client-alice.pem");
    let shown = keyloom(&["certs", "show", &alice, "-o", "json"]).await?.1;
    let shown: Value = serde_json::from_str(&shown)?;
    assert_eq!(shown["roles"], serde_json::json!(["client/alice"]));
    assert_eq!(shown["uses"], serde_json::json!(["client"]));
    assert!((29..=30).contains(&shown["days_left"].as_i64().context("a number")?), "{shown}");
    assert_eq!(shown["file"], serde_json::json!(alice));
    // As `certs/*.pem` names them.
    let (authority, key) = (path("ca.pem"), path("ca-key.pem"));
    let (code, said, error) = keyloom(&["certs", "show", &key, &authority, &key]).await?;
    assert_eq!((code, error.as_str()), (Some(0), ""));
    assert!(said.starts_with(&format!("file     {authority}\nsubject  ")), "{said}");
    let (code, _, error) = keyloom(&["certs", "show", &path("ca-key.pem")]).await?;
    let expected = format!("error: {} holds no certificate\n", path("ca-key.pem"));
    assert_eq!((code, error), (Some(2), expected));
    Ok(())
}

#[tokio::test]
async fn the_command_runs_jobs_over_tls_with_what_it_made() -> Result<()> {
    let keys = Keys::certificates()?;
    let cluster = Cluster::start_with_keys(1, &keys, &[], &[]).await?;
    let table = keys.path("t.csv");
    let ids: String = (0..ROWS).map(|id| format!("{id}\n")).collect();
    fs::write(&table, format!("id\n{ids}"))?;
    let input = format!("t={}", table.display());
    let [ca, cert, key] = ["ca.pem", "client.pem", "client-key.pem"]
        .map(|file| keys.path(file).to_string_lossy().into_owned());
    let sql = ["sql", "SELECT count(*) AS n FROM t", "--input", &input, "-o", "csv"];
    let place = ["--cluster", &cluster.address];
    let flags = ["--ca-file", &ca, "--cert-file", &cert, "--key-file", &key];
    let (code, said, error) = keyloom(&[&sql[..], &place, &flags].concat()).await?;
    assert_eq!((code, said), (Some(0), format!("n\n{ROWS}\n")), "{error}");
    let (code, said, error) = keyloom(&[&sql[..], &place].concat()).await?;
    assert_eq!((code, said.as_str()), (Some(2), ""), "{error}");
    assert!(error.contains("ca_file"), "{error}");
    Ok(())
}

/// Puts all files of other keys in the place of some.
pub(super) fn replace(keys: &Keys, others: &Keys) -> Result<()> {
    for file in fs::read_dir(others.folder())? {
        let name = file?.file_name().to_string_lossy().into_owned();
        if name.ends_with(".pem") {
            keys.write(&name, &fs::read_to_string(others.path(&name))?)?;
        }
    }
    Ok(())
}

#[tokio::test]
async fn certificates_that_are_replaced_are_used_without_a_restart() -> Result<()> {
    let (keys, old, new) = (Keys::certificates()?, Keys::certificates()?, Keys::certificates()?);
    replace(&keys, &old)?;
    let mut cluster = Cluster::start_with_keys(1, &keys, &[], &[]).await?;
    let begun = prepared(&cluster, &old.role("client")).await?;
    check_rows(&begun).await?;

    replace(&keys, &new)?;
    let_in(&cluster, &new.role("client")).await?;
    check_job(&cluster, &new.role("client")).await?;
    let error = connect(&cluster.address, &old.role("client")).await.err();
    let error = error.context("the certificate of an authority that is no more was taken")?;
    assert!(error.message().contains("UnknownIssuer"), "{error}");
    // Whoever is in stays in, the first worker too; the next one reads the new files.
    check_rows(&begun).await?;
    cluster.workers.push(start_worker_with_keys(&cluster.address, &keys, &[])?);
    let session = prepared(&cluster, &new.role("operator")).await?;
    let workers = async || Ok(session.workers().await?.len());
    eventually(workers, |workers| *workers == 2).await?;
    check_rows(&session).await
}

#[tokio::test]
async fn renewed_certificates_of_the_same_authority_are_taken_by_all() -> Result<()> {
    let keys = Keys::both()?;
    let cluster = Cluster::start_with_keys(1, &keys, &[], &[]).await?;
    let session = prepared(&cluster, &keys.role("client")).await?;
    keys.certify(["--overwrite"])?;
    check_rows(&session).await?;
    check_job(&cluster, &keys.role("client")).await
}

#[tokio::test]
async fn certificates_that_cannot_be_read_change_nothing_and_are_told() -> Result<()> {
    let keys = Keys::certificates()?;
    let cluster = Cluster::start_with_keys(1, &keys, &[], &[]).await?;
    let peer = keys.role("client");
    let good = fs::read_to_string(keys.path("coordinator.pem"))?;
    keys.write("coordinator.pem", "nothing\n")?;
    let told = async || Ok(cluster.coordinator.log());
    let log = eventually(told, |log| log.contains("coordinator.pem")).await?;
    assert!(log.contains("WARN"), "{log}");
    check_job(&cluster, &peer).await?;
    keys.write("coordinator.pem", &good)?;
    check_job(&cluster, &peer).await
}

#[tokio::test]
async fn a_certificate_that_is_revoked_lets_nobody_in_from_then_on() -> Result<()> {
    let keys = Keys::certificates()?;
    keys.certify_numbered("alice", 7)?;
    keys.certify_numbered("bob", 8)?;
    keys.revoke(&[99])?;
    let file = keys.path("crl.pem").display().to_string();
    let env = [("KEYLOOM_COORDINATOR_SECURITY__CRL_FILE", file.as_str())];
    let cluster = Cluster::start_with_keys(1, &keys, &env, &[]).await?;
    let [alice, bob] = ["alice", "bob"].map(|name| keys.peer(name, "client"));
    let begun = prepared(&cluster, &alice).await?;
    check_rows(&begun).await?;

    keys.revoke(&[99, 7])?;
    let error = kept_out(&cluster, &alice).await?;
    let expected = "the peer does not accept security.cert_file: received fatal alert: \
                    CertificateRevoked";
    assert_eq!((error.kind(), error.message()), (ErrorKind::PermissionDenied, expected));
    check_job(&cluster, &bob).await?;
    // Whoever is in stays in.
    check_rows(&begun).await?;

    // A list that cannot be read takes nobody off the old one.
    keys.write("crl.pem", "nothing\n")?;
    let told = async || Ok(cluster.coordinator.log());
    eventually(told, |log| log.contains("holds no list of revoked certificates")).await?;
    assert!(connect(&cluster.address, &alice).await.is_err());
    check_job(&cluster, &bob).await
}
