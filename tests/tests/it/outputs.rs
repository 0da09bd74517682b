//! Outputs that workers write: the rows that a client would have got, in their order, all of them
//! or none.

mod statements;
mod stores;

use std::{fs, io, path::Path, sync::mpsc};

use anyhow::{Context, Result, bail};
use arrow::array::{RecordBatch, StringArray, UInt64Array};
use datafusion::dataframe::DataFrame;
use keyloom_client::{
    Error, ErrorKind, JobId, JobOptions, MaxMisses, Mode, Output, OutputFormat, committed_schema,
    report::JobSummary,
};

use crate::harness::{TestSession, batch, eventually, ints, on_all_deployments, open_shop, rows};

on_all_deployments! {
    a_folder_is_written_by_workers_and_read_back_in_order,
    every_format_is_read_back,
    rows_that_the_coordinator_computes_are_written_in_order,
    lookups_are_made_before_rows_are_written,
    a_union_is_written_branch_by_branch,
    no_rows_are_written_as_none,
    what_is_there_is_refused_replaced_or_kept,
    of_two_jobs_that_write_one_folder_at_once_one_is_refused_and_leaves_nothing,
    nothing_is_left_of_a_job_that_fails,
    nothing_is_left_of_a_job_that_misses_too_many_keys,
    nothing_is_left_of_a_job_that_is_cancelled,
    what_an_unknown_job_has_left_is_warned_of,
    an_output_over_an_input_is_refused,
    an_output_is_written_or_the_rows_are_dropped,
}

/// How many rows the table `numbers` has: some thirty tasks, and a third as many that write.
const ROWS: i64 = 100;

fn register_numbers(session: &TestSession) -> Result<()> {
    let numbers = batch([("n", ints(0..ROWS)), ("half", ints((0..ROWS).map(|n| n / 2)))]);
    Ok(session.register_batches("numbers", &[numbers])?)
}

fn written(output: Output) -> JobOptions {
    JobOptions { output: Some(output), ..JobOptions::default() }
}

/// Writes a query's rows. What the job did, after its result was looked at.
async fn write(
    session: &TestSession,
    query: DataFrame,
    output: Output,
) -> keyloom_client::Result<JobSummary> {
    let path = output.path.clone();
    let mut job = session.submit_with(query, written(output)).await?;
    let batches = job.collect().await?;
    let summary = job.summary().cloned().unwrap_or_default();
    assert_eq!(told(&batches), (path, summary.rows));
    Ok(summary)
}

/// Where a job says that it has written, and how many rows.
fn told(batches: &[RecordBatch]) -> (String, u64) {
    let [batch] = batches else { panic!("one batch and not {}", batches.len()) };
    assert_eq!((batch.num_rows(), batch.schema()), (1, committed_schema()));
    let path = batch.column(0).as_any().downcast_ref::<StringArray>().unwrap();
    let rows = batch.column(1).as_any().downcast_ref::<UInt64Array>().unwrap();
    (path.value(0).to_owned(), rows.value(0))
}

/// The files below a folder, without their own folder's path. None if there is no such folder.
pub(crate) fn files(folder: &str) -> Result<Vec<String>> {
    fn add(folder: &Path, root: &Path, files: &mut Vec<String>) -> Result<()> {
        let entries = match fs::read_dir(folder) {
            // It went while we looked, or was never there.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            entries => entries?,
        };
        for entry in entries {
            let path = entry?.path();
            match path.is_dir() {
                true => add(&path, root, files)?,
                false => files.push(path.strip_prefix(root)?.to_string_lossy().into_owned()),
            }
        }
        Ok(())
    }
    let (root, mut found) = (Path::new(folder), Vec::new());
    add(root, root, &mut found)?;
    found.sort();
    Ok(found)
}

/// Waits until nothing is below a folder: what is removed in the background takes its time.
async fn check_empty(folder: &str) -> Result<()> {
    eventually(async || files(folder), Vec::is_empty).await.map(drop)
}

async fn read_back(session: &TestSession, folder: &str) -> Result<Vec<String>> {
    rows(session.read(folder).await?).await
}

async fn check(session: &TestSession, name: &str, sql: &str) -> Result<()> {
    let expected = session.rows(sql).await.with_context(|| sql.to_owned())?;
    let out = session.path(&format!("{name}/"));
    let summary = write(session, session.sql(sql).await?, Output::new(&out)).await?;
    assert_eq!(summary.rows, expected.len() as u64, "{sql}");
    assert_eq!(read_back(session, &out).await?, expected, "{sql}");
    Ok(())
}

async fn a_folder_is_written_by_workers_and_read_back_in_order(
    session: &TestSession,
) -> Result<()> {
    register_numbers(session)?;
    check(session, "all", "SELECT n, half FROM numbers").await?;
    check(session, "some", "SELECT half, n * 2 AS twice FROM numbers WHERE n % 7 <> 0").await?;
    let written = files(&session.path("all"))?;
    let parquet = written.iter().filter(|file| file.ends_with(".parquet")).count();
    // Three partitions of three rows each are written together, and the last row with some.
    assert_eq!(parquet, 11, "workers wrote {written:?}");
    Ok(())
}

async fn every_format_is_read_back(session: &TestSession) -> Result<()> {
    register_numbers(session)?;
    let sql = "SELECT n, half FROM numbers";
    let expected = session.rows(sql).await?;
    for (name, format) in [
        ("parquet", OutputFormat::Parquet),
        ("arrow", OutputFormat::Arrow),
        ("csv", OutputFormat::Csv),
        ("json", OutputFormat::Json),
    ] {
        let out = session.path(&format!("{name}/"));
        let output = Output::new(&out).format(format);
        write(session, session.sql(sql).await?, output).await?;
        assert_eq!(read_back(session, &out).await?, expected, "{name}");
    }
    Ok(())
}

async fn rows_that_the_coordinator_computes_are_written_in_order(
    session: &TestSession,
) -> Result<()> {
    register_numbers(session)?;
    check(session, "sorted", "SELECT n FROM numbers ORDER BY n % 10, n DESC").await?;
    check(
        session,
        "counted",
        "SELECT half % 3 AS k, count(*) AS c FROM numbers GROUP BY 1 ORDER BY 1",
    )
    .await?;
    check(session, "limited", "SELECT n FROM numbers ORDER BY n LIMIT 10 OFFSET 5").await?;
    check(
        session,
        "joined",
        "SELECT a.n FROM numbers a JOIN numbers b ON a.n = b.half ORDER BY a.n",
    )
    .await?;
    // Without a table there is no input to cut.
    check(session, "values", "SELECT * FROM (VALUES (1, 'a'), (2, NULL)) AS v(n, t) ORDER BY n")
        .await?;
    check(session, "one", "SELECT 1 AS one").await
}

async fn lookups_are_made_before_rows_are_written(session: &TestSession) -> Result<()> {
    open_shop(session).await?;
    for store in ["lance", "memory"] {
        let get = format!("kv_get(k, source => '{store}', on_error => 'null')['name']");
        check(session, &format!("{store}-all"), &format!("SELECT n, {get} AS name FROM t")).await?;
        let sql = format!("SELECT n, {get} AS name FROM (SELECT * FROM t ORDER BY n DESC LIMIT 3)");
        check(session, &format!("{store}-last"), &sql).await?;
    }
    Ok(())
}

async fn a_union_is_written_branch_by_branch(session: &TestSession) -> Result<()> {
    register_numbers(session)?;
    let sql = "SELECT n FROM numbers WHERE n < 20 UNION ALL SELECT half FROM numbers WHERE n > 90";
    check(session, "union", sql).await
}

async fn no_rows_are_written_as_none(session: &TestSession) -> Result<()> {
    register_numbers(session)?;
    for sql in ["SELECT n FROM numbers WHERE n < 0", "SELECT n FROM numbers ORDER BY n LIMIT 0"] {
        let name = sql.len();
        let out = session.path(&format!("none-{name}/"));
        let summary = write(session, session.sql(sql).await?, Output::new(&out)).await?;
        assert_eq!(summary.rows, 0, "{sql}");
    }
    Ok(())
}

async fn what_is_there_is_refused_replaced_or_kept(session: &TestSession) -> Result<()> {
    register_numbers(session)?;
    let out = session.path("out/");
    let of = async |sql: &str, mode| {
        let query = session.sql(sql).await?;
        write(session, query, Output::new(&out).if_exists(mode)).await
    };
    let first = "SELECT n FROM numbers WHERE n < 5";
    of(first, Mode::Error).await?;
    let refused = of("SELECT n FROM numbers", Mode::Error).await.err().context("it was written")?;
    assert_eq!(refused.kind(), ErrorKind::Invalid, "{refused}");
    assert!(refused.message().contains(out.trim_end_matches('/')), "{refused}");
    assert_eq!(read_back(session, &out).await?, ["0", "1", "2", "3", "4"]);
    of("SELECT n FROM numbers WHERE n = 7", Mode::Append).await?;
    let mut all = read_back(session, &out).await?;
    all.sort();
    assert_eq!(all, ["0", "1", "2", "3", "4", "7"]);
    of("SELECT n FROM numbers WHERE n BETWEEN 10 AND 12", Mode::Overwrite).await?;
    assert_eq!(read_back(session, &out).await?, ["10", "11", "12"]);
    Ok(())
}

async fn of_two_jobs_that_write_one_folder_at_once_one_is_refused_and_leaves_nothing(
    session: &TestSession,
) -> Result<()> {
    register_numbers(session)?;
    let out = session.path("once/");
    let run = async |sql: &str| -> keyloom_client::Result<JobSummary> {
        let query = session.sql(sql).await?;
        write(session, query, Output::new(&out)).await
    };
    let [first, second] = ["SELECT n FROM numbers", "SELECT half + 1000 AS n FROM numbers"];
    let (sql, refused) = match tokio::join!(run(first), run(second)) {
        (Ok(_), Err(refused)) => (first, refused),
        (Err(refused), Ok(_)) => (second, refused),
        both => bail!("one of them is to write, and one to be refused: {both:?}"),
    };
    assert_eq!(refused.kind(), ErrorKind::Invalid);
    assert!(refused.message().contains("once"), "{refused}");
    assert_eq!(read_back(session, &out).await?, session.rows(sql).await?);
    check_empty(&session.path("once/.keyloom")).await?;
    assert_eq!(files(&session.path("once/_keyloom"))?.len(), 1);
    Ok(())
}

async fn nothing_is_left_of_a_job_that_fails(session: &TestSession) -> Result<()> {
    open_shop(session).await?;
    let out = session.path("out/");
    let query =
        session.sql("SELECT n, kv_get(k, source => 'memory')['name'] AS name FROM t").await?;
    let error = write(session, query, Output::new(&out)).await.err().context("it was written")?;
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    check_empty(&out).await
}

async fn nothing_is_left_of_a_job_that_misses_too_many_keys(session: &TestSession) -> Result<()> {
    open_shop(session).await?;
    let out = session.path("out/");
    let sql = "SELECT n, kv_get(k, source => 'memory', on_error => 'null')['name'] AS name FROM t";
    let options = |max| JobOptions { max_misses: Some(max), ..written(Output::new(&out)) };
    // Only all tasks together know how many that are.
    let few = options(MaxMisses::parse("10%")?);
    let failed = async |options| -> Result<Error> {
        let job = session.submit_with(session.sql(sql).await?, options).await?;
        job.finish().await.err().context("it was written")
    };
    let error = failed(few).await?;
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    check_empty(&out).await?;
    let query = session.sql(sql).await?;
    let job = session.submit_with(query, options(MaxMisses::Count(1))).await?;
    assert_eq!(job.finish().await?.rows, 5);
    Ok(())
}

async fn nothing_is_left_of_a_job_that_is_cancelled(session: &TestSession) -> Result<()> {
    // Long enough to be in its midst for a while.
    let many = batch([("n", ints(0..3_000))]);
    session.register_batches("many", &[many])?;
    let out = session.path("out/");
    let query = session.sql("SELECT n FROM many").await?;
    let job = session.submit_with(query, written(Output::new(&out))).await?;
    job.cancel().await?;
    check_empty(&out).await
}

async fn what_an_unknown_job_has_left_is_warned_of(session: &TestSession) -> Result<()> {
    register_numbers(session)?;
    let (tell, told) = mpsc::channel();
    session.tell_warnings(move |words| {
        let _ = tell.send(words.to_owned());
    });
    let run = async || {
        let output = Output::new(session.path("left/")).if_exists(Mode::Append);
        write(session, session.sql("SELECT n FROM numbers").await?, output).await
    };
    run().await?;
    run().await?;
    assert!(told.try_recv().is_err(), "the first job is known, and has left nothing");
    let job = JobId::new();
    let left = session.path(&format!("left/.keyloom/{job}"));
    fs::create_dir_all(&left)?;
    fs::write(format!("{left}/part"), "n")?;
    run().await?;
    let warning = told.try_recv()?;
    assert!(warning.starts_with(&format!("{left}, written to last at ")), "{warning}");
    assert!(warning.contains(&format!("was left by job {job}, which")), "{warning}");
    assert_eq!(files(&left)?, ["part"], "it may be somebody's");
    Ok(())
}

async fn an_output_over_an_input_is_refused(session: &TestSession) -> Result<()> {
    register_numbers(session)?;
    let data = session.path("data/");
    let sql = "SELECT n FROM numbers";
    write(session, session.sql(sql).await?, Output::new(&data)).await?;
    let before = read_back(session, &data).await?;
    let above = data.trim_end_matches("data/").to_owned();
    for path in [&data, &above] {
        for mode in [Mode::Append, Mode::Overwrite] {
            let query = session.read(data.as_str()).await?;
            let output = Output::new(path).if_exists(mode);
            let error = write(session, query, output).await.err().context("it was written")?;
            assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
            // Of a folder of other files, a worker may refuse to make an output before.
            let is_named = error.message().contains("which the same job reads");
            assert!(is_named || path == &above, "{error}");
        }
    }
    assert_eq!(read_back(session, &data).await?, before);
    Ok(())
}

async fn an_output_is_written_or_the_rows_are_dropped(session: &TestSession) -> Result<()> {
    register_numbers(session)?;
    let out = session.path("out/");
    let options = JobOptions { discard: true, ..written(Output::new(&out)) };
    let query = session.sql("SELECT n FROM numbers").await?;
    let error = session.submit_with(query, options).await.err().context("it was taken")?;
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.message().contains("leave out one of them"), "{error}");
    assert!(files(&out)?.is_empty());
    Ok(())
}
