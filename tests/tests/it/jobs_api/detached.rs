//! Jobs that go on without the client that submitted them.

use anyhow::{Context, Result};
use arrow::array::RecordBatch;
use keyloom_client::{
    ErrorKind, JobId, JobOptions, Session, Settings, WorkerId,
    report::{JobState, RowSchema},
};

use super::{LONG_POLL, QUERY, ROWS, check_rows, cluster, connect, detached, settings, submit};
use crate::harness::{Cluster, Keys, batch, eventually, ints};

#[tokio::test]
async fn a_detached_job_is_read_by_another_client_when_its_own_is_gone() -> Result<()> {
    let cluster = cluster(2).await?;
    let first = connect(&cluster.address).await?;
    let id = submit(&first, detached()).await?;
    drop(first);

    let second = connect(&cluster.address).await?;
    let job = second.attach_job(id).await?;
    let info = job.wait().await?;
    assert_eq!((info.id, info.state, info.name.as_deref()), (id, JobState::Done, Some("twice")));
    assert_eq!(info.summary.map(|summary| summary.rows), Some(2_000));
    assert!(info.submitted_ms <= info.started_ms.context("it began")?);
    assert!(info.started_ms <= info.ended_ms);
    let listed = second.jobs().await?.jobs;
    assert!(listed.iter().any(|job| job.id == id && job.state == JobState::Done), "{listed:?}");
    check_rows(job.results().await?).await?;
    // They are there once.
    let gone = async || Ok(job.results().await.err().map(|error| error.kind()));
    eventually(gone, |gone| *gone == Some(ErrorKind::NotFound)).await?;
    assert_eq!(job.info().await?.state, JobState::Done);
    Ok(())
}

#[tokio::test]
async fn who_takes_the_rows_of_a_job_that_has_none_is_told_of_its_columns() -> Result<()> {
    let cluster = cluster(1).await?;
    let embedded = Session::embedded().await?;
    for session in [connect(&cluster.address).await?, embedded] {
        session.register_batches("none", &[batch([("id", ints(0..0))])])?;
        session.register_batches("some", &[batch([("id", ints(0..9))])])?;
        for table in ["none", "some"] {
            let sql = format!("SELECT id, id * 2 AS twice FROM {table} WHERE id < 0");
            let job = session.submit_with(session.sql(&sql).await?, detached()).await?;
            let (planned, job) = (job.schema().clone(), job.detach()?);
            let mut taken = job.results().await?;
            assert_eq!(taken.schema().fields(), planned.fields(), "{table}");
            assert_eq!(taken.collect().await?.iter().map(RecordBatch::num_rows).sum::<usize>(), 0);
            let RowSchema(known) = job.info().await?.schema.context("its columns")?;
            assert_eq!(known.fields(), planned.fields(), "{table}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_job_that_is_not_detached_ends_with_its_client_and_is_remembered() -> Result<()> {
    // Without a worker, it waits.
    let cluster = cluster(0).await?;
    let first = connect(&cluster.address).await?;
    let job = first.submit(first.sql(QUERY).await?).await?;
    let id = job.id();
    let error = job.detach().err().context("it is not detached")?;
    assert!(error.message().contains("was not submitted as detached"), "{error}");
    let second = connect(&cluster.address).await?;
    let info = second.attach_job(id).await?.wait().await?;
    assert_eq!(info.state, JobState::Cancelled);
    Ok(())
}

#[tokio::test]
async fn a_job_is_cancelled_by_its_id_and_stays_known() -> Result<()> {
    let cluster = cluster(0).await?;
    let session = connect(&cluster.address).await?;
    let job = session.attach_job(submit(&session, detached()).await?).await?;
    assert!(!job.info().await?.state.is_end());
    job.cancel().await?;
    assert_eq!(job.wait().await?.state, JobState::Cancelled);
    let error = job.results().await.err().context("it has no rows")?;
    assert!(error.message().contains("it was cancelled"), "{error}");
    let error = job.resume().await.err().context("it was cancelled")?;
    assert!(error.message().contains("cannot be resumed: it was cancelled"), "{error}");
    Ok(())
}

#[tokio::test]
async fn a_job_of_an_id_that_was_submitted_before_runs_once() -> Result<()> {
    let cluster = cluster(1).await?;
    let session = connect(&cluster.address).await?;
    let options = JobOptions { id: Some(JobId::new()), ..detached() };
    let [first, second] =
        [submit(&session, options.clone()).await?, submit(&session, options.clone()).await?];
    assert_eq!((Some(first), Some(second)), (options.id, options.id));
    let job = session.attach_job(first).await?;
    assert_eq!(job.wait().await?.state, JobState::Done);
    check_rows(job.results().await?).await?;
    assert_eq!(submit(&session, options).await?, first);
    let runs = cluster.coordinator.log().matches("job submitted").count();
    assert_eq!(runs, 1, "{}", cluster.coordinator.log());
    let known = session.jobs().await?.jobs;
    assert_eq!(known.iter().filter(|job| job.id == first).count(), 1);
    Ok(())
}

#[tokio::test]
async fn another_client_neither_sees_nor_cancels_a_job_and_an_operator_does() -> Result<()> {
    let keys = Keys::certificates()?;
    keys.certify(["--client", "alice", "--client", "bob", "--operator", "olga"])?;
    let cluster = Cluster::start_with_keys(1, &keys, &[LONG_POLL], &[]).await?;
    let session = async |certificate: &str, role: &str| {
        let security = keys.peer(certificate, role);
        let settings = Settings { security, ..settings() };
        let session = Session::connect_with(&cluster.address, settings).await?;
        session.register_batches("t", &[batch([("id", ints(0..ROWS))])])?;
        anyhow::Ok(session)
    };
    let alice = session("client-alice", "client").await?;
    let bob = session("client-bob", "client").await?;
    let olga = session("operator-olga", "operator").await?;
    let id = submit(&alice, detached()).await?;

    let message = format!("job {id} belongs to another client");
    let refused = bob.attach_job(id).await.err().context("it is alice's")?;
    assert_eq!((refused.kind(), refused.message()), (ErrorKind::PermissionDenied, &*message));
    assert_eq!(bob.jobs().await?.jobs, []);
    let refused = bob.drain_worker(WorkerId::new()).await.err().context("bob is no operator")?;
    assert_eq!(refused.kind(), ErrorKind::PermissionDenied);

    let job = olga.attach_job(id).await?;
    assert_eq!(job.wait().await?.owner, "client 'alice'");
    assert_eq!(olga.jobs().await?.jobs.len(), 1);
    assert_eq!(job.logs().await?.lines[0].text, "by client 'alice'");
    check_rows(alice.attach_job(id).await?.results().await?).await
}

#[tokio::test]
async fn a_worker_that_is_drained_ends_what_it_runs_and_goes() -> Result<()> {
    let cluster = cluster(2).await?;
    let session = connect(&cluster.address).await?;
    let worker = session.workers().await?.first().context("a worker")?.id;
    session.drain_worker(worker).await?;
    cluster.wait_for_workers(1).await?;
    assert!(session.workers().await?.iter().all(|other| other.id != worker));
    let gone = session.drain_worker(worker).await.err().context("it is gone")?;
    assert_eq!(gone.kind(), ErrorKind::NotFound);
    let job = session.submit(session.sql(QUERY).await?).await?;
    check_rows(job).await?;
    // It did not come back under another name.
    assert_eq!(session.workers().await?.len(), 1);
    Ok(())
}
