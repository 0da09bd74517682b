//! A network that flips bits, at places that are drawn: in either direction, of clients and of
//! workers, in what they say first and in all that follows.
//!
//! `KEYLOOM_SEED` repeats a run, and `KEYLOOM_CORRUPTED` says how many connections are corrupted.

use std::{
    env, fs,
    io::{self, Write},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result, ensure};
use arrow::array::StringArray;
use keyloom_client::Session;
use rand::{Rng, SeedableRng, rngs::SmallRng};
use tempfile::TempDir;
use tokio::{process::Command, time::timeout};

use crate::harness::{
    Cluster, Daemon, Direction, IMPATIENT_COORDINATOR, IMPATIENT_WORKER, Proxy, bare, batch,
    column, eventually, ints, program, write_lance,
};

/// So many connections are corrupted if nobody says how many.
const CONNECTIONS: usize = 40;

/// The table of a job that is small enough to be run for each, and its store.
const ROWS: i64 = 2_000;
const KEYS: i64 = 1_000;

/// No job takes longer, whatever the network does.
const BOUND: Duration = Duration::from_secs(60);

/// So many jobs may pass before the byte to be damaged does.
const JOBS: usize = 20;

/// So often a bit is flipped until somebody says so.
const TRIES: usize = 3;

/// Of what passes in a clean job: the very end is said to who may be gone.
const PART: f64 = 0.8;

/// One of these is said of a connection that is given up, by who gives it up.
const REASONS: [&str; 5] = [
    "arrived damaged",
    "does not speak Keyloom's protocol",
    "no handshake within",
    "the connection broke during the handshake",
    "no coordinator answers",
];

/// What must never be made of damage: it is for good.
const FOR_GOOD: &str = "use one build on all machines";

/// A bit that is flipped.
#[derive(Clone, Copy, Debug)]
struct Corruption {
    of_worker: bool,
    direction: Direction,
    in_handshake: bool,
    /// Where, from 0 to 1.
    place: f64,
    bit: usize,
}

impl Corruption {
    fn draw(random: &mut SmallRng) -> Self {
        Self {
            of_worker: random.random(),
            direction: Direction::BOTH[random.random_range(0..2)],
            in_handshake: random.random_ratio(1, 4),
            place: random.random_range(0.0..1.0),
            bit: random.random_range(0..8),
        }
    }

    /// The bytes that no connection is damaged in, and the place of the one to be damaged among the
    /// others, where connections say so much first, and so much in all.
    fn byte(self, (first, all): (usize, usize)) -> (usize, usize) {
        let of = |bytes: usize, part: f64| (bytes as f64 * part) as usize;
        match self.in_handshake {
            true => (0, of(first, self.place)),
            false => (first, of(all.saturating_sub(first), self.place * PART)),
        }
    }
}

/// How a job ended.
#[derive(Debug)]
struct Ended {
    is_well: bool,
    rows: String,
    words: String,
}

/// A cluster of two workers, the second of which has its connections through a proxy. Jobs may have
/// theirs through another.
struct Rig {
    cluster: Cluster,
    of_clients: Proxy,
    of_worker: Proxy,
    folder: TempDir,
    expected: String,
    /// How much is said first and in all, by direction.
    of_client_bytes: [(usize, usize); 2],
    of_worker_bytes: [(usize, usize); 2],
}

fn bytes(proxy: &Proxy) -> [usize; 2] {
    Direction::BOTH.map(|direction| proxy.bytes(direction))
}

impl Rig {
    async fn start() -> Result<Self> {
        let mut cluster = Cluster::start_with(1, &IMPATIENT_COORDINATOR, &IMPATIENT_WORKER).await?;
        let of_clients = Proxy::start(&cluster.address).await?;
        let of_worker = Proxy::start(&cluster.address).await?;
        let arguments = ["--coordinator", of_worker.address(), "--slots", "2"];
        cluster.workers.push(Daemon::start("keyloom-worker", &arguments, &IMPATIENT_WORKER)?);
        cluster.wait_for_workers(2).await?;
        let folder = tempfile::tempdir()?;
        write_data(&folder).await?;
        let (expected, none) = (String::new(), [(0, 0); 2]);
        let (of_client_bytes, of_worker_bytes) = (none, none);
        let mut rig = Self {
            cluster,
            of_clients,
            of_worker,
            folder,
            expected,
            of_client_bytes,
            of_worker_bytes,
        };
        rig.measure().await?;
        Ok(rig)
    }

    /// Runs jobs without a fault: one in a process alone, for its rows.
    async fn measure(&mut self) -> Result<()> {
        let alone = self.run(None).await?;
        ensure!(alone.is_well && alone.rows.lines().count() == ROWS as usize, "{alone:?}");
        self.expected = alone.rows;
        let before = bytes(&self.of_clients);
        drop(Session::connect(self.of_clients.address()).await?);
        let first = bytes(&self.of_clients);
        let worker_before = bytes(&self.of_worker);
        let clean = self.run(Some(self.of_clients.address())).await?;
        ensure!(clean.is_well && clean.rows == self.expected, "{clean:?}");
        let (last, worker_last) = (bytes(&self.of_clients), bytes(&self.of_worker));
        for at in 0..2 {
            let said_first = first[at] - before[at];
            self.of_client_bytes[at] = (said_first, last[at] - first[at]);
            let by_worker = worker_last[at] - worker_before[at];
            self.of_worker_bytes[at] = (said_first, said_first + by_worker);
        }
        Ok(())
    }

    /// Runs a job by the command, on a cluster or alone.
    async fn run(&self, cluster: Option<&str>) -> Result<Ended> {
        let path = |name: &str| self.folder.path().join(name).display().to_string();
        let sql = format!(
            "SELECT id, kv_get(id, on_error => 'null').name AS name FROM '{}'",
            path("rows.csv")
        );
        let store = format!("names=lance:{}?key=id", path("names.lance"));
        let mut command = bare(Command::new(program("keyloom")?));
        command.args(["sql", &sql, "--store", &store, "-o", "json"]).env("KEYLOOM_LOG", "warn");
        if let Some(cluster) = cluster {
            command.args(["--cluster", cluster]);
        }
        let output = timeout(BOUND, command.output()).await;
        let output = output.with_context(|| format!("no end within {BOUND:?}"))??;
        Ok(Ended {
            is_well: output.status.success(),
            rows: String::from_utf8(output.stdout)?,
            words: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }

    /// All logs of the cluster.
    fn logs(&self) -> Vec<String> {
        let daemons = [&self.cluster.coordinator].into_iter().chain(&self.cluster.workers);
        daemons.map(Daemon::log).collect()
    }

    /// Flips a bit while jobs run, until it is flipped. Whether somebody says so, where that is to be
    /// said.
    async fn corrupt(&self, corruption: Corruption) -> Result<bool> {
        let Corruption { of_worker, direction, bit, .. } = corruption;
        let (proxy, said, address) = match of_worker {
            true => (&self.of_worker, self.of_worker_bytes, self.cluster.address.as_str()),
            false => (&self.of_clients, self.of_client_bytes, self.of_clients.address()),
        };
        let before: Vec<_> = self.logs().iter().map(String::len).collect();
        if of_worker {
            // Its next life begins with a handshake.
            proxy.reset();
        }
        let (first, byte) = corruption.byte(said[direction as usize]);
        proxy.flip_behind(first, direction, byte, bit);
        let (mut jobs, mut words) = (0, String::new());
        while jobs == 0 || proxy.flip_waits() {
            if jobs == JOBS {
                // Other workers had all the tasks: nothing of the byte has passed to be damaged.
                return Ok(true);
            }
            let ended = self.run(Some(address)).await?;
            self.check(&ended, of_worker)?;
            words += &ended.words;
            jobs += 1;
        }
        self.cluster.wait_for_workers(2).await.context("a worker stays away")?;
        // What is first said does not depend on all of its bytes, and who is asked by a job that
        // began before may be gone.
        if corruption.in_handshake || jobs > 1 {
            return Ok(true);
        }
        let told = async || {
            let logs = self.logs();
            let new = logs.iter().zip(&before).map(|(log, before)| log.get(*before..));
            let said = new.flatten().chain([words.as_str()]).collect::<Vec<_>>().join("\n");
            Ok(REASONS.into_iter().find(|reason| said.contains(*reason)))
        };
        Ok(eventually(told, Option::is_some).await.is_ok())
    }

    /// A job has the right rows, or says why it has none.
    fn check(&self, ended: &Ended, is_direct: bool) -> Result<()> {
        if ended.is_well {
            ensure!(ended.rows == self.expected, "other rows: {ended:?}");
            return Ok(());
        }
        ensure!(!is_direct, "a job of a client without a fault failed: {ended:?}");
        ensure!(self.expected.starts_with(&ended.rows), "other rows: {ended:?}");
        ensure!(REASONS.iter().any(|reason| ended.words.contains(*reason)), "{ended:?}");
        ensure!(!ended.words.contains(FOR_GOOD), "{ended:?}");
        Ok(())
    }
}

async fn write_data(folder: &TempDir) -> Result<()> {
    let ids = (0..ROWS).map(|id| id.to_string()).collect::<Vec<_>>().join("\n");
    fs::write(folder.path().join("rows.csv"), format!("id\n{ids}\n"))?;
    let names = StringArray::from_iter_values((0..KEYS).map(|key| format!("name {key}")));
    let rows = batch([("id", ints(0..KEYS)), ("name", column(names))]);
    let uri = folder.path().join("names.lance").display().to_string();
    write_lance(&uri, &[rows], 500).await.map(drop)
}

/// A number of the environment.
fn number(name: &str) -> Result<Option<u64>> {
    let Ok(value) = env::var(name) else { return Ok(None) };
    Ok(Some(value.parse().with_context(|| format!("{name}={value}"))?))
}

#[tokio::test]
async fn corrupted_connections_change_no_row_and_are_given_up_by_name() -> Result<()> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let seed = number("KEYLOOM_SEED")?.unwrap_or(now);
    let connections = number("KEYLOOM_CORRUPTED")?.unwrap_or(CONNECTIONS as u64);
    // Not by a macro, whose words a test keeps.
    let _ = writeln!(io::stderr(), "corrupted connections: KEYLOOM_SEED={seed}");
    let rig = Rig::start().await?;
    let mut random = SmallRng::seed_from_u64(seed);
    for connection in 0..connections {
        let corruption = Corruption::draw(&mut random);
        let place = || format!("{corruption:?}, connection {connection} of KEYLOOM_SEED={seed}");
        let mut is_told = false;
        // What still passes of a connection that was just closed may be the byte: once, not always.
        for _ in 0..TRIES {
            is_told = is_told || rig.corrupt(corruption).await.with_context(place)?;
        }
        ensure!(is_told, "nobody says why: {}\n{}", place(), rig.logs().join("\n"));
    }
    // All goes on as before.
    let clean = rig.run(Some(&rig.cluster.address)).await?;
    ensure!(clean.is_well && clean.rows == rig.expected, "{clean:?}");
    Ok(())
}
