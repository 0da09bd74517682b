//! Deployments to run cases on, and what cases are made of: tables, stores, expected rows.
//!
//! A case is an `async fn(&TestSession) -> Result<()>`; [`on_all_deployments`] makes three tests of
//! it, and [`on_all_deployments_and_ways`] some more that force the ways to the rows of Lance
//! stores. The worker processes of a deployment are shared by all tests of a process and die with
//! it.

mod counts;
mod keys;
mod machine;
mod proxy;
mod shop;
mod ways;

use std::{
    collections::BTreeMap,
    fmt::Debug,
    fs,
    io::{BufRead, BufReader, Write, stderr},
    ops::Deref,
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use arrow::{
    array::{Array, ArrayRef, Int64Array, RecordBatch, RecordBatchIterator, StringArray},
    datatypes::Schema,
    util::display::{ArrayFormatter, FormatOptions},
};
use datafusion::dataframe::DataFrame;
use keyloom_client::{
    EmbeddedSettings, Error, ErrorKind, KeyNames, LanceOptions, MemoryOptions, Session, Settings,
    load_kv,
    report::{JobSummary, StoreStats},
};
use keyloom_common::rpc::PeerSecurity;
use lance::{Dataset, dataset::WriteParams};
use tempfile::TempDir;
use tokio::sync::OnceCell;

pub(crate) use counts::{keys_scanned, run};
pub(crate) use keys::Keys;
pub(crate) use machine::{End, Machine};
pub(crate) use proxy::{Direction, Proxy};
pub(crate) use shop::{items, open_shop, products};
pub(crate) use ways::{Ways, index};

/// Makes three tests of each case: `case::embedded`, `case::one_worker`, `case::three_workers`.
macro_rules! on_all_deployments {
    ($($case:ident),* $(,)?) => {$(
        mod $case {
            use $crate::harness::Deployment;

            $crate::harness::run_on! {
                super::$case:
                embedded on Deployment::Embedded.session(),
                one_worker on Deployment::Workers(1).session(),
                three_workers on Deployment::Workers(3).session(),
            }
        }
    )*};
}
pub(crate) use on_all_deployments;

/// Makes the same tests, where the ways to the rows of Lance stores are chosen by cost, and an
/// embedded one for each of some forced ways: all key paths and all row paths are among them.
macro_rules! on_all_deployments_and_ways {
    ($($case:ident),* $(,)?) => {$(
        mod $case {
            use $crate::harness::{Deployment, Ways};

            $crate::harness::run_on! {
                super::$case:
                embedded on Deployment::Embedded.session(),
                one_worker on Deployment::Workers(1).session(),
                three_workers on Deployment::Workers(3).session(),
                embedded_by_map_and_take on Ways::MAP_AND_TAKE.session(),
                embedded_by_map_and_scan on Ways::MAP_AND_SCAN.session(),
                embedded_by_scan_and_take on Ways::SCAN_AND_TAKE.session(),
                embedded_by_btree_and_scan on Ways::BTREE_AND_SCAN.session(),
            }
        }
    )*};
}
pub(crate) use on_all_deployments_and_ways;

/// Makes a test of a case for each session.
macro_rules! run_on {
    ($case:path: $($name:ident on $session:expr),* $(,)?) => {$(
        #[tokio::test]
        async fn $name() -> anyhow::Result<()> {
            $case(&$session.await?).await
        }
    )*};
}
pub(crate) use run_on;

/// How long processes may take to start and register.
const START_TIMEOUT: Duration = Duration::from_secs(30);

/// Where a session's work is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Deployment {
    /// In this process, by two workers.
    Embedded,
    /// By this many worker processes of two slots each: one or three.
    Workers(usize),
}

impl Deployment {
    pub(crate) const ALL: [Self; 3] = [Self::Embedded, Self::Workers(1), Self::Workers(3)];

    /// A session that cuts inputs into tasks of three rows, so that small tables reach all workers.
    pub(crate) async fn session(self) -> Result<TestSession> {
        self.session_with(Settings { task_rows: 3, task_bytes: 256, ..Settings::default() }).await
    }

    /// A session with default settings: a small table is one task and one batch, so that what is
    /// counted by batch can be foretold.
    pub(crate) async fn undivided(self) -> Result<TestSession> {
        self.session_with(Settings::default()).await
    }

    pub(crate) async fn session_with(self, settings: Settings) -> Result<TestSession> {
        let session = match self {
            Self::Embedded => {
                let embedded = EmbeddedSettings {
                    workers: Some(2),
                    session: settings,
                    ..EmbeddedSettings::default()
                };
                Session::embedded_with(embedded).await?
            }
            Self::Workers(workers) => {
                Session::connect_with(&shared(workers).await?.address, settings).await?
            }
        };
        let ways = Ways::default();
        Ok(TestSession { session, deployment: self, ways, dir: tempfile::tempdir()? })
    }
}

/// The cluster that all tests of this process share.
async fn shared(workers: usize) -> Result<&'static Cluster> {
    static ONE: OnceCell<Cluster> = OnceCell::const_new();
    static THREE: OnceCell<Cluster> = OnceCell::const_new();
    let cell = match workers {
        1 => &ONE,
        3 => &THREE,
        _ => bail!("clusters of one and of three workers are shared, not of {workers}"),
    };
    cell.get_or_try_init(|| Cluster::start(workers)).await
}

/// A session of a test and a folder for its files.
pub(crate) struct TestSession {
    session: Session,
    deployment: Deployment,
    ways: Ways,
    dir: TempDir,
}

impl Deref for TestSession {
    type Target = Session;

    fn deref(&self) -> &Session {
        &self.session
    }
}

impl TestSession {
    /// A session in this process with settings of its own.
    pub(crate) async fn embedded(settings: EmbeddedSettings) -> Result<Self> {
        let session = Session::embedded_with(settings).await?;
        let (deployment, ways) = (Deployment::Embedded, Ways::default());
        Ok(Self { session, deployment, ways, dir: tempfile::tempdir()? })
    }

    pub(crate) fn deployment(&self) -> Deployment {
        self.deployment
    }

    /// The flags by which the command runs its jobs on the same deployment.
    pub(crate) async fn place(&self) -> Result<Vec<String>> {
        match self.deployment {
            Deployment::Embedded => Ok(Vec::new()),
            Deployment::Workers(workers) => {
                Ok(vec!["--cluster".to_owned(), shared(workers).await?.address.clone()])
            }
        }
    }

    /// A path within a folder that goes when the test ends.
    pub(crate) fn path(&self, name: &str) -> String {
        self.dir.path().join(name).to_string_lossy().into_owned()
    }

    /// A session on the same deployment and of the same ways, but as [`Deployment::undivided`].
    pub(crate) async fn undivided(&self) -> Result<Self> {
        Ok(Self { ways: self.ways, ..self.deployment.undivided().await? })
    }

    /// Attaches a memory store of rows, keyed by a column or several.
    pub(crate) async fn attach_memory(
        &self,
        alias: &str,
        rows: RecordBatch,
        key: impl Into<KeyNames>,
    ) -> Result<()> {
        Ok(self.attach(load_kv(alias, MemoryOptions::batch(rows, key))?, alias).await?)
    }

    /// Attaches a Lance store of rows, keyed by a column or several, and written in fragments of
    /// two rows.
    pub(crate) async fn attach_lance(
        &self,
        alias: &str,
        rows: RecordBatch,
        key: impl Into<KeyNames>,
    ) -> Result<()> {
        let uri = self.path(&format!("{alias}.lance"));
        write_lance(&uri, &[rows], 2).await?;
        Ok(self.attach(load_kv(alias, self.lance(uri, key).await?)?, alias).await?)
    }

    /// A Lance store that is looked up by this session's ways. It gets the index for that, so this
    /// is not for tests that count versions.
    pub(crate) async fn lance(
        &self,
        uri: impl Into<String>,
        key: impl Into<KeyNames>,
    ) -> Result<LanceOptions> {
        self.ways.force(LanceOptions::new(uri).key(key)).await
    }

    /// The rows of a query as [`show_rows`] shows them.
    pub(crate) async fn rows(&self, sql: &str) -> Result<Vec<String>> {
        rows(self.session.sql(sql).await?).await
    }

    /// Runs a query and compares its rows.
    pub(crate) async fn check(&self, sql: &str, expected: &[&str]) -> Result<()> {
        let rows = self.rows(sql).await.with_context(|| sql.to_owned())?;
        assert_eq!(rows, expected, "{sql}");
        Ok(())
    }

    /// Why a query fails, be it planning or running.
    pub(crate) async fn failure(&self, sql: &str) -> Result<Error> {
        match self.session.sql(sql).await {
            Err(error) => Ok(error),
            Ok(query) => failure(query).await.with_context(|| sql.to_owned()),
        }
    }

    /// Runs a query that must fail and compares the message.
    pub(crate) async fn check_failure(
        &self,
        sql: &str,
        kind: ErrorKind,
        message: &str,
    ) -> Result<()> {
        let error = self.failure(sql).await?;
        assert_eq!((error.kind(), error.message()), (kind, message), "{sql}");
        Ok(())
    }

    /// Refuses a statement while it is planned: nothing runs.
    pub(crate) async fn check_refusal(
        &self,
        sql: &str,
        kind: ErrorKind,
        message: &str,
    ) -> Result<()> {
        let refused = self.session.sql(sql).await.err();
        let error = refused.with_context(|| format!("planned, and should not have been: {sql}"))?;
        assert_eq!((error.kind(), error.message()), (kind, message), "{sql}");
        Ok(())
    }

    /// What a query did.
    pub(crate) async fn summary(&self, sql: &str) -> Result<JobSummary> {
        let query = self.session.sql(sql).await?;
        Ok(self.session.submit(query).await?.finish().await?)
    }

    /// What a query counted for one store: nothing if it was never asked.
    pub(crate) async fn counted(&self, sql: &str, alias: &str) -> Result<StoreStats> {
        Ok(self.stores(sql).await?.remove(alias).unwrap_or_default())
    }

    pub(crate) async fn stores(&self, sql: &str) -> Result<BTreeMap<String, StoreStats>> {
        Ok(self.summary(sql).await.with_context(|| sql.to_owned())?.stores)
    }
}

/// The rows of a query as [`show_rows`] shows them.
pub(crate) async fn rows(query: DataFrame) -> Result<Vec<String>> {
    show_rows(&query.collect().await.map_err(Error::from)?)
}

/// Runs a query and compares its rows.
pub(crate) async fn check_rows(query: DataFrame, expected: &[&str]) -> Result<()> {
    assert_eq!(rows(query).await?, expected);
    Ok(())
}

/// Why a query fails.
pub(crate) async fn failure(query: DataFrame) -> Result<Error> {
    match query.collect().await {
        Ok(batches) => bail!("no failure but {:?}", show_rows(&batches)?),
        Err(error) => Ok(error.into()),
    }
}

/// Rows as text, their values between ` | `. A null is `NULL`, a struct `{a: 1, b: x}`.
pub(crate) fn show_rows(batches: &[RecordBatch]) -> Result<Vec<String>> {
    let options = FormatOptions::default().with_null("NULL");
    let mut rows = Vec::new();
    for batch in batches {
        let columns = batch.columns().iter();
        let columns = columns.map(|column| ArrayFormatter::try_new(column.as_ref(), &options));
        let columns = columns.collect::<Result<Vec<_>, _>>()?;
        for row in 0..batch.num_rows() {
            let values = columns.iter().map(|column| column.value(row).try_to_string());
            rows.push(values.collect::<Result<Vec<_>, _>>()?.join(" | "));
        }
    }
    Ok(rows)
}

/// Columns as one batch; all may hold nulls.
pub(crate) fn batch<'a>(columns: impl IntoIterator<Item = (&'a str, ArrayRef)>) -> RecordBatch {
    let columns = columns.into_iter().map(|(name, column)| (name, column, true));
    RecordBatch::try_from_iter_with_nullable(columns).expect("columns of one length")
}

/// A column of `Int64`, from numbers or options of them.
pub(crate) fn ints<T: Into<Option<i64>>>(values: impl IntoIterator<Item = T>) -> ArrayRef {
    Arc::new(values.into_iter().map(Into::into).collect::<Int64Array>())
}

/// A column of `Utf8`, from strings or options of them.
pub(crate) fn strings<'a, T: Into<Option<&'a str>>>(
    values: impl IntoIterator<Item = T>,
) -> ArrayRef {
    Arc::new(values.into_iter().map(Into::into).collect::<StringArray>())
}

/// A column of any type.
pub(crate) fn column(array: impl Array + 'static) -> ArrayRef {
    Arc::new(array)
}

/// Writes batches as a Lance dataset in fragments of so many rows.
pub(crate) async fn write_lance(
    uri: &str,
    batches: &[RecordBatch],
    fragment_rows: usize,
) -> Result<Dataset> {
    let params = WriteParams { max_rows_per_file: fragment_rows, ..WriteParams::default() };
    write_lance_with(uri, batches, params).await
}

/// Writes batches as a Lance dataset.
pub(crate) async fn write_lance_with(
    uri: &str,
    batches: &[RecordBatch],
    params: WriteParams,
) -> Result<Dataset> {
    let schema = batches.first().map_or_else(|| Arc::new(Schema::empty()), RecordBatch::schema);
    let owned: Vec<_> = batches.to_vec();
    let reader = RecordBatchIterator::new(owned.into_iter().map(Ok), schema);
    Ok(Dataset::write(reader, uri, Some(params)).await?)
}

/// A coordinator and workers as processes. They end when this is dropped, or when the process of
/// the tests ends, however it ends.
#[derive(Debug)]
pub(crate) struct Cluster {
    pub(crate) address: String,
    pub(crate) coordinator: Daemon,
    pub(crate) workers: Vec<Daemon>,
    /// What its own sessions connect with.
    security: PeerSecurity,
}

impl Cluster {
    /// Workers of two slots each, all registered.
    pub(crate) async fn start(workers: usize) -> Result<Self> {
        Self::start_with(workers, &[], &[]).await
    }

    /// The same with environments (`KEYLOOM_COORDINATOR_…`, `KEYLOOM_WORKER_…`).
    pub(crate) async fn start_with(
        workers: usize,
        coordinator_env: &[(&str, &str)],
        worker_env: &[(&str, &str)],
    ) -> Result<Self> {
        Self::start_at("127.0.0.1:0", workers, coordinator_env, worker_env).await
    }

    /// The same, reached at this address, also if that is no loopback.
    pub(crate) async fn start_at(
        listen: &str,
        workers: usize,
        coordinator_env: &[(&str, &str)],
        worker_env: &[(&str, &str)],
    ) -> Result<Self> {
        let arguments = ["--insecure-listen", "--listen", listen];
        let mut coordinator = Daemon::start("keyloom-coordinator", &arguments, coordinator_env)?;
        let address = coordinator.line_with("tcp://")?;
        let start = |_| start_worker(&address, worker_env);
        let workers = (0..workers).map(start).collect::<Result<Vec<_>>>()?;
        let security = PeerSecurity::default();
        let cluster = Self { address, coordinator, workers, security };
        cluster.wait_for_workers(cluster.workers.len()).await?;
        Ok(cluster)
    }

    /// One that lets nobody in but those who have keys of it.
    pub(crate) async fn start_with_keys(
        workers: usize,
        keys: &Keys,
        coordinator_env: &[(&str, &str)],
        worker_env: &[(&str, &str)],
    ) -> Result<Self> {
        keys.write("coordinator.toml", &keys.coordinator_settings())?;
        let config = keys.path("coordinator.toml").to_string_lossy().into_owned();
        let arguments = ["--listen", "127.0.0.1:0", "--config", &config];
        let mut coordinator = Daemon::start("keyloom-coordinator", &arguments, coordinator_env)?;
        let address = coordinator.line_with(keys.scheme())?;
        let start = |_| start_worker_with_keys(&address, keys, worker_env);
        let workers = (0..workers).map(start).collect::<Result<Vec<_>>>()?;
        let cluster = Self { address, coordinator, workers, security: keys.role("operator") };
        cluster.wait_for_workers(cluster.workers.len()).await?;
        Ok(cluster)
    }

    /// Ends the worker that started first, and starts another one.
    pub(crate) async fn restart_a_worker(&mut self) -> Result<()> {
        drop(self.workers.remove(0));
        self.wait_for_workers(self.workers.len()).await?;
        self.workers.push(start_worker(&self.address, &[])?);
        self.wait_for_workers(self.workers.len()).await
    }

    /// Waits until exactly so many workers are registered.
    pub(crate) async fn wait_for_workers(&self, workers: usize) -> Result<()> {
        let settings = Settings { security: self.security.clone(), ..Settings::default() };
        let session = Session::connect_with(&self.address, settings).await?;
        let registered = async || Ok(session.workers().await?.len());
        let registered = eventually(registered, |registered| *registered == workers).await;
        registered.map(drop).with_context(|| {
            let daemons = self.workers.iter().chain([&self.coordinator]);
            daemons.map(Daemon::log).collect::<Vec<_>>().join("\n")
        })
    }
}

/// A worker of two slots.
fn start_worker(coordinator: &str, env: &[(&str, &str)]) -> Result<Daemon> {
    Daemon::start("keyloom-worker", &["--coordinator", coordinator, "--slots", "2"], env)
}

/// The same with keys of its cluster, which it gets by a file of settings.
pub(crate) fn start_worker_with_keys(
    coordinator: &str,
    keys: &Keys,
    env: &[(&str, &str)],
) -> Result<Daemon> {
    keys.write("worker.toml", &keys.worker_settings())?;
    let config = keys.path("worker.toml").to_string_lossy().into_owned();
    let arguments = ["--coordinator", coordinator, "--slots", "2", "--config", &config];
    Daemon::start("keyloom-worker", &arguments, env)
}

/// Asks until the answer is the wanted one, for a bounded time.
pub(crate) async fn eventually<T: Debug>(
    ask: impl AsyncFn() -> Result<T>,
    wanted: impl Fn(&T) -> bool,
) -> Result<T> {
    let start = Instant::now();
    loop {
        let answer = ask().await?;
        if wanted(&answer) {
            return Ok(answer);
        }
        ensure!(start.elapsed() < START_TIMEOUT, "still {answer:?} after {START_TIMEOUT:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Says by name what cannot be tested here, since this machine lacks something or forbids it.
///
/// # Errors
/// Where `KEYLOOM_TEST_ALL` is set.
pub(crate) fn not_tested(what: &str, why: &str) -> Result<()> {
    let why = why.trim();
    ensure!(std::env::var_os("KEYLOOM_TEST_ALL").is_none(), "{what} cannot be tested here: {why}");
    // Not by a macro: what those write, the runner shows of tests that fail.
    writeln!(stderr(), "not tested here: {what}: {why}")?;
    Ok(())
}

/// A process of ours behind a shell that kills it when our end of a pipe closes: statics are never
/// dropped, but pipes of a dead process are closed.
#[derive(Debug)]
pub(crate) struct Daemon {
    shell: Child,
    stdout: BufReader<ChildStdout>,
    log: PathBuf,
    pid: u32,
}

const SHELL: &str = r#"
log=$1; shift
"$@" 2>"$log" & pid=$!
echo "pid $pid"
exec >&-
cat >/dev/null
kill -KILL $pid; wait $pid
rm -f "$log"
"#;

impl Daemon {
    pub(crate) fn start(name: &str, arguments: &[&str], env: &[(&str, &str)]) -> Result<Self> {
        Self::start_by(&[], name, arguments, env)
    }

    /// Starts one on another machine.
    pub(crate) fn start_on(
        machine: &Machine,
        name: &str,
        arguments: &[&str],
        env: &[(&str, &str)],
    ) -> Result<Self> {
        Self::start_by(&machine.command(), name, arguments, env)
    }

    /// Starts one by a command that becomes what it starts.
    fn start_by(
        command_line: &[&str],
        name: &str,
        arguments: &[&str],
        env: &[(&str, &str)],
    ) -> Result<Self> {
        let log = tempfile::Builder::new()
            .prefix(&format!("{name}-"))
            .suffix(".log")
            .tempfile_in(env!("CARGO_TARGET_TMPDIR"))?
            .into_temp_path()
            .keep()?;
        let mut command = Command::new("sh");
        command.args(["-c", SHELL, "sh"]).arg(&log);
        command.args(command_line).arg(program(name)?).args(arguments);
        command.envs(env.iter().copied());
        // Nothing of the tests' own streams is handed down: who reads these would wait for us.
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut shell = command.spawn()?;
        let stdout = shell.stdout.take().context("stdout is piped")?;
        let mut daemon = Self { shell, stdout: BufReader::new(stdout), log, pid: 0 };
        daemon.pid = daemon.line_with("pid ")?["pid ".len()..].parse()?;
        Ok(daemon)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    /// What it has written to stderr.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// The next line of stdout that starts so.
    pub(crate) fn line_with(&mut self, prefix: &str) -> Result<String> {
        loop {
            let mut line = String::new();
            let read = self.stdout.read_line(&mut line)?;
            ensure!(read > 0, "it ended before it said '{prefix}…': {}", self.log());
            if line.starts_with(prefix) {
                return Ok(line.trim_end().to_owned());
            }
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        drop(self.shell.stdin.take());
        // The shell ends by itself now; without a wait it would stay a zombie.
        let _ = self.shell.wait();
    }
}

/// A command of the workspace, beside this test's own binary.
pub(crate) fn program(name: &str) -> Result<PathBuf> {
    let test = std::env::current_exe()?;
    let target = test.parent().and_then(Path::parent).context("cargo's target directory")?;
    let program = target.join(name);
    ensure!(program.exists(), "{} is missing; run cargo build --workspace", program.display());
    Ok(program)
}
