//! A job belongs to whoever submitted it: others neither read its rows nor cancel it, and an
//! operator does both. What a client has sent is for that client's jobs and questions alone,
//! and a worker's orders are for that worker.

use anyhow::{Context, Result};
use bytes::Bytes;
use keyloom_client::{ErrorKind, Job, Session};
use keyloom_common::{
    BlobId, ErrorCode, JobId, WorkerId,
    rpc::{
        self, Body, ClientApiClient, JobTerms, Limits, Next, PeerSecurity, Submission,
        WorkerApiClient, WorkerInfo, handshake::Service, in_time,
    },
    store::{MEMORY, StoreDescription, StoreSpec},
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

    /// Sends contents.
    async fn put(&self, bytes: &'static [u8]) -> keyloom_common::Result<BlobId> {
        let (id, total) = (BlobId::of(bytes), bytes.len() as u64);
        let part = Bytes::from_static(bytes).into();
        in_time(BOUND, |context| self.0.put_blob(context, id, 0, total, part)).await?;
        Ok(id)
    }

    /// Has a worker look at contents.
    async fn describe(&self, content: BlobId) -> keyloom_common::Result<StoreDescription> {
        let spec = StoreSpec { content: Some(content), ..StoreSpec::new("s", MEMORY, "") };
        in_time(BOUND, |context| self.0.describe_store(context, spec)).await
    }

    /// Hands a job in under a number that another has drawn.
    async fn submit(&self, id: JobId) -> keyloom_common::Result<()> {
        let (plan, misses) = (Body::default(), Default::default());
        let terms = JobTerms::default();
        let (batch_rows, discard, trace) = (8192, false, None);
        let job = Submission { id, plan, batch_rows, discard, misses, terms, trace };
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

#[tokio::test]
async fn no_worker_looks_for_a_client_at_what_another_has_sent() -> Result<()> {
    let (keys, cluster, _session, _job) = begin().await?;
    let alice = Peer::connect(&cluster, &keys.peer("client-alice", "client")).await?;
    let bob = Peer::connect(&cluster, &keys.peer("client-bob", "client")).await?;
    let content = alice.put(b"nothing that rows could be made of").await?;
    let refused = bob.describe(content).await.err().context("it was looked at")?;
    assert_eq!((refused.kind(), refused.code()), (ErrorKind::NotFound, Some(ErrorCode::BlobGone)));
    // A worker has seen it for whoever sent it.
    let seen = alice.describe(content).await.err().context("there are no rows in it")?;
    assert_ne!(seen.code(), Some(ErrorCode::BlobGone), "{seen}");
    Ok(())
}

/// One of the connections of a worker by hand.
async fn worker(cluster: &Cluster, security: &PeerSecurity) -> Result<WorkerApiClient> {
    let (limits, credentials) = (Limits::default(), security.load()?);
    let dialled = rpc::connect(&cluster.address, Service::Worker, &limits, &credentials);
    Ok(WorkerApiClient::new(Default::default(), dialled.await?).spawn())
}

#[tokio::test]
async fn a_worker_takes_no_orders_of_another_and_speaks_for_none() -> Result<()> {
    let keys = Keys::certificates()?;
    keys.certify(["--worker", "one", "--worker", "two"])?;
    let cluster = Cluster::start_with_keys(1, &keys, &[], &[]).await?;
    let own = keys.peer("worker-one", "worker");
    let one = worker(&cluster, &own).await?;
    let two = worker(&cluster, &keys.peer("worker-two", "worker")).await?;
    let info =
        WorkerInfo { id: WorkerId::new(), name: "by hand".to_owned(), slots: 1, shuffle: None };
    let id = info.id;
    in_time(BOUND, |context| one.register(context, info)).await?;
    let refused = [
        in_time(BOUND, |context| two.orders(context, id)).await.map(drop),
        in_time(BOUND, |context| two.heartbeat(context, id, Vec::new(), Vec::new())).await,
        in_time(BOUND, |context| two.drain(context, id)).await,
    ];
    let message = format!("worker {id} was registered by somebody else than worker 'two'");
    for refused in refused {
        let error = refused.err().context("it spoke for another")?;
        assert_eq!((error.kind(), error.message()), (ErrorKind::PermissionDenied, &*message));
    }
    // Over another connection it is the same worker.
    let again = worker(&cluster, &own).await?;
    in_time(BOUND, |context| again.heartbeat(context, id, Vec::new(), Vec::new())).await?;
    in_time(BOUND, |context| again.drain(context, id)).await?;
    Ok(())
}
