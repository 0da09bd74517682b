//! Statements that are long or nested deep: the right rows, or an error that says how deep one may
//! be, and never the end of a process.

use std::{fs, path::Path, process::Output, thread, time::Duration};

use anyhow::{Context, Result, anyhow};
use arrow::{
    array::{AsArray, RecordBatch},
    datatypes::Int64Type,
};
use datafusion::{
    dataframe::{DataFrame, DataFrameWriteOptions},
    prelude::{col, lit},
};
use futures::TryStreamExt;
use keyloom_client::{ErrorKind, Session};
use tempfile::TempDir;
use tokio::{runtime, time::timeout};

use super::{clients::keyloom, whole};
use crate::harness::{Cluster, batch, ints};

/// How long a statement may take.
const BOUND: Duration = Duration::from_secs(120);

/// What is said of statements that are nested too deep.
const TOO_DEEP: &str = "the query is nested more than 1024 levels deep; ";

/// What is said of statements that are too long to be looked at.
const TOO_LONG: &str = "operators and words of syntax, more than 100000; ";

/// Where a statement is run: by a process that is its own cluster, so that it ends alone if it ends
/// badly, and by one on a cluster. The table `t` holds 1, 2 and 3 as `a`.
struct Places {
    folder: TempDir,
    cluster: Cluster,
}

/// How a statement ended.
#[derive(Debug)]
struct Ended {
    code: i32,
    stdout: String,
    stderr: String,
}

impl Places {
    async fn start() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        fs::write(folder.path().join("t.csv"), "a\n1\n2\n3\n")?;
        Ok(Self { folder, cluster: Cluster::start(1).await? })
    }

    async fn run(&self, sql: &str) -> Result<[Ended; 2]> {
        // Too long for a command line.
        fs::write(self.folder.path().join("statement.sql"), sql)?;
        let here = self.run_at(&[]).await.context("in its process")?;
        let there = self.run_at(&["--cluster", &self.cluster.address]).await;
        Ok([here, there.context("on a cluster")?])
    }

    async fn run_at(&self, place: &[&str]) -> Result<Ended> {
        let input = format!("t={}", self.folder.path().join("t.csv").display());
        let statement = ["sql", "-f", "statement.sql", "--input", &input, "--format", "csv"];
        let mut command = keyloom([&statement[..], place].concat())?;
        command.current_dir(self.folder.path());
        let output = timeout(BOUND, command.output()).await.context("it does not end")??;
        let Output { status, stdout, stderr } = output;
        Ok(Ended {
            code: status.code().with_context(|| format!("a signal ended it: {status}"))?,
            stdout: String::from_utf8(stdout)?,
            stderr: String::from_utf8(stderr)?,
        })
    }

    async fn check(&self, sql: &str, rows: &str) -> Result<()> {
        for ended in self.run(sql).await? {
            ended.check_rows(rows);
        }
        Ok(())
    }

    async fn check_refusal(&self, sql: &str, words: &str) -> Result<()> {
        for ended in self.run(sql).await? {
            ended.check_refusal(words);
        }
        // Nobody else suffers.
        self.cluster.wait_for_workers(1).await?;
        self.check("SELECT a FROM t", "a\n1\n2\n3\n").await
    }
}

impl Ended {
    fn check_rows(&self, rows: &str) {
        assert_eq!((self.code, self.stdout.as_str()), (0, rows), "{}", self.stderr);
    }

    fn check_refusal(&self, words: &str) {
        assert_eq!((self.code, self.stdout.as_str()), (1, ""), "{}", self.stderr);
        assert!(self.stderr.starts_with("error: "), "{}", self.stderr);
        assert!(self.stderr.contains(words), "{}", self.stderr);
    }
}

/// The sum of so many terms, which are all `a`.
fn sum(terms: usize) -> String {
    format!("SELECT {} AS s FROM t", vec!["a"; terms].join(" + "))
}

/// What is written around a statement or an expression, so often.
fn nested(times: usize, innermost: &str, write: impl Fn(&str) -> String) -> String {
    (0..times).fold(innermost.to_owned(), |inner, _| write(&inner))
}

#[tokio::test]
async fn long_sums_are_right() -> Result<()> {
    let places = Places::start().await?;
    places.check(&sum(900), "s\n900\n1800\n2700\n").await
}

#[tokio::test]
async fn sums_that_are_too_long_are_refused() -> Result<()> {
    let places = Places::start().await?;
    for (terms, words) in [(3_000, TOO_DEEP), (50_000, TOO_DEEP), (200_001, TOO_LONG)] {
        let refused = places.check_refusal(&sum(terms), words).await;
        refused.with_context(|| format!("{terms} terms"))?;
    }
    Ok(())
}

#[tokio::test]
async fn a_thousand_conditions_are_right_or_too_deep() -> Result<()> {
    let places = Places::start().await?;
    let conditions: Vec<_> = (3..1_004).map(|value| format!("a = {value}")).collect();
    let sql = format!("SELECT a FROM t WHERE {}", conditions.join(" OR "));
    for ended in places.run(&sql).await? {
        match ended.code {
            0 => ended.check_rows("a\n3\n"),
            _ => ended.check_refusal(TOO_DEEP),
        }
    }
    // As the error says.
    let values: Vec<_> = (3..1_004).map(|value| value.to_string()).collect();
    let sql = format!("SELECT a FROM t WHERE a IN ({})", values.join(", "));
    places.check(&sql, "a\n3\n").await
}

#[tokio::test]
async fn parentheses_and_subqueries_within_each_other_are_right() -> Result<()> {
    let places = Places::start().await?;
    let parentheses = nested(300, "a", |inner| format!("({inner})"));
    places.check(&format!("SELECT {parentheses} AS a FROM t"), "a\n1\n2\n3\n").await?;
    let within = |inner: &str| format!("SELECT a + 1 AS a FROM ({inner}) AS q");
    let subqueries = nested(150, "SELECT a FROM t", within);
    places.check(&subqueries, "a\n151\n152\n153\n").await
}

#[tokio::test]
async fn a_union_of_many_is_right() -> Result<()> {
    let places = Places::start().await?;
    let all = vec!["SELECT a FROM t"; 201].join(" UNION ALL ");
    let sql = format!("SELECT count(*) AS n, sum(a) AS s FROM ({all}) AS u");
    places.check(&sql, "n,s\n603,1206\n").await
}

#[tokio::test]
async fn a_session_plans_on_its_callers_stack_what_would_not_fit_there() -> Result<()> {
    let cluster = Cluster::start(1).await?;
    for session in [Session::embedded().await?, Session::connect(&cluster.address).await?] {
        session.register_batches("t", &[batch([("a", ints(1..=3))])])?;
        let mut job = session.submit(session.sql(&sum(900)).await?).await?;
        assert_eq!(whole(&job.collect().await?)?.column(0), &ints([900, 1800, 2700]));
        for (terms, words) in [(3_000, TOO_DEEP), (50_000, TOO_DEEP), (200_001, TOO_LONG)] {
            let planned = session.sql(&sum(terms)).await;
            let error = planned.err().with_context(|| format!("{terms} terms were planned"))?;
            assert_eq!(error.kind(), ErrorKind::ResourceExhausted, "{error}");
            assert!(error.message().contains(words), "{error}");
        }
    }
    Ok(())
}

/// Runs on a thread of so little stack as threads of other programs have.
fn on_a_small_stack(work: impl Future<Output = Result<()>> + Send + 'static) -> Result<()> {
    let run = move || -> Result<()> {
        runtime::Builder::new_current_thread().enable_all().build()?.block_on(work)
    };
    let thread = thread::Builder::new().stack_size(2 << 20).spawn(run)?;
    thread.join().map_err(|_| anyhow!("the thread panicked"))?
}

fn first_column(batches: &[RecordBatch]) -> Result<Vec<i64>> {
    Ok(whole(batches)?.column(0).as_primitive::<Int64Type>().values().to_vec())
}

/// Checks DataFusion's own ways to the rows of a query: 400, 800 and 1200 as `s`.
async fn check_methods(query: &DataFrame, folder: &Path) -> Result<()> {
    let sums = [400, 800, 1200];
    assert_eq!(first_column(&query.clone().collect().await?)?, sums);
    let stream = query.clone().execute_stream().await?;
    assert_eq!(first_column(&stream.try_collect::<Vec<_>>().await?)?, sums);
    assert_eq!(query.clone().count().await?, 3);
    let shown = query.clone().to_string().await?;
    assert!(sums.iter().all(|sum| shown.contains(&sum.to_string())), "{shown}");
    let larger = query.clone().filter(col("s").gt(lit(400)))?.limit(1, Some(1))?;
    assert_eq!(first_column(&larger.collect().await?)?, [1200]);

    let path = folder.join("sums.csv");
    let path = path.to_str().context("a path that is text")?;
    let options = DataFrameWriteOptions::new().with_single_file_output(true);
    query.clone().write_csv(path, options, None).await?;
    assert_eq!(fs::read_to_string(path)?, "s\n400\n800\n1200\n");
    fs::remove_file(path).context("the file that was written")
}

/// Checks what EXPLAIN says of a query, however it is asked.
async fn check_explains(session: &Session, sql: &str) -> Result<()> {
    let explained = session.sql(&format!("EXPLAIN {sql}")).await?.collect().await?;
    let explained = whole(&explained)?;
    let [names, plans] = [0, 1].map(|column| explained.column(column).as_string::<i32>());
    assert_eq!((names.value(0), names.value(1)), ("logical_plan", "physical_plan"));
    let (logical, physical) = (plans.value(0), plans.value(1));
    assert!(logical.starts_with("Projection: t.a + t.a + "), "{logical}");
    assert!(logical.contains("TableScan: t"), "{logical}");
    assert!(physical.starts_with("ProjectionExec: expr=["), "{physical}");
    let again = session.explain(session.sql(sql).await?, false).await?;
    assert_eq!(again.trim_end(), physical.trim_end());
    Ok(())
}

#[tokio::test]
async fn datafusions_own_methods_plan_on_any_stack() -> Result<()> {
    let cluster = Cluster::start(1).await?;
    let address = cluster.address.clone();
    on_a_small_stack(async move {
        let folder = tempfile::tempdir()?;
        for session in [Session::embedded().await?, Session::connect(&address).await?] {
            session.register_batches("t", &[batch([("a", ints(1..=3))])])?;
            let query = session.sql(&sum(400)).await?;
            Box::pin(check_methods(&query, folder.path())).await?;
            Box::pin(check_explains(&session, &sum(400))).await?;
        }
        Ok(())
    })
}
