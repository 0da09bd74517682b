//! A job belongs to whoever submitted it: others neither read its rows nor cancel it, and an
//! operator does both.

use anyhow::{Context, Result};
use keyloom_client::{ErrorKind, Job, Session};
use keyloom_common::{
    JobId,
    rpc::{
        self, Body, ClientApiClient, Limits, Next, PeerSecurity, Submission, handshake::Service,
        in_time,
    },
};

use super::{BOUND, QUERY, ROWS, prepared};
use crate::harness::{Cluster, Keys, show_rows};

/// Few tasks run ahead of the client, so that a job whose rows are not taken stays in its midst.
const HELD: [(&str, &str); 2] = [
    ("KEYLOOM_COORDINATOR_SCHEDULER__MAX_TASKS_AHEAD", "4"),
    ("KEYLOOM_COORDINATOR_RPC__LONG_POLL_MS", "200"),
];

/// A connection over which anything may be asked about any job.
struct Peer(ClientApiClient);

impl Peer {
    async fn connect(cluster: &Cluster, security: &PeerSecurity) -> Result<Self> {
        let (limits, credentials) = (Limits::default(), security.load()?);
        let dialled = rpc::connect(&cluster.address, Service::Client, &limits, &credentials);
        Ok(Self(ClientApiClient::new(Default::default(), dialled.await?).spawn()))
    }

    async fn next(&self, job: JobId) -> keyloom_common::Result<Next> {
        in_time(BOUND, |context| self.0.next(context, job, 0)).await
    }

    async fn renew(&self, job: JobId) -> keyloom_common::Result<()> {
        in_time(BOUND, |context| self.0.renew(context, job)).await
    }

    async fn cancel(&self, job: JobId) -> keyloom_common::Result<()> {
        in_time(BOUND, |context| self.0.cancel(context, job)).await
    }

    /// Hands a job in under a number that another has drawn.
    async fn submit(&self, id: JobId) -> keyloom_common::Result<()> {
        let (plan, misses) = (Body::default(), Default::default());
        let job = Submission { id, plan, batch_rows: 8192, discard: false, misses, trace: None };
        in_time(BOUND, |context| self.0.submit(context, job)).await
    }
}

/// A cluster whose clients have certificates of their own, and one of them, with a job.
async fn begin() -> Result<(Keys, Cluster, Session, Job)> {
    let keys = Keys::certificates()?;
    keys.certify(["--client", "alice", "--client", "bob", "--operator", "olga"])?;
    let cluster = Cluster::start_with_keys(2, &keys, &HELD, &[]).await?;
    let alice = prepared(&cluster, &keys.peer("client-alice", "client")).await?;
    let job = alice.submit(alice.sql(QUERY).await?).await?;
    Ok((keys, cluster, alice, job))
}

/// What is said to whoever asks for another's job.
#[track_caller]
fn check_refused<T>(answer: keyloom_common::Result<T>, job: JobId) {
    let error = answer.err().unwrap();
    let message = format!("job {job} belongs to another client");
    assert_eq!((error.kind(), error.message()), (ErrorKind::PermissionDenied, message.as_str()));
}

#[tokio::test]
async fn another_client_neither_reads_nor_cancels_a_job_nor_takes_its_number() -> Result<()> {
    let (keys, cluster, _alice, mut job) = begin().await?;
    let bob = Peer::connect(&cluster, &keys.peer("client-bob", "client")).await?;
    let id = job.id();
    check_refused(bob.next(id).await, id);
    check_refused(bob.renew(id).await, id);
    check_refused(bob.cancel(id).await, id);
    check_refused(bob.submit(id).await, id);
    // None of it has done anything.
    let rows = show_rows(&job.collect().await?)?;
    assert_eq!(rows.len() as i64, ROWS);
    assert_eq!(rows[1], "1 | name 1");
    Ok(())
}

#[tokio::test]
async fn an_operator_reads_and_cancels_the_jobs_of_all() -> Result<()> {
    let (keys, cluster, _alice, mut job) = begin().await?;
    let olga = Peer::connect(&cluster, &keys.peer("operator-olga", "operator")).await?;
    assert!(!matches!(olga.next(job.id()).await?, Next::Done(_)));
    olga.cancel(job.id()).await?;
    let error = job.collect().await.err().context("it was not cancelled")?;
    assert!(error.message().contains("it was cancelled"), "{error}");
    Ok(())
}

#[tokio::test]
async fn the_same_client_reads_its_job_over_another_connection() -> Result<()> {
    let (keys, cluster, alice, job) = begin().await?;
    let again = Peer::connect(&cluster, &keys.peer("client-alice", "client")).await?;
    again.renew(job.id()).await?;
    assert!(!matches!(again.next(job.id()).await?, Next::Done(_)));
    drop(alice);
    again.cancel(job.id()).await?;
    Ok(())
}
