//! Rows that workers shuffle among themselves: the same rows as without, whatever becomes of a
//! worker, and errors by their names.

mod statements;

use std::{fs, time::Duration};

use anyhow::{Context, Result};
use arrow::array::RecordBatch;
use keyloom_client::{
    EmbeddedSettings, Error, ErrorKind, GroupKeys, JobOptions, MaxMisses, MemoryOptions, Session,
    Settings, Shuffle, ShuffleChoice, load_kv,
    report::{JobSummary, StoreStats},
    with_group_keys, with_shuffle,
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokio::{sync::mpsc, time::timeout};

use crate::harness::{
    Cluster, Daemon, Keys, batch, eventually, get, ints, rows, show_rows, strings,
};
use statements::{QUERIES, check};

const ROWS: i64 = 20_000;

/// So many orders have one customer.
const PER_CUSTOMER: i64 = 4;

/// No job takes longer, whatever its workers do.
const BOUND: Duration = Duration::from_secs(60);

const LISTENS: (&str, &str) = ("KEYLOOM_WORKER_SHUFFLE__LISTEN", "127.0.0.1:0");

/// Lets workers say with whom they shuffle.
const LOGGED: (&str, &str) = ("KEYLOOM_LOG", "info,keyloom_worker=debug");

fn settings(shuffle: Shuffle) -> Settings {
    Settings { shuffle, task_rows: 500, shuffle_partitions: 3, ..Settings::default() }
}

/// The tables and the store of the queries.
async fn prepare(session: &Session) -> Result<()> {
    let customers = ROWS / PER_CUSTOMER;
    let of = |id: i64| (id * 7919) % customers;
    let orders = batch([
        ("id", ints(0..ROWS)),
        ("customer", ints((0..ROWS).map(of))),
        ("amount", ints((0..ROWS).map(|id| id % 101))),
    ]);
    session.register_batches("orders", &[orders])?;
    let cities: Vec<_> = (0..customers).map(|customer| format!("city {}", customer % 97)).collect();
    let cities = strings(cities.iter().map(String::as_str));
    let table = batch([("customer", ints(0..customers)), ("city", cities)]);
    session.register_batches("cities", &[table])?;
    // One customer in ten is not known.
    let known = || (0..customers).filter(|customer| customer % 10 != 3);
    let names: Vec<_> = known().map(|customer| format!("name {customer:05}")).collect();
    let names = strings(names.iter().map(String::as_str));
    let store = batch([("id", ints(known())), ("name", names)]);
    Ok(session
        .attach(load_kv("customers", MemoryOptions::batch(store, "id"))?, "customers")
        .await?)
}

async fn connect(cluster: &Cluster, shuffle: Shuffle) -> Result<Session> {
    let session = Session::connect_with(&cluster.address, settings(shuffle)).await?;
    prepare(&session).await?;
    Ok(session)
}

/// The rows of a query, within the bound.
async fn rows_of(session: &Session, sql: &str) -> Result<Vec<String>> {
    let query = session.sql(sql).await.with_context(|| sql.to_owned())?;
    timeout(BOUND, rows(query)).await?.with_context(|| sql.to_owned())
}

async fn why(session: &Session, sql: &str) -> Result<Error> {
    let mut job = session.submit(session.sql(sql).await?).await?;
    timeout(BOUND, job.collect()).await?.err().context("it did not fail")
}

/// Whether a query's rows were shuffled, as its plan tells.
async fn was_shuffled(session: &Session, sql: &str) -> Result<bool> {
    Ok(session.explain(session.sql(sql).await?, true).await?.contains("RepartitionExec"))
}

/// How many of the workers were asked by another one.
fn took_part(cluster: &Cluster) -> usize {
    let logs = cluster.workers.iter().map(Daemon::log);
    logs.filter(|log| log.contains("shuffles with it")).count()
}

fn send(signal: Signal, daemon: &Daemon) -> Result<()> {
    Ok(kill(Pid::from_raw(i32::try_from(daemon.pid())?), signal)?)
}

/// How many slots of each worker are taken, and how many workers drain.
async fn taken(session: &Session) -> Result<(Vec<u32>, usize)> {
    let workers = session.workers().await?;
    let draining = workers.iter().filter(|worker| worker.draining).count();
    Ok((workers.iter().map(|worker| worker.running).collect(), draining))
}

/// Waits until that is so.
async fn wait_for(session: &Session, wanted: (Vec<u32>, usize)) -> Result<()> {
    let now = async || taken(session).await;
    eventually(now, |now| *now == wanted).await.map(drop)
}

#[tokio::test]
async fn groups_of_keys_are_looked_up_and_shuffled_as_rows_are() -> Result<()> {
    let cluster = Cluster::start_with(3, &[], &[LISTENS]).await?;
    let session = connect(&cluster, Shuffle::Always).await?;
    let usual = connect(&cluster, Shuffle::Never).await?;
    let by_keys = async |session: &Session| {
        anyhow::Ok(with_group_keys(session.sql(QUERIES[0]).await?, GroupKeys::Always))
    };
    let plan = session.explain(by_keys(&session).await?, true).await?;
    for node in ["RepartitionExec", "rows of count(Int64(1))[count]@"] {
        assert!(plan.contains(node), "{plan}");
    }
    let expected = rows_of(&usual, QUERIES[0]).await?;
    for session in [&session, &usual] {
        let mut job = session.submit(by_keys(session).await?).await?;
        assert_eq!(show_rows(&timeout(BOUND, job.collect()).await??)?, expected);
        let stats = job.summary().context("the job is done")?.stores["customers"];
        let (keys, missed) = (ROWS.unsigned_abs(), (ROWS / 10).unsigned_abs());
        assert_eq!((stats.keys, stats.missed_rows), (keys, missed));
    }
    Ok(())
}

#[tokio::test]
async fn what_needs_no_shuffle_or_cannot_have_one_is_as_usual() -> Result<()> {
    let cluster = Cluster::start_with(3, &[], &[LISTENS]).await?;
    let session = connect(&cluster, Shuffle::Always).await?;
    let per_row = "SELECT id, kv_get(customer, ['name'], on_error => 'null', \
                   source => 'customers') FROM orders";
    assert!(!was_shuffled(&session, per_row).await?);
    // Small inputs are not shuffled by themselves.
    let auto = connect(&cluster, Shuffle::Auto).await?;
    assert!(!was_shuffled(&auto, QUERIES[0]).await?);
    // Where misses are to be counted, they are.
    let max_misses = Some(MaxMisses::Count(10));
    let options = JobOptions { max_misses, ..JobOptions::default() };
    let query = session.sql(QUERIES[0]).await?;
    let mut job = session.submit_with(query, options).await?;
    let error = timeout(BOUND, job.collect()).await?.err().context("it did not fail")?;
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    Ok(())
}

#[tokio::test]
async fn a_shuffle_that_misses_forbid_is_told_of_once() -> Result<()> {
    let cluster = Cluster::start_with(2, &[], &[LISTENS]).await?;
    let session = connect(&cluster, Shuffle::Always).await?;
    let (tell, mut told) = mpsc::unbounded_channel();
    session.tell_warnings(move |words| {
        let _ = tell.send(words.to_owned());
    });
    let plenty = Some(MaxMisses::Count(u64::try_from(ROWS)?));
    let limited = JobOptions { max_misses: plenty, ..JobOptions::default() };
    let kept = JobOptions { keep_missed: true, ..JobOptions::default() };
    let calls = QUERIES[0].replacen("on_error => 'null'", "max_misses => '100%'", 1);
    for (sql, options, why) in [
        (QUERIES[0], JobOptions::default(), None),
        // It looks nothing up.
        (QUERIES[1], limited.clone(), None),
        (QUERIES[0], limited, Some("max_misses limits the rows that may miss their keys")),
        (QUERIES[0], kept, Some("the rows that miss their keys are kept")),
        (
            calls.as_str(),
            JobOptions::default(),
            Some("max_misses of a call limits the rows that may miss their keys"),
        ),
    ] {
        let query = session.sql(sql).await?;
        timeout(BOUND, session.submit_with(query, options).await?.finish()).await??;
        let expected = why.map(|why| {
            format!("shuffle = always has no effect: {why}, and such a job does not shuffle")
        });
        assert_eq!(told.try_recv().ok(), expected, "{sql}");
        assert!(told.try_recv().is_err(), "it is told once");
    }
    Ok(())
}

#[tokio::test]
async fn rows_that_were_shuffled_are_written_in_the_order_of_the_query() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let cluster = Cluster::start_with(3, &[], &[LISTENS]).await?;
    let session = connect(&cluster, Shuffle::Always).await?;
    let usual = connect(&cluster, Shuffle::Never).await?;
    for query in [0, 2, 5] {
        let sql = QUERIES[query];
        let out = format!("{}/{query}/", folder.path().display());
        let copied = format!("EXPLAIN ANALYZE COPY ({sql}) TO '{out}'");
        let plan = rows_of(&session, &copied).await?.join("\n");
        assert!(plan.contains("WriteExec") && plan.contains("RepartitionExec"), "{plan}");
        let written = rows(usual.read(out.as_str()).await?).await?;
        assert_eq!(written, rows_of(&usual, sql).await?, "{sql}");
    }
    Ok(())
}

#[tokio::test]
async fn where_workers_do_not_listen_nothing_is_shuffled() -> Result<()> {
    let cluster = Cluster::start(2).await?;
    let session = connect(&cluster, Shuffle::Always).await?;
    let usual = connect(&cluster, Shuffle::Never).await?;
    let embedded =
        EmbeddedSettings { session: settings(Shuffle::Always), ..EmbeddedSettings::default() };
    let embedded = Session::embedded_with(embedded).await?;
    prepare(&embedded).await?;
    for sql in QUERIES {
        for session in [&session, &embedded] {
            check(session, &usual, sql).await?;
            assert!(!was_shuffled(session, sql).await?, "{sql}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn workers_that_shuffle_show_who_they_are() -> Result<()> {
    for keys in [Keys::tokens()?, Keys::certificates()?, Keys::both()?] {
        let keys = keys.with_worker_settings("[shuffle]\nlisten = '127.0.0.1:0'\n");
        // The certificates of workers name hosts only if they are told which.
        if keys.scheme() == "tls://" {
            keys.certify(["--worker", "w@127.0.0.1"])?;
            for end in [".pem", "-key.pem"] {
                let [named, used] = ["worker-w", "worker"].map(|name| format!("{name}{end}"));
                fs::copy(keys.path(&named), keys.path(&used))?;
            }
        }
        let cluster = Cluster::start_with_keys(3, &keys, &[], &[LOGGED]).await?;
        let with = |shuffle| Settings { security: keys.role("client"), ..settings(shuffle) };
        let session = Session::connect_with(&cluster.address, with(Shuffle::Always)).await?;
        let usual = Session::connect_with(&cluster.address, with(Shuffle::Never)).await?;
        prepare(&session).await?;
        prepare(&usual).await?;
        check(&session, &usual, QUERIES[0]).await?;
        assert!(took_part(&cluster) >= 2, "{} took part", took_part(&cluster));
    }
    Ok(())
}

#[tokio::test]
async fn errors_of_other_workers_keep_their_kinds() -> Result<()> {
    let cluster = Cluster::start_with(3, &[], &[LISTENS]).await?;
    let session = connect(&cluster, Shuffle::Always).await?;
    let missing = "SELECT kv_get(customer, ['name'], source => 'customers')['name'] AS name, \
                   count(*) FROM orders GROUP BY 1";
    let error = why(&session, missing).await?;
    let usual = why(&connect(&cluster, Shuffle::Never).await?, missing).await?;
    assert_eq!(error.kind(), usual.kind(), "{error}");
    let divided = "SELECT id / (customer - 5) AS x, count(*) FROM orders GROUP BY 1";
    let error = why(&session, divided).await?;
    assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    assert!(error.message().contains("Divide by zero"), "{error}");
    Ok(())
}

#[tokio::test]
async fn a_shuffle_with_a_worker_that_hangs_is_begun_anew_with_others() -> Result<()> {
    let coordinator = [("KEYLOOM_COORDINATOR_SCHEDULER__HEARTBEAT_TIMEOUT_MS", "1500")];
    let workers = [
        LISTENS,
        ("KEYLOOM_WORKER_SHUFFLE__KEEPALIVE_MS", "300"),
        ("KEYLOOM_WORKER_SHUFFLE__KEEPALIVE_TIMEOUT_MS", "500"),
        ("KEYLOOM_WORKER_RPC__HANDSHAKE_TIMEOUT_MS", "1000"),
        ("KEYLOOM_WORKER_HEARTBEAT_MS", "100"),
    ];
    let cluster = Cluster::start_with(3, &coordinator, &workers).await?;
    let session = connect(&cluster, Shuffle::Always).await?;
    let expected = rows_of(&session, QUERIES[0]).await?;
    send(Signal::SIGSTOP, &cluster.workers[1])?;
    assert_eq!(rows_of(&session, QUERIES[0]).await?, expected);
    assert!(was_shuffled(&session, QUERIES[0]).await?, "two are left");
    // One alone does it as usual.
    send(Signal::SIGKILL, &cluster.workers[0])?;
    cluster.wait_for_workers(1).await?;
    assert_eq!(rows_of(&session, QUERIES[0]).await?, expected);
    Ok(())
}

#[tokio::test]
async fn a_shuffle_has_a_slot_of_each_worker_until_it_ends() -> Result<()> {
    // However long this machine takes, nobody counts as lost.
    let coordinator = [("KEYLOOM_COORDINATOR_SCHEDULER__HEARTBEAT_TIMEOUT_MS", "60000")];
    let workers = [LISTENS, ("KEYLOOM_WORKER_SHUFFLE__KEEPALIVE_TIMEOUT_MS", "60000")];
    let cluster = Cluster::start_with(3, &coordinator, &workers).await?;
    let session = connect(&cluster, Shuffle::Always).await?;
    let distinct = QUERIES[1];
    let expected = rows_of(&session, distinct).await?;
    wait_for(&session, (vec![0; 3], 0)).await?;
    // While one stands still, a shuffle does not end.
    send(Signal::SIGSTOP, &cluster.workers[1])?;
    let watched = async {
        wait_for(&session, (vec![1; 3], 0)).await?;
        // It takes part, and so stays.
        send(Signal::SIGTERM, &cluster.workers[2])?;
        wait_for(&session, (vec![1; 3], 1)).await?;
        send(Signal::SIGCONT, &cluster.workers[1])
    };
    let (shuffled, watched) = tokio::join!(rows_of(&session, distinct), watched);
    watched?;
    assert_eq!(shuffled?, expected);
    wait_for(&session, (vec![0; 2], 0)).await?;
    assert_eq!(rows_of(&session, distinct).await?, expected);
    assert!(was_shuffled(&session, distinct).await?, "two are left");
    Ok(())
}

#[tokio::test]
async fn rows_that_find_no_memory_end_a_shuffle_by_name() -> Result<()> {
    let memory = ("KEYLOOM_WORKER_SHUFFLE__MEMORY_BYTES", "1");
    let cluster = Cluster::start_with(2, &[], &[LISTENS, memory]).await?;
    let settings = Settings { batch_rows: 50, ..settings(Shuffle::Always) };
    let session = Session::connect_with(&cluster.address, settings).await?;
    prepare(&session).await?;
    let error = why(&session, QUERIES[4]).await?;
    assert_eq!(error.kind(), ErrorKind::ResourceExhausted, "{error}");
    assert!(error.message().contains("of shuffle.memory_bytes are free on the worker"), "{error}");
    Ok(())
}

#[tokio::test]
async fn a_shuffle_that_gives_no_row_is_given_up_by_name() -> Result<()> {
    let silence = ("KEYLOOM_WORKER_SHUFFLE__SILENCE_TIMEOUT_MS", "1");
    let cluster = Cluster::start_with(2, &[], &[LISTENS, silence]).await?;
    let session = connect(&cluster, Shuffle::Always).await?;
    let error = why(&session, QUERIES[0]).await?;
    assert_eq!(error.kind(), ErrorKind::ResourceExhausted, "{error}");
    assert!(error.message().contains("shuffle.silence_timeout_ms"), "{error}");
    Ok(())
}

#[tokio::test]
async fn each_group_is_there_once() -> Result<()> {
    let cluster = Cluster::start_with(3, &[], &[LISTENS]).await?;
    let session = connect(&cluster, Shuffle::Always).await?;
    let sql = "SELECT customer, count(*) AS n FROM orders GROUP BY customer";
    let mut job = session.submit(session.sql(sql).await?).await?;
    let batches = timeout(BOUND, job.collect()).await??;
    let groups: usize = batches.iter().map(RecordBatch::num_rows).sum();
    assert_eq!(groups as i64, ROWS / PER_CUSTOMER);
    assert_eq!(job.summary().context("no summary")?.tasks, 1);
    Ok(())
}

#[tokio::test]
async fn a_statement_says_for_itself_whether_it_shuffles() -> Result<()> {
    let cluster = Cluster::start_with(2, &[], &[LISTENS]).await?;
    let session = connect(&cluster, Shuffle::Never).await?;
    let sql = QUERIES[0];
    let of = async |shuffle: Shuffle, min_rows: Option<u64>| {
        let choice = ShuffleChoice { shuffle: Some(shuffle), min_rows, partitions: Some(2) };
        let query = with_shuffle(session.sql(sql).await?, choice)?;
        let plan = session.explain(query.clone(), true).await?;
        let rows = timeout(BOUND, rows(query)).await??;
        Ok::<_, anyhow::Error>((plan.contains("RepartitionExec"), rows))
    };
    let (is_shuffled, expected) = of(Shuffle::Never, None).await?;
    assert!(!is_shuffled);
    let least = u64::try_from(ROWS)?;
    for (shuffle, min_rows, shuffles) in [
        (Shuffle::Always, None, true),
        (Shuffle::Auto, None, false),
        (Shuffle::Auto, Some(least), true),
        (Shuffle::Auto, Some(least + 1), false),
    ] {
        let (is_shuffled, rows) = of(shuffle, min_rows).await?;
        assert_eq!(is_shuffled, shuffles, "{shuffle} from {min_rows:?} rows on");
        assert_eq!(rows, expected, "{shuffle}");
    }
    let choice = ShuffleChoice { partitions: Some(1), ..ShuffleChoice::default() };
    let error = with_shuffle(session.sql(sql).await?, choice).err().context("it may not")?;
    let expected = "setting shuffle_partitions must be between 2 and 256, not 1";
    assert_eq!(error.message(), expected);
    // DataFusion's own session says it by the name of the option.
    session.context().sql("SET keyloom.shuffle = 'always'").await?;
    assert!(was_shuffled(&session, sql).await?);
    Ok(())
}

/// The lines that a worker's port tells of what it counts.
async fn counted(address: &str) -> Result<Vec<String>> {
    let told = get(address, "/metrics").await?.body;
    Ok(told.lines().filter(|line| line.starts_with("keyloom_worker_")).map(Into::into).collect())
}

/// The sum of the series that begin so.
fn sum(told: &[String], series: &str) -> Result<i64> {
    let values = told.iter().filter(|line| line.starts_with(series));
    let values = values.filter_map(|line| line.rsplit(' ').next());
    values.map(|value| Ok(value.parse::<i64>()?)).sum()
}

#[tokio::test]
async fn a_port_for_shuffles_counts_who_comes_and_reads_its_files_again_at_a_hangup() -> Result<()>
{
    let keys = Keys::tokens()?;
    let keys = keys.with_worker_settings("[shuffle]\nlisten = '127.0.0.1:0'\n");
    let http = ("KEYLOOM_WORKER_HTTP__LISTEN", "127.0.0.1:0");
    let mut cluster = Cluster::start_with_keys(2, &keys, &[], &[http]).await?;
    let ports = cluster.workers.iter_mut().map(|worker| worker.line_with("http://"));
    let ports = ports.collect::<Result<Vec<_>>>()?;
    let with = Settings { security: keys.role("client"), ..settings(Shuffle::Always) };
    let session = Session::connect_with(&cluster.address, with).await?;
    prepare(&session).await?;
    rows_of(&session, QUERIES[0]).await?;
    let (mut came, mut asked) = (0, 0);
    for port in &ports {
        let told = counted(port).await?;
        came += sum(&told, "keyloom_worker_shuffle_connections_accepted_total ")?;
        asked += sum(&told, "keyloom_worker_lookup_keys_total{")?;
    }
    assert!(came >= 2, "{came} came");
    assert_eq!(asked, ROWS, "keys that workers say they were asked for");

    let reloads = async |outcome: &str, count: u64| {
        let series = "keyloom_worker_security_reloads_total";
        let line = format!("{series}{{port=\"shuffle\",outcome=\"{outcome}\"}} {count}");
        let told = eventually(async || counted(&ports[0]).await, |told| told.contains(&line));
        told.await.map(drop)
    };
    reloads("succeeded", 0).await?;
    send(Signal::SIGHUP, &cluster.workers[0])?;
    reloads("succeeded", 1).await?;
    let log = async || Ok(cluster.workers[0].log());
    let line = " were read again port=shuffle\n";
    eventually(log, |log| log.contains(line)).await?;
    keys.write("worker.token", "short\n")?;
    send(Signal::SIGHUP, &cluster.workers[0])?;
    reloads("failed", 1).await?;
    reloads("succeeded", 1).await
}

/// Whether a plan tells a counter of a node.
fn tells(plan: &str, node: &str, counter: &str) -> bool {
    let is_told =
        |line: &str| line.split([',', '[', ']', '{', '}']).any(|one| one.trim() == counter);
    plan.lines().any(|line| line.contains(node) && is_told(line))
}

#[tokio::test]
async fn lookups_within_a_shuffle_are_counted_as_without() -> Result<()> {
    let cluster = Cluster::start_with(3, &[], &[LISTENS]).await?;
    let session = connect(&cluster, Shuffle::Always).await?;
    let usual = connect(&cluster, Shuffle::Never).await?;
    // Before rows are sent, and after.
    for (query, keys) in [(0, ROWS), (5, ROWS / PER_CUSTOMER)] {
        let sql = QUERIES[query];
        let mut told = Vec::new();
        for session in [&session, &usual] {
            let mut job = session.submit(session.sql(sql).await?).await?;
            timeout(BOUND, job.collect()).await??;
            told.push(job.summary().context("no summary")?.clone());
        }
        let counted = |summary: &JobSummary| {
            let StoreStats { keys, job_keys, missed_rows, missed_keys, is_about, .. } =
                summary.stores["customers"];
            (keys, job_keys, missed_rows, missed_keys, is_about)
        };
        assert_eq!(counted(&told[0]), counted(&told[1]), "{sql}");
        let stats = told[0].stores["customers"];
        assert_eq!(i64::try_from(stats.keys)?, keys, "{sql}");
        assert_eq!(stats.hits + stats.misses, stats.distinct, "{sql}");
        assert!(stats.requests > 0 && stats.bytes > 0 && stats.misses > 0, "{stats:?}");
        let plan = &told[0].plan;
        assert!(tells(plan, "KvLookupExec", &format!("keys={keys}")), "{plan}");
    }
    Ok(())
}

#[tokio::test]
async fn a_plan_says_which_part_of_a_shuffle_runs_where_and_what_it_counted() -> Result<()> {
    let cluster = Cluster::start_with(3, &[], &[LISTENS]).await?;
    let session = connect(&cluster, Shuffle::Always).await?;
    let sql = QUERIES[0];
    let explained = rows_of(&session, &format!("EXPLAIN {sql}")).await?.join("\n");
    let planned = session.explain(session.sql(sql).await?, false).await?;
    let ran = session.explain(session.sql(sql).await?, true).await?;
    for plan in [&explained, &planned, &ran] {
        for said in [
            "(gathered by the worker that leads the shuffle)",
            "(computed where rows arrive)",
            "(sent by this hash, to 3 partitions on each worker)",
            "(computed where rows are read)",
        ] {
            assert!(plan.contains(said), "no '{said}' in\n{plan}");
        }
    }
    // All groups, each at one worker; and all rows, wherever they were read.
    let groups = ROWS / PER_CUSTOMER / 10 * 9 + 1;
    assert!(tells(&ran, "mode=FinalPartitioned", &format!("output_rows={groups}")), "{ran}");
    assert!(tells(&ran, "KvLookupExec", &format!("output_rows={ROWS}")), "{ran}");
    Ok(())
}

#[tokio::test]
async fn rows_that_are_sent_are_counted() -> Result<()> {
    let http = ("KEYLOOM_WORKER_HTTP__LISTEN", "127.0.0.1:0");
    let mut cluster = Cluster::start_with(3, &[], &[LISTENS, http]).await?;
    let ports = cluster.workers.iter_mut().map(|worker| worker.line_with("http://"));
    let ports = ports.collect::<Result<Vec<_>>>()?;
    let session = connect(&cluster, Shuffle::Always).await?;
    let job = session.submit(session.sql(QUERIES[4]).await?).await?;
    let summary = timeout(BOUND, job.finish()).await??;
    let sent = |node: &str| {
        let nodes = summary.analysis.nodes.iter().filter(|run| run.name == node);
        let counted = nodes.map(|run| (run.counted("rows_sent"), run.counted("bytes_sent")));
        counted.fold((0, 0), |(rows, bytes), (more_rows, more_bytes)| {
            (rows + more_rows.unwrap_or(0), bytes + more_bytes.unwrap_or(0))
        })
    };
    let all = u64::try_from(ROWS)?;
    // Each row has two workers of three to go to.
    let shuffled = sent("RepartitionExec");
    assert!(shuffled.0 > all / 3 && shuffled.0 < all, "{}", summary.plan);
    let gathered = sent("SortPreservingMergeExec");
    assert_eq!(gathered.0, all, "{}", summary.plan);
    for (rows, bytes) in [shuffled, gathered] {
        assert!(bytes >= 16 * rows, "{bytes} bytes of {rows} rows");
    }
    assert!(summary.plan.contains(&format!("rows_sent={}, ", shuffled.0)), "{}", summary.plan);
    let (mut rows, mut bytes) = (0, 0);
    for port in &ports {
        let told = counted(port).await?;
        rows += sum(&told, "keyloom_worker_shuffle_received_rows_total ")?;
        bytes += sum(&told, "keyloom_worker_shuffle_received_bytes_total ")?;
    }
    let expected = (shuffled.0 + gathered.0, shuffled.1 + gathered.1);
    assert_eq!((u64::try_from(rows)?, u64::try_from(bytes)?), expected);
    Ok(())
}

#[tokio::test]
async fn a_limit_of_a_call_holds_for_all_rows_however_they_are_computed() -> Result<()> {
    let cluster = Cluster::start_with(3, &[], &[LISTENS]).await?;
    let session = connect(&cluster, Shuffle::Always).await?;
    let missed = ROWS / 10;
    let limited = |most: i64| {
        format!(
            "SELECT kv_get(customer, ['name'], max_misses => {most}, source => 'customers')['name'] \
             AS name, count(*) AS n FROM orders GROUP BY 1 ORDER BY name"
        )
    };
    // No task alone misses so many.
    let error = why(&session, &limited(missed - 1)).await?;
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    assert!(!rows_of(&session, &limited(missed)).await?.is_empty());
    // Nor does its plan say that it shuffles.
    let planned = session.explain(session.sql(&limited(missed)).await?, false).await?;
    assert!(planned.contains("KvLookupExec") && !planned.contains("RepartitionExec"), "{planned}");
    Ok(())
}
