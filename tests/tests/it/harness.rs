//! Deployments to run cases on, and what cases are made of: tables, stores, expected rows.
//!
//! A case is an `async fn(&TestSession) -> Result<()>`; [`on_all_deployments`] makes three tests of
//! it, and [`on_all_deployments_and_ways`] some more that force the ways to the rows of Lance
//! stores. The worker processes of a deployment are shared by all tests of a process and die with
//! it.

mod cluster;
mod counts;
mod daemon;
mod data;
mod end;
mod http;
mod keys;
mod machine;
mod proxy;
mod shop;
mod ways;

use std::{
    collections::BTreeMap,
    fmt::Debug,
    io::{Write, stderr},
    ops::Deref,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use arrow::array::RecordBatch;
use datafusion::dataframe::DataFrame;
use keyloom_client::{
    EmbeddedSettings, Error, ErrorKind, KeyNames, LanceOptions, MemoryOptions, Session, Settings,
    load_kv,
    report::{JobSummary, StoreStats},
};
use tempfile::TempDir;
use tokio::sync::OnceCell;

pub(crate) use cluster::{Cluster, start_worker_with_keys};
pub(crate) use counts::{keys_scanned, run};
pub(crate) use daemon::{Daemon, program};
pub(crate) use data::{batch, column, ints, show_rows, strings, write_lance, write_lance_with};
pub(crate) use end::{bare, run_to_end};
pub(crate) use http::{Answer, Asked, ask_over_tls, connect_over_tls, get, get_over_tls};
pub(crate) use keys::Keys;
pub(crate) use machine::{End, Machine};
pub(crate) use proxy::{Direction, HANDSHAKE_MS, IMPATIENT_COORDINATOR, IMPATIENT_WORKER, Proxy};
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

/// The most rows of a task that writes, on all deployments: small tables are several, too.
const WRITE_ROWS: usize = 10;

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
                let mut embedded = EmbeddedSettings {
                    workers: Some(2),
                    session: settings,
                    ..EmbeddedSettings::default()
                };
                embedded.coordinator.write_slice_rows = WRITE_ROWS;
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
    let rows = WRITE_ROWS.to_string();
    let env = [("KEYLOOM_COORDINATOR_WRITE_SLICE_ROWS", rows.as_str())];
    cell.get_or_try_init(|| Cluster::start_with(workers, &env, &[])).await
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
