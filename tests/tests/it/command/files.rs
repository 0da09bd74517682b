//! Files of rows: whole or not at all, and with columns that others can read.

use std::{
    fs::{self, File},
    io::BufReader,
    sync::Arc,
};

use anyhow::{Context, Result};
use arrow::{
    array::{Array, ArrayRef, AsArray, FixedSizeListArray, RecordBatch},
    datatypes::{DataType, Float32Type},
    ipc::reader::FileReader,
};
use datafusion::parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::{Keyloom, input, names, write_arrow};
use crate::harness::{TestSession, batch, ints, on_all_deployments, strings, write_lance};

on_all_deployments! {
    paths_in_a_job_s_statement_are_relative_to_its_file,
    vectors_that_are_missing_are_null_lists,
    arrow_types_are_kept_on_demand,
    dictionaries_that_differ_are_plain_values,
    a_job_that_fails_leaves_no_file,
    a_column_that_cannot_be_written_is_found_before_the_job,
}

/// The vectors of 1 and 2.
fn vectors() -> RecordBatch {
    let lists = [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]];
    let lists = lists.map(|list| Some(list.map(Some)));
    let lists = FixedSizeListArray::from_iter_primitive::<Float32Type, _, _>(lists, 3);
    batch([("id", ints([1, 2])), ("vector", Arc::new(lists) as ArrayRef)])
}

/// Makes the store of the vectors and the keys 2, 5 and 1.
async fn prepare(session: &TestSession) -> Result<()> {
    write_lance(&session.path("vectors.lance"), &[vectors()], 2).await?;
    write_arrow(session.path("asks.arrow"), &batch([("id", ints([2, 5, 1]))]))
}

/// Makes a job that asks for the vectors.
fn job(session: &TestSession, output: &str) -> Result<String> {
    let text = format!(
        "[inputs.asks]
         path = 'asks.arrow'
         [stores.vectors]
         kind = 'lance'
         uri = 'vectors.lance'
         key = 'id'
         [job]
         sql = '''SELECT id, kv_get(id, source => 'vectors', columns => ['vector'],
                                    on_error => 'null')['vector'] AS v FROM asks'''
         output = {output}"
    );
    let path = session.path("job.toml");
    fs::write(&path, text)?;
    Ok(path)
}

/// The rows of a Parquet file.
fn read(path: &str) -> Result<RecordBatch> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(path)?)?.build()?;
    reader.into_iter().next().context("no rows")?.map_err(Into::into)
}

/// The vectors that are found, of lists of any kind.
fn check_vectors(found: &dyn Array, list: impl Fn(usize) -> ArrayRef) {
    let values = |row| list(row).as_primitive::<Float32Type>().values().to_vec();
    assert_eq!(values(0), [4.0, 5.0, 6.0]);
    assert!(found.is_null(1));
    assert_eq!(values(2), [1.0, 2.0, 3.0]);
}

async fn paths_in_a_job_s_statement_are_relative_to_its_file(session: &TestSession) -> Result<()> {
    fs::create_dir(session.path("jobs"))?;
    write_arrow(session.path("jobs/asks.arrow"), &batch([("id", ints([2, 5, 1]))]))?;
    let elsewhere = session.path("other.arrow");
    write_arrow(&elsewhere, &batch([("id", ints([7]))]))?;
    let job = session.path("jobs/job.toml");
    let sql = format!("SELECT id FROM 'asks.arrow' UNION ALL SELECT id FROM '{elsewhere}'");
    fs::write(&job, format!("[job]\nsql = \"SELECT sum(id) AS ids FROM ({sql})\""))?;
    for (within, path) in [("", "jobs/job.toml"), ("jobs", "job.toml"), ("", job.as_str())] {
        let run = Keyloom::on(session, ["run", path, "-o", "csv"]).await?;
        let ended = run.within(session.path(within)).run().await?;
        assert_eq!(ended.stdout()?, "ids\n15\n", "{path}");
        let explain = Keyloom::on(session, ["explain", path]).await?;
        explain.within(session.path(within)).run().await?.stdout()?;
    }
    Ok(())
}

async fn vectors_that_are_missing_are_null_lists(session: &TestSession) -> Result<()> {
    prepare(session).await?;
    let job = job(session, "'out.parquet'")?;
    let ended = Keyloom::on(session, ["run", &job]).await?.run().await?;
    assert_eq!(ended.stdout()?, "");
    let found = read(&session.path("out.parquet"))?;
    assert_eq!(found.column(0), &ints([2, 5, 1]));
    let DataType::List(item) = found.column(1).data_type() else { panic!("{found:?}") };
    assert_eq!(item.data_type(), &DataType::Float32);
    let lists = found.column(1).as_list::<i32>();
    check_vectors(lists, |row| lists.value(row));
    Ok(())
}

async fn arrow_types_are_kept_on_demand(session: &TestSession) -> Result<()> {
    let check = || -> Result<()> {
        let found = read(&session.path("out.parquet"))?;
        let lists = found.column(1).as_fixed_size_list_opt().context("lists of one size")?;
        check_vectors(lists, |row| lists.value(row));
        Ok(())
    };
    prepare(session).await?;
    let kept = job(session, "{ path = 'out.parquet', arrow_types = true }")?;
    Keyloom::on(session, ["run", &kept]).await?.run().await?.stdout()?;
    check()?;
    let plain = job(session, "{ path = 'out.parquet' }")?;
    Keyloom::on(session, ["run", &plain, "--arrow-types"]).await?.run().await?.stdout()?;
    check()
}

async fn dictionaries_that_differ_are_plain_values(session: &TestSession) -> Result<()> {
    let keys = ["a", "b", "b", "c", "a", "d", "e"];
    write_arrow(session.path("t.arrow"), &batch([("k", strings(keys))]))?;
    // Each batch has a dictionary of its own.
    fs::write(session.path("config.toml"), "[session]\nbatch_rows = 2\n")?;
    let sql = "SELECT arrow_cast(k, 'Dictionary(Int32, Utf8)') AS k FROM t";
    let (output, config) = (session.path("out.arrow"), session.path("config.toml"));
    let mut arguments = vec!["sql", sql, "-o", &output, "--config", &config];
    let input = input("t", &session.path("t.arrow"));
    arguments.extend(input.iter().map(String::as_str));
    Keyloom::on(session, arguments).await?.run().await?.stdout()?;
    let reader = FileReader::try_new(BufReader::new(File::open(&output)?), None)?;
    let mut found = Vec::new();
    for batch in reader {
        let batch = batch?;
        let texts = batch.column(0).as_string_opt::<i32>().context("texts")?;
        found.extend(texts.iter().map(|text| text.unwrap_or_default().to_owned()));
    }
    assert_eq!(found, keys);
    Ok(())
}

async fn a_job_that_fails_leaves_no_file(session: &TestSession) -> Result<()> {
    prepare(session).await?;
    let job = job(session, "'out.csv'")?;
    let text = fs::read_to_string(&job)?.replace("'null')['vector']", "'raise')['vector'][1]");
    fs::write(&job, text)?;
    let before = names(session.path(""))?;
    let ended = Keyloom::on(session, ["run", &job]).await?.run().await?;
    ended.check_failure(1, &["Key not found in KV store 'vectors': 5", "help: "]);
    assert_eq!(names(session.path(""))?, before);

    // What was there before stays.
    fs::write(session.path("out.csv"), "old")?;
    let ended = Keyloom::on(session, ["run", &job]).await?.run().await?;
    ended.check_failure(1, &["Key not found"]);
    assert_eq!(fs::read_to_string(session.path("out.csv"))?, "old");
    assert_eq!(names(session.path(""))?.len(), before.len() + 1);
    Ok(())
}

async fn a_column_that_cannot_be_written_is_found_before_the_job(
    session: &TestSession,
) -> Result<()> {
    prepare(session).await?;
    let job = job(session, "'out.csv'")?;
    let before = names(session.path(""))?;
    let ended = Keyloom::on(session, ["run", &job]).await?.run().await?;
    let words = "column 'v' holds FixedSizeList(3 x Float32), which CSV cannot hold";
    ended.check_failure(2, &[words, "help: take single fields"]);
    let sql = "SELECT INTERVAL '1 month' AS i";
    let output = session.path("out.parquet");
    let ended = Keyloom::on(session, ["sql", sql, "-o", &output]).await?.run().await?;
    let words = "column 'i' holds Interval(MonthDayNano), which Parquet cannot hold";
    ended.check_failure(2, &[words, "help: take CAST(i AS VARCHAR), or write .arrow"]);
    assert_eq!(names(session.path(""))?, before);
    Ok(())
}
