//! A store whose file is away, for some attempts or for good, or is no store at all: what may pass
//! is tried again, with rests and up to a bound, and what will not is tried once.

use std::{
    fs,
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use arrow::array::RecordBatch;
use keyloom_client::{ErrorKind, Job, LanceOptions, Session, load_kv};
use tempfile::TempDir;
use tokio::time::timeout;

use super::{
    failure, whole,
    workers::{LOGGED, begun},
};
use crate::harness::{Cluster, batch, eventually, ints, write_lance};

const ROWS: i64 = 100;

/// What a job takes at most.
const BOUND: Duration = Duration::from_secs(30);

const MAX_ATTEMPTS: &str = "KEYLOOM_COORDINATOR_SCHEDULER__MAX_TASK_ATTEMPTS";
const REST: &str = "KEYLOOM_COORDINATOR_SCHEDULER__RETRY_BACKOFF_MS";

/// A Lance store with all its values in one file.
struct Store {
    folder: TempDir,
    file: PathBuf,
}

impl Store {
    async fn write() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let uri = folder.path().join("store.lance");
        let rows = batch([("id", ints(0..ROWS)), ("price", ints((0..ROWS).map(|id| id * 7)))]);
        write_lance(&uri.to_string_lossy(), &[rows], ROWS as usize).await?;
        let files: Vec<_> = fs::read_dir(uri.join("data"))?.collect::<Result<_, _>>()?;
        assert_eq!(files.len(), 1);
        Ok(Self { folder, file: files[0].path() })
    }

    fn aside(&self) -> PathBuf {
        self.folder.path().join("aside")
    }

    fn take_away(&self) -> Result<()> {
        Ok(fs::rename(&self.file, self.aside())?)
    }

    fn put_back(&self) -> Result<()> {
        Ok(fs::rename(self.aside(), &self.file)?)
    }

    /// Leaves a file of the same length.
    fn overwrite(&self) -> Result<()> {
        let length = fs::metadata(&self.file)?.len();
        Ok(fs::write(&self.file, vec![0; usize::try_from(length)?])?)
    }

    /// Starts a job of one task that looks all keys up, and some more.
    async fn start(&self, cluster: &Cluster, more: i64) -> Result<(Session, Job)> {
        let session = Session::connect(&cluster.address).await?;
        let uri = self.folder.path().join("store.lance");
        let options = LanceOptions::new(uri.to_string_lossy()).key("id");
        session.attach(load_kv("prices", options)?, "prices").await?;
        let table = RecordBatch::try_from_iter([("id", ints(0..ROWS + more))])?;
        session.register_batches("t", &[table])?;
        let query = session.sql("SELECT kv_get(id, source => 'prices')['price'] FROM t").await?;
        let job = session.submit(query).await?;
        Ok((session, job))
    }
}

/// One worker, which logs its attempts.
async fn start_cluster(env: &[(&str, &str)]) -> Result<Cluster> {
    Cluster::start_with(1, env, &[LOGGED]).await
}

async fn check(mut job: Job) -> Result<()> {
    let batches = timeout(BOUND, job.collect()).await;
    let batches = batches.with_context(|| format!("no end within {BOUND:?}"))??;
    assert_eq!(whole(&batches)?.column(0), &ints((0..ROWS).map(|id| id * 7)));
    let store = &job.summary().context("no summary")?.stores["prices"];
    assert_eq!(store.distinct, ROWS as u64, "one attempt counts");
    assert_eq!((store.job_keys, store.missed_rows), (ROWS as u64, 0), "one attempt counts");
    Ok(())
}

/// The attempts that there should be of a job of one task.
fn numbered(job: &Job, attempts: u32) -> Vec<String> {
    (0..attempts).map(|number| format!("{}/0/0#{number}", job.id())).collect()
}

#[tokio::test]
async fn a_store_that_cannot_be_read_for_some_attempts_is_read_by_the_next() -> Result<()> {
    const FAILING: usize = 3;
    let store = Store::write().await?;
    let cluster = start_cluster(&[(MAX_ATTEMPTS, "10000"), (REST, "20")]).await?;
    store.take_away()?;
    let (_session, job) = store.start(&cluster, 0).await?;
    // When another begins, those before it have failed.
    let attempts = async || Ok(begun(job.id(), &cluster.workers).len());
    eventually(attempts, |attempts| *attempts > FAILING).await?;
    store.put_back()?;
    check(job).await
}

#[tokio::test]
async fn a_store_that_cannot_be_read_is_tried_so_often_with_rests_that_grow() -> Result<()> {
    let store = Store::write().await?;
    let cluster = start_cluster(&[(MAX_ATTEMPTS, "3"), (REST, "300")]).await?;
    store.take_away()?;
    let since = Instant::now();
    let (_session, job) = store.start(&cluster, 0).await?;
    let (id, expected) = (job.id(), numbered(&job, 3));
    let error = failure(job, BOUND).await?;
    let took = since.elapsed();
    assert_eq!(error.kind(), ErrorKind::Store, "{error}");
    let doing = format!("task {id}/0/0 failed in 3 attempts; last: KV store 'prices'");
    assert!(error.message().starts_with(&doing), "{error}");
    assert_eq!(begun(id, &cluster.workers), expected);
    assert!(took >= Duration::from_millis(300 + 600), "{took:?}");

    store.put_back()?;
    let (_session, job) = store.start(&cluster, 0).await?;
    check(job).await
}

#[tokio::test]
async fn what_will_never_succeed_is_tried_once() -> Result<()> {
    let store = Store::write().await?;
    let cluster = start_cluster(&[]).await?;
    // A key that is not there.
    let (_session, job) = store.start(&cluster, 1).await?;
    let (id, expected) = (job.id(), numbered(&job, 1));
    let error = failure(job, BOUND).await?;
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    assert_eq!(begun(id, &cluster.workers), expected);

    // A file that is none of a store.
    let other = Store::write().await?;
    other.overwrite()?;
    let (_session, job) = other.start(&cluster, 0).await?;
    let (id, expected) = (job.id(), numbered(&job, 1));
    let error = failure(job, BOUND).await?;
    assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    assert_eq!(begun(id, &cluster.workers), expected);
    Ok(())
}
