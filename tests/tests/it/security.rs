//! Who is let in, and who is not: clusters of real processes with certificates, tokens or both, and
//! peers that have others or none.

mod certificates;
mod http;
mod http_certificates;
mod owners;
mod quotas;
mod refused;
mod secrets;
mod start;
mod strangers;
mod tokens;

use std::{sync::Arc, time::Duration};

use anyhow::{Context, Result};
use arrow::array::{ArrayRef, StringArray};
use keyloom_client::{Error, MemoryOptions, Session, Settings, load_kv};
use keyloom_common::rpc::PeerSecurity;
use tokio::time::timeout;

use crate::harness::{Cluster, Deployment, Keys, batch, eventually, ints, rows};

/// Far more than anything takes that is not held up.
const BOUND: Duration = Duration::from_secs(45);

const ROWS: i64 = 2_000;

const QUERY: &str = "SELECT id, kv_get(id % 700, on_error => 'null')['name'] AS name FROM t";

/// Tasks of a hundred rows, so that all workers get some.
fn settings(security: PeerSecurity) -> Settings {
    Settings { task_rows: 100, security, ..Settings::default() }
}

/// A session of a peer. Whether it is let in or not, that takes no longer than [`BOUND`].
async fn connect(address: &str, peer: &PeerSecurity) -> Result<Session, Error> {
    let connecting = Session::connect_with(address, settings(peer.clone()));
    let connected = timeout(BOUND, connecting).await;
    connected.unwrap_or_else(|_| panic!("no answer from {address} within {BOUND:?}"))
}

/// The same with the table and the store of [`QUERY`].
async fn prepared(cluster: &Cluster, peer: &PeerSecurity) -> Result<Session> {
    let session = connect(&cluster.address, peer).await?;
    prepare(&session).await?;
    Ok(session)
}

/// Registers the table and the store of [`QUERY`].
async fn prepare(session: &Session) -> Result<()> {
    session.register_batches("t", &[batch([("id", ints(0..ROWS))])])?;
    let names = (0..500).map(|key| format!("name {key}"));
    let names: ArrayRef = Arc::new(StringArray::from_iter_values(names));
    let store = batch([("key", ints(0..500)), ("name", names)]);
    session.attach(load_kv("names", MemoryOptions::batch(store, "key"))?, "names").await?;
    Ok(session.set_kv("names")?)
}

/// The rows of [`QUERY`], which are also known otherwise.
async fn check_rows(session: &Session) -> Result<()> {
    let found = timeout(BOUND, rows(session.sql(QUERY).await?)).await.context("no end")??;
    let expected = (0..ROWS).map(|id| match id % 700 {
        key @ 0..500 => format!("{id} | name {key}"),
        _ => format!("{id} | NULL"),
    });
    assert_eq!(found, expected.collect::<Vec<_>>());
    Ok(())
}

/// A job of a peer on a cluster.
async fn check_job(cluster: &Cluster, peer: &PeerSecurity) -> Result<()> {
    check_rows(&prepared(cluster, peer).await?).await
}

/// Waits until a peer is let in.
async fn let_in(cluster: &Cluster, peer: &PeerSecurity) -> Result<()> {
    let ask = async || Ok(connect(&cluster.address, peer).await.is_ok());
    eventually(ask, |is_in| *is_in).await.map(drop)
}

/// Waits until a peer is refused, and returns why.
async fn kept_out(cluster: &Cluster, peer: &PeerSecurity) -> Result<Error> {
    let ask = async || Ok(connect(&cluster.address, peer).await.err());
    eventually(ask, Option::is_some).await?.context("refused")
}

#[tokio::test]
async fn jobs_give_the_same_rows_whatever_keys_they_need() -> Result<()> {
    let plain = Deployment::Workers(1).session_with(settings(PeerSecurity::default())).await?;
    prepare(&plain).await?;
    check_rows(&plain).await?;
    for workers in [1, 3] {
        for keys in [Keys::certificates()?, Keys::tokens()?, Keys::both()?] {
            let cluster = Cluster::start_with_keys(workers, &keys, &[], &[]).await?;
            assert!(cluster.address.starts_with(keys.scheme()), "{}", cluster.address);
            for role in ["client", "operator"] {
                let checked = check_job(&cluster, &keys.role(role)).await;
                checked.with_context(|| format!("{role}, {workers} workers, {keys:?}"))?;
            }
        }
    }
    Ok(())
}
