//! Jobs of many tasks: what all of them need travels to each worker once, and is read once.

use anyhow::{Context, Result};
use keyloom_client::{MemoryOptions, Session, Settings, load_kv};

use super::{groups, looked, write_parquet};
use crate::harness::{Cluster, Daemon, batch, show_rows, strings};

/// Rows of a file, each in a row group of its own.
const ROWS: i64 = 5_000;
const TASKS: u32 = 1_000;

const QUERY: &str = "SELECT n, kv_get(k, on_error => 'null')['name'] AS name FROM f";

/// The bytes of the fragments that a worker has read.
fn fragments(worker: &Daemon) -> Result<Vec<usize>> {
    let log = worker.log();
    let read = log.lines().filter(|line| line.contains("read a fragment"));
    let bytes = read.map(|line| {
        let (_, bytes) = line.split_once("bytes=").context(line.to_owned())?;
        anyhow::Ok(bytes.trim().parse()?)
    });
    bytes.collect()
}

#[tokio::test]
async fn a_fragment_travels_once_to_each_worker_and_the_end_of_a_file_is_read_once() -> Result<()> {
    let logs = [("KEYLOOM_LOG", "warn,keyloom_worker=debug")];
    let cluster = Cluster::start_with(2, &[], &logs).await?;
    let settings = Settings { task_rows: ROWS as usize / TASKS as usize, ..Settings::default() };
    let session = Session::connect_with(&cluster.address, settings).await?;
    let names = [("k", strings(["a", "b", "c"])), ("name", strings(["apple", "banana", "cherry"]))];
    session.attach(load_kv("names", MemoryOptions::batch(batch(names), "k"))?, "names").await?;
    session.set_kv("names")?;
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("rows.parquet").to_string_lossy().into_owned();
    write_parquet(&path, &groups(0, ROWS, 1))?;
    session.register("f", path.as_str()).await?;

    let mut job = session.submit(session.sql(QUERY).await?).await?;
    let rows = show_rows(&job.collect().await?)?;
    assert!(rows == looked(0, ROWS), "other rows");
    assert_eq!(job.summary().context("no summary")?.tasks, TASKS);
    for worker in &cluster.workers {
        let read = fragments(worker)?;
        let [bytes] = read.as_slice() else { panic!("{read:?}: {}", worker.log()) };
        assert!(*bytes < 32 << 10, "a fragment of {bytes} bytes");
        let ends = worker.log().matches("pages=Optional").count();
        assert_eq!(ends, 1, "{}", worker.log());
    }
    Ok(())
}
