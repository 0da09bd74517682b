//! Job files as people have them, run by the command: the right rows are beside each.
//!
//! All run in one folder, each after the one before was removed: its files and stores stand where
//! others stood, and what knew those must not answer from them.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};
use arrow::json::{LineDelimitedWriter, writer::WriterBuilder};
use datafusion::parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::Value;

use crate::harness::{Cluster, program};

/// The job files, in the order of their folders' names.
fn jobs() -> Result<Vec<PathBuf>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/jobs");
    let entries = fs::read_dir(folder)?.map(|entry| Ok(entry?.path()));
    let mut jobs = entries.collect::<Result<Vec<_>>>()?;
    jobs.sort();
    Ok(jobs)
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir(to)?;
    for entry in fs::read_dir(from)? {
        let (from, to) = (entry.as_ref().unwrap().path(), to.join(entry?.file_name()));
        if from.is_dir() {
            copy(&from, &to)?;
        } else {
            fs::copy(from, to)?;
        }
    }
    Ok(())
}

/// The rows of a Parquet file as JSON objects.
fn rows(path: &Path) -> Result<Vec<Value>> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(fs::File::open(path)?)?.build()?;
    let builder = WriterBuilder::new().with_explicit_nulls(true);
    let mut writer: LineDelimitedWriter<Vec<u8>> = builder.build(Vec::new());
    for batch in reader {
        writer.write(&batch?)?;
    }
    writer.finish()?;
    let text = String::from_utf8(writer.into_inner())?;
    text.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
}

/// Runs all jobs, twice over, in a place.
fn check_jobs(place: &[&str]) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let here = folder.path().join("job");
    let jobs = jobs()?;
    for job in jobs.iter().chain(&jobs) {
        copy(job, &here)?;
        run(&here, place).with_context(|| job.display().to_string())?;
        fs::remove_dir_all(&here)?;
    }
    Ok(())
}

fn run(folder: &Path, place: &[&str]) -> Result<()> {
    let output = Command::new(program("keyloom")?)
        .arg("run")
        .arg(folder.join("job.toml"))
        .args(place)
        .env_remove("KEYLOOM_CLUSTER")
        .output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let expected: Vec<Value> =
        serde_json::from_str(&fs::read_to_string(folder.join("expected.json"))?)?;
    assert_eq!(rows(&folder.join("out.parquet"))?, expected, "{}", folder.display());
    Ok(())
}

#[test]
fn all_jobs_give_the_right_rows_in_one_process() -> Result<()> {
    check_jobs(&[])
}

#[tokio::test]
async fn all_jobs_give_the_right_rows_on_a_cluster_that_stays_up() -> Result<()> {
    let cluster = Cluster::start(3).await?;
    let address = cluster.address.clone();
    tokio::task::spawn_blocking(move || check_jobs(&["--cluster", &address])).await?
}
