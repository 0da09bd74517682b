//! What daemons tell over HTTP: whether they live and work, and what they count, which is compared
//! with jobs whose figures are known.

mod exposition;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
};

use anyhow::{Context, Result, ensure};
use keyloom_client::{
    ErrorKind, MemoryOptions, Session, Settings, load_kv,
    report::{JobSummary, StoreStats},
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::harness::{
    Answer, Cluster, Daemon, batch, eventually, failure, get, ints, run_to_end, strings,
};
use exposition::Exposition;

/// Lets daemons answer HTTP.
const COORDINATOR: (&str, &str) = ("KEYLOOM_COORDINATOR_HTTP__LISTEN", "127.0.0.1:0");
const WORKER: (&str, &str) = ("KEYLOOM_WORKER_HTTP__LISTEN", "127.0.0.1:0");

/// Keys that are asked for: each twice, of which the store holds those below [`HELD`].
const KEYS: i64 = 300;
const HELD: i64 = 200;

const QUERY: &str = "SELECT kv_get(k, source => 'words', on_error => 'null')['word'] FROM t";

/// The status and the reason.
async fn ready(address: &str) -> Result<(u16, String)> {
    let Answer { status, body, .. } = get(address, "/readyz").await?;
    Ok((status, body))
}

/// What is counted, in the one format that there is.
async fn scrape(address: &str) -> Result<Exposition> {
    let Answer { status, head, body } = get(address, "/metrics").await?;
    ensure!(status == 200, "{status}: {body}");
    let format = "content-type: application/openmetrics-text; version=1.0.0; charset=utf-8";
    ensure!(head.lines().any(|line| line == format), "{head}");
    Exposition::parse(&body)
}

/// A cluster whose daemons answer HTTP, and where: the coordinator, and each worker.
struct Told {
    cluster: Cluster,
    coordinator: String,
    workers: Vec<String>,
}

impl Told {
    async fn start(workers: usize, worker_env: &[(&str, &str)]) -> Result<Self> {
        let env = [&[WORKER][..], worker_env].concat();
        let mut cluster = Cluster::start_with(workers, &[COORDINATOR], &env).await?;
        let coordinator = cluster.coordinator.line_with("http://")?;
        let workers = cluster.workers.iter_mut().map(|worker| worker.line_with("http://"));
        let workers = workers.collect::<Result<Vec<_>>>()?;
        Ok(Self { cluster, coordinator, workers })
    }

    /// A session whose table `t` has each key twice, in tasks of so many rows.
    async fn session(&self, task_rows: usize) -> Result<Session> {
        let settings = Settings { task_rows, task_bytes: 256, ..Settings::default() };
        let session = Session::connect_with(&self.cluster.address, settings).await?;
        session.register_batches("t", &[batch([("k", ints((0..KEYS).chain(0..KEYS)))])])?;
        Ok(session)
    }

    /// The sum of what all workers have counted.
    async fn of_workers(&self, name: &str, labels: &[(&str, &str)]) -> Result<f64> {
        let mut sum = 0.0;
        for worker in &self.workers {
            sum += scrape(worker).await?.sum(name, labels);
        }
        Ok(sum)
    }
}

/// Attaches a store of words under an alias.
async fn attach(session: &Session, alias: &str) -> Result<()> {
    let words: Vec<_> = (0..HELD).map(|id| format!("word {id}")).collect();
    let words = strings(words.iter().map(String::as_str));
    let rows = batch([("id", ints(0..HELD)), ("word", words)]);
    Ok(session.attach(load_kv(alias, MemoryOptions::batch(rows, "id"))?, alias).await?)
}

async fn run(session: &Session, sql: &str) -> Result<JobSummary> {
    let query = session.sql(sql).await?;
    Ok(session.submit(query).await?.finish().await?)
}

/// A job's figures are those that the daemons tell.
async fn check_known_job(workers: usize) -> Result<()> {
    let told = Told::start(workers, &[]).await?;
    let session = told.session(50).await?;
    attach(&session, "words").await?;
    let before = scrape(&told.coordinator).await?;
    assert_eq!(before.sum("keyloom_coordinator_tasks_finished_total", &[]), 0.0);
    let job = run(&session, QUERY).await?;
    let StoreStats { keys, distinct, hits, misses, requests, .. } = job.stores["words"];
    assert_eq!((job.rows, keys), (2 * KEYS as u64, 2 * KEYS as u64));
    assert_eq!(hits + misses, distinct);
    assert!(job.tasks > 1 && misses > 0, "{job:?}");

    let store = [("store", "words"), ("kind", "memory")];
    for (name, expected) in [
        ("keyloom_worker_lookup_keys_total", keys),
        ("keyloom_worker_lookup_distinct_keys_total", distinct),
        ("keyloom_worker_lookup_hits_total", hits),
        ("keyloom_worker_lookup_misses_total", misses),
        ("keyloom_worker_lookup_requests_total", requests),
        ("keyloom_worker_lookup_request_duration_seconds_count", requests),
        ("keyloom_worker_lookup_failures_total", 0),
    ] {
        assert_eq!(told.of_workers(name, &store).await?, expected as f64, "{name}");
    }
    let ended = "keyloom_worker_tasks_ended_total";
    let tasks = told.of_workers(ended, &[("outcome", "succeeded"), ("kind", "none")]).await?;
    assert_eq!(tasks, f64::from(job.tasks));
    let rows = told.of_workers("keyloom_worker_output_rows_total", &[]).await?;
    assert_eq!(rows, job.rows as f64);
    assert_eq!(told.of_workers("keyloom_worker_registered", &[]).await?, workers as f64);

    let after = scrape(&told.coordinator).await?;
    let of_coordinator = |name: &str, labels: &[(&str, &str)]| {
        after.sum(&format!("keyloom_coordinator_{name}"), labels)
    };
    assert_eq!(of_coordinator("tasks_finished_total", &[]), f64::from(job.tasks));
    assert_eq!(of_coordinator("attempts_started_total", &[]), f64::from(job.tasks));
    assert_eq!(of_coordinator("tasks_retried_total", &[]), 0.0);
    assert_eq!(of_coordinator("jobs_submitted_total", &[]), 1.0);
    assert_eq!(of_coordinator("jobs_ended_total", &[("outcome", "succeeded")]), 1.0);
    assert_eq!(of_coordinator("job_duration_seconds_count", &[]), 1.0);
    assert_eq!(of_coordinator("result_rows_total", &[]), job.rows as f64);
    assert_eq!(of_coordinator("workers", &[("state", "active")]), workers as f64);
    assert_eq!(of_coordinator("slots", &[]), 2.0 * workers as f64);
    assert!(of_coordinator("received_bytes_total", &[("what", "task_rows")]) > 0.0);
    assert!(of_coordinator("sent_bytes_total", &[("what", "results")]) > 0.0);
    let age = of_coordinator("heartbeat_age_seconds", &[]);
    assert!((0.0..10.0).contains(&age), "{age}");
    Ok(())
}

#[tokio::test]
async fn a_known_jobs_figures_are_those_that_one_worker_tells() -> Result<()> {
    check_known_job(1).await
}

#[tokio::test]
async fn a_known_jobs_figures_are_those_that_three_workers_tell() -> Result<()> {
    check_known_job(3).await
}

#[tokio::test]
async fn failed_jobs_are_counted_by_the_kind_of_their_error() -> Result<()> {
    let told = Told::start(1, &[]).await?;
    let session = told.session(1000).await?;
    attach(&session, "words").await?;
    let sql = "SELECT kv_get(k, source => 'words', on_error => 'raise')['word'] FROM t";
    let error = failure(session.sql(sql).await?).await?;
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    let coordinator = scrape(&told.coordinator).await?;
    let failed = [("outcome", "failed"), ("kind", "not_found")];
    assert_eq!(coordinator.sum("keyloom_coordinator_jobs_ended_total", &failed), 1.0);
    let attempts = coordinator.sum("keyloom_coordinator_attempts_failed_total", &failed[1..]);
    assert!(attempts >= 1.0, "{attempts}");
    assert_eq!(coordinator.sum("keyloom_coordinator_result_rows_total", &[]), 0.0);
    Ok(())
}

#[tokio::test]
async fn however_many_aliases_there_are_few_are_labels() -> Result<()> {
    let told = Told::start(1, &[("KEYLOOM_WORKER_LOOKUP__COUNTED_STORES", "2")]).await?;
    let session = told.session(1000).await?;
    for alias in ["a", "b", "c", "d", "e"] {
        attach(&session, alias).await?;
        let sql = format!("SELECT kv_exists(k, source => '{alias}') FROM t");
        run(&session, &sql).await?;
    }
    let worker = scrape(&told.workers[0]).await?;
    let name = "keyloom_worker_lookup_keys_total";
    let labels: BTreeSet<_> = worker.labels(name, "store").into_iter().collect();
    assert_eq!(labels, BTreeSet::from(["a", "b", "other"].map(ToOwned::to_owned)));
    let of = |alias| worker.sum(name, &[("store", alias)]);
    let keys = 2.0 * KEYS as f64;
    assert_eq!([of("a"), of("b"), of("other")], [keys, keys, 3.0 * keys]);
    Ok(())
}

#[tokio::test]
async fn all_that_daemons_tell_is_of_words_that_are_known_before() -> Result<()> {
    let told = Told::start(1, &[]).await?;
    let session = told.session(50).await?;
    attach(&session, "words").await?;
    run(&session, QUERY).await?;
    let known =
        ["build", "state", "outcome", "kind", "what", "share", "by", "reason", "store", "port"];
    let mut names = BTreeMap::new();
    for address in told.workers.iter().chain([&told.coordinator]) {
        for (name, labels) in scrape(address).await?.series() {
            for label in labels.keys().filter(|label| !["le", "version"].contains(&label.as_str()))
            {
                assert!(known.contains(&label.as_str()), "{name} has a label {label}");
            }
            *names.entry(name).or_insert(0) += 1;
        }
    }
    let most = names.iter().max_by_key(|(_, series)| **series);
    assert!(most.is_some_and(|(_, series)| *series <= 30), "{most:?}");
    Ok(())
}

#[tokio::test]
async fn both_daemons_say_that_they_live_and_what_there_is_to_ask_for() -> Result<()> {
    let told = Told::start(1, &[]).await?;
    let asked = [(&told.coordinator, ", /v1/openapi.json"), (&told.workers[0], "")];
    for (address, more) in asked {
        let lives = get(address, "/healthz").await?;
        assert_eq!((lives.status, lives.body.as_str()), (200, "lives\n"), "{address}");
        assert_eq!(ready(address).await?, (200, "ready\n".to_owned()), "{address}");
        let unknown = get(address, "/").await?;
        let paths = format!("there is no such path; there are /healthz, /readyz, /metrics{more}\n");
        assert_eq!((unknown.status, unknown.body), (404, paths), "{address}");
    }
    Ok(())
}

fn start_worker(coordinator: &str) -> Result<(Daemon, String)> {
    let arguments = ["--coordinator", coordinator, "--slots", "1", "--http", "127.0.0.1:0"];
    let mut worker = Daemon::start("keyloom-worker", &arguments, &[])?;
    let address = worker.line_with("http://")?;
    Ok((worker, address))
}

#[tokio::test]
async fn a_worker_is_ready_once_it_is_registered() -> Result<()> {
    let none = Cluster::start(0).await?;
    let address = none.address.clone();
    drop(none);
    let (_worker, told) = start_worker(&address)?;
    let reason = "the worker is not registered with a coordinator\n".to_owned();
    assert_eq!(ready(&told).await?, (503, reason));
    assert_eq!(get(&told, "/healthz").await?.status, 200);
    assert_eq!(scrape(&told).await?.sum("keyloom_worker_registered", &[]), 0.0);
    let listen = address.strip_prefix("tcp://").context("TCP")?;
    let _cluster = Cluster::start_at(listen, 0, &[], &[]).await?;
    let ready = eventually(async || ready(&told).await, |(status, _)| *status == 200).await?;
    assert_eq!(ready.1, "ready\n");
    assert_eq!(scrape(&told).await?.sum("keyloom_worker_registrations_total", &[]), 1.0);
    Ok(())
}

fn send(signal: Signal, daemon: &Daemon) -> Result<()> {
    let pid = i32::try_from(daemon.pid())?;
    kill(Pid::from_raw(pid), signal).with_context(|| format!("{signal} to {pid}"))
}

/// Has a daemon stand still, and waits until all of its threads do: one may go on for a moment.
async fn freeze(daemon: &Daemon) -> Result<()> {
    send(Signal::SIGSTOP, daemon)?;
    eventually(async || threads_that_go_on(daemon), |threads| *threads == 0).await?;
    Ok(())
}

fn threads_that_go_on(daemon: &Daemon) -> Result<usize> {
    let threads = fs::read_dir(format!("/proc/{}/task", daemon.pid()))?;
    let goes_on = |thread: &io::Result<fs::DirEntry>| {
        let told = thread.as_ref().map(|thread| fs::read_to_string(thread.path().join("status")));
        // One that has ended meanwhile has none.
        told.is_ok_and(|status| status.is_ok_and(|status| !status.contains("\nState:\tT")))
    };
    Ok(threads.filter(goes_on).count())
}

/// The levels at which the coordinator says that workers went, and the reasons.
fn departures(cluster: &Cluster) -> Vec<(String, String)> {
    let log = cluster.coordinator.log();
    let lines = log.lines().filter(|line| line.contains(" worker gone "));
    let told = lines.filter_map(|line| {
        let level = line.split_whitespace().nth(1)?;
        let (_, reason) = line.split_once(" reason=")?;
        Some((level.to_owned(), reason.to_owned()))
    });
    told.collect()
}

/// The coordinator stands still meanwhile, so that the worker waits for its word.
#[tokio::test]
async fn a_worker_that_drains_says_so_and_is_not_ready() -> Result<()> {
    let told = Told::start(1, &[]).await?;
    let worker = &told.workers[0];
    assert_eq!(ready(worker).await?.0, 200);
    freeze(&told.cluster.coordinator).await?;
    send(Signal::SIGTERM, &told.cluster.workers[0])?;
    let drains = eventually(async || ready(worker).await, |(status, _)| *status == 503).await;
    let counted = scrape(worker).await;
    send(Signal::SIGCONT, &told.cluster.coordinator)?;
    assert_eq!(drains?.1, "the worker drains: it takes no new tasks\n");
    assert_eq!(counted?.sum("keyloom_worker_draining", &[]), 1.0);
    told.cluster.wait_for_workers(0).await?;
    let coordinator = scrape(&told.coordinator).await?;
    assert_eq!(coordinator.sum("keyloom_coordinator_workers_drained_total", &[]), 1.0);
    assert_eq!(coordinator.sum("keyloom_coordinator_workers_lost_total", &[]), 0.0);
    assert_eq!(departures(&told.cluster), [("INFO".to_owned(), "\"drained\"".to_owned())]);
    Ok(())
}

#[tokio::test]
async fn a_worker_that_is_killed_is_counted_as_lost() -> Result<()> {
    let mut told = Told::start(1, &[]).await?;
    drop(told.cluster.workers.remove(0));
    told.cluster.wait_for_workers(0).await?;
    let coordinator = scrape(&told.coordinator).await?;
    let lost = [("reason", "disconnected")];
    assert_eq!(coordinator.sum("keyloom_coordinator_workers_lost_total", &lost), 1.0);
    assert_eq!(coordinator.sum("keyloom_coordinator_workers_drained_total", &[]), 0.0);
    let lost = ("WARN".to_owned(), "\"its connection closed\"".to_owned());
    assert_eq!(departures(&told.cluster), [lost]);
    Ok(())
}

#[tokio::test]
async fn a_port_that_strangers_reach_is_refused_unless_it_is_said_how() -> Result<()> {
    for (name, arguments) in [
        ("keyloom-coordinator", ["--listen", "127.0.0.1:0"]),
        ("keyloom-worker", ["--coordinator", "tcp://127.0.0.1:1"]),
    ] {
        let line = [&[name][..], &arguments, &["--http", "0.0.0.0:0"]].concat();
        let (code, _, stderr) = run_to_end(&line, &[]).await?;
        let expected = "error: 0.0.0.0:0 can be reached from other machines, and would tell \
                        whoever asks what is counted; listen on 127.0.0.1, give a token by the \
                        setting http.token_file, or add --insecure-http on a network that you \
                        trust";
        assert!(stderr.contains(expected), "{name}: {stderr}");
        assert_eq!(code, Some(2), "{name}");
    }
    Ok(())
}
