//! What is said of settings, stores and workers before it is asked.

use std::fs;

use anyhow::{Context, Result};
use datafusion::parquet::arrow::ArrowWriter;
use keyloom_client::{LanceOptions, Session, load_kv};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    sync::mpsc,
};

use super::{Keyloom, TIMEOUT, ended, write_arrow};
use crate::harness::{
    Cluster, Daemon, TestSession, batch, eventually, ints, items, on_all_deployments, products,
    write_lance,
};

on_all_deployments! {
    the_only_store_is_current_and_several_are_listed,
    the_place_of_a_store_is_a_path_or_a_uri,
    a_file_that_is_no_dataset_is_refused_with_what_to_write,
    sizes_in_options_may_have_units,
}

/// The items, the products as a Lance dataset and as a CSV file, and a job with these stores.
async fn job(session: &TestSession, stores: &str) -> Result<String> {
    write_arrow(session.path("t.arrow"), &items())?;
    if !fs::exists(session.path("products.lance"))? {
        write_lance(&session.path("products.lance"), &[products()], 2).await?;
    }
    fs::write(session.path("products.csv"), "id,name\na,apple\n")?;
    let text = format!(
        "[inputs.t]\npath = 't.arrow'\n{stores}\n\
         [job]\nsql = \"SELECT kv_get(k)['name'] AS name FROM t WHERE n = 1\""
    );
    let path = session.path("job.toml");
    fs::write(&path, text)?;
    Ok(path)
}

/// The section of a store.
fn store(alias: &str, kind: &str, place: &str, file: &str) -> String {
    format!("[stores.{alias}]\nkind = '{kind}'\n{place} = '{file}'\nkey = 'id'\n")
}

async fn the_only_store_is_current_and_several_are_listed(session: &TestSession) -> Result<()> {
    let one = store("one", "lance", "uri", "products.lance");
    let path = job(session, &one).await?;
    for command in ["run", "explain"] {
        let ended = Keyloom::on(session, [command, &path]).await?.run().await?;
        ended.stdout()?;
    }
    let two = store("two", "memory", "path", "products.csv");
    let path = job(session, &format!("{one}{two}")).await?;
    let ended = Keyloom::on(session, ["run", &path]).await?.run().await?;
    let help = "help: say which store is meant, 'one' or 'two': current_store in [job]";
    ended.check_failure(2, &["No KV store is currently attached to the session\n", help]);
    Ok(())
}

async fn the_place_of_a_store_is_a_path_or_a_uri(session: &TestSession) -> Result<()> {
    for (kind, file) in [("lance", "products.lance"), ("memory", "products.csv")] {
        for place in ["path", "uri"] {
            let path = job(session, &store("s", kind, place, file)).await?;
            let ended = Keyloom::on(session, ["run", &path, "-o", "csv"]).await?.run().await?;
            assert_eq!(ended.stdout()?, "name\napple\n", "{kind} by {place}");
        }
        let both = format!("{}uri = 'x'\n", store("s", kind, "path", file));
        let ended = Keyloom::on(session, ["run", &job(session, &both).await?]).await?.run().await?;
        ended.check_failure(2, &["both say where the store is; give one"]);
    }
    Ok(())
}

async fn a_file_that_is_no_dataset_is_refused_with_what_to_write(
    session: &TestSession,
) -> Result<()> {
    let rows = products();
    let parquet = session.path("products.parquet");
    let mut writer = ArrowWriter::try_new(fs::File::create(&parquet)?, rows.schema(), None)?;
    writer.write(&rows)?;
    writer.close()?;
    fs::write(session.path("notes"), "")?;
    let gone = session.path("gone.parquet");
    for (file, words) in [
        (
            "products.parquet",
            format!(
                "{parquet}, which is a parquet file by its name; for a store of its rows write \
                 kind = \"memory\", path = \"{parquet}\", key = \"COLUMN\", or --store \
                 'ALIAS=memory:{parquet}?key=COLUMN'\n"
            ),
        ),
        ("notes", "notes, which is a file; a dataset is a folder\n".to_owned()),
        ("gone.parquet", format!("{gone}\n")),
    ] {
        let path = job(session, &store("s", "lance", "uri", file)).await?;
        let ended = Keyloom::on(session, ["run", &path]).await?.run().await?;
        ended
            .check_failure(2, &["error: store 's' cannot be opened: no Lance dataset at ", &words]);
    }
    Ok(())
}

async fn sizes_in_options_may_have_units(session: &TestSession) -> Result<()> {
    let sized = |size: &str| {
        format!("{}infer_bytes = '{size}'\n", store("s", "memory", "path", "products.csv"))
    };
    let path = job(session, &sized("1KiB")).await?;
    let ended = Keyloom::on(session, ["run", &path, "-o", "csv"]).await?.run().await?;
    assert_eq!(ended.stdout()?, "name\napple\n");
    let path = job(session, &sized("many")).await?;
    let ended = Keyloom::on(session, ["run", &path]).await?.run().await?;
    let words =
        "[stores.s]: options of a memory store: infer_bytes: 'many' is no size, as \"2GiB\"";
    ended.check_failure(2, &[words]);

    let run = async |size: &str| {
        let input = format!("p={}?infer_bytes={size}", session.path("products.csv"));
        let sql = ["sql", "SELECT name FROM p", "-o", "csv", "--input", &input];
        Keyloom::on(session, sql).await?.run().await
    };
    assert_eq!(run("1KiB").await?.stdout()?, "name\napple\n");
    run("2 parsecs").await?.check_failure(2, &["infer_bytes: '2 parsecs' is no size"]);
    Ok(())
}

#[tokio::test]
async fn an_address_needs_no_scheme() -> Result<()> {
    let cluster = Cluster::start(1).await?;
    let address = cluster.address.strip_prefix("tcp://").context("a scheme")?;
    let sql = ["sql", "SELECT 1 AS x", "-o", "csv", "--cluster", address];
    assert_eq!(Keyloom::new(sql)?.run().await?.stdout()?, "x\n1\n");
    Ok(())
}

#[tokio::test]
async fn settings_that_have_no_effect_are_told() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let text = "[session]\nbatch_rows = 8\n[worker]\nmemory_bytes = '2GiB'\nheartbeat_ms = '1s'\n";
    fs::write(folder.path().join("config.toml"), text)?;
    let sql = ["sql", "SELECT 1 AS x", "-o", "csv", "--summary=none", "--config", "config.toml"];
    let ended = Keyloom::new(sql)?.within(&folder).run().await?;
    assert_eq!((ended.stdout()?, ended.stderr.as_str()), ("x\n1\n", ""));

    let cluster = Cluster::start(1).await?;
    let variable = "KEYLOOM_COORDINATOR_MAX_JOBS";
    let on_cluster = [&sql[..], &["--cluster", &cluster.address]].concat();
    let ended = Keyloom::new(on_cluster)?.within(&folder).env(variable, "7").run().await?;
    let warning = "warning: settings worker.heartbeat_ms, worker.memory_bytes, \
                   coordinator.max_jobs have no effect on a cluster, whose coordinator and workers \
                   have settings of their own\n";
    assert_eq!((ended.stdout()?, ended.stderr.as_str()), ("x\n1\n", warning));

    // As where a worker's environment is the command's, too.
    let port = ("KEYLOOM_WORKER_HTTP__LISTEN", "127.0.0.1:0");
    let own = ["sql", "SELECT 1 AS x", "-o", "csv", "--summary=none"];
    let on_cluster = [&own[..], &["--cluster", &cluster.address]].concat();
    let ended = Keyloom::new(on_cluster)?.env(port.0, port.1).run().await?;
    let warning = "warning: setting worker.http.listen has no effect on a cluster, whose \
                   coordinator and workers have settings of their own\n";
    assert_eq!((ended.stdout()?, ended.stderr.as_str()), ("x\n1\n", warning));
    let shown = Keyloom::new(["config", "show"])?.env(port.0, port.1).run().await?;
    assert!(shown.stdout()?.contains(port.0), "{shown:?}");
    let ended = Keyloom::new(own)?.env(port.0, port.1).run().await?;
    ended.check_failure(2, &["a session that is its own cluster has no HTTP port"]);

    let variable = "KEYLOOM_WORKER_KEEP_FREED_BYTES";
    let ended = Keyloom::new(sql)?.within(&folder).env(variable, "64MiB").run().await?;
    let warning = "warning: setting worker.keep_freed_bytes has no effect in this process, where \
                   the allocator is left as it is\n";
    assert_eq!((ended.stdout()?, ended.stderr.as_str()), ("x\n1\n", warning));
    Ok(())
}

#[tokio::test]
async fn words_that_are_no_levels_are_told() -> Result<()> {
    let sql = ["sql", "SELECT 1 AS x", "-o", "csv", "--summary=none"];
    let ended = Keyloom::new(sql)?.env("KEYLOOM_LOG", "error,verbose").run().await?;
    let warning = "warning: KEYLOOM_LOG: 'verbose' is no level (error, warn, info, debug, trace or \
                   off), and nothing that logs is called so\n";
    assert_eq!((ended.stdout()?, ended.stderr.as_str()), ("x\n1\n", warning));
    Ok(())
}

#[tokio::test]
async fn who_waits_for_a_worker_says_so() -> Result<()> {
    let cluster = Cluster::start(0).await?;
    let folder = tempfile::tempdir()?;
    write_arrow(folder.path().join("t.arrow"), &batch([("n", ints([1, 2]))]))?;
    let sql = ["sql", "SELECT n FROM t", "-o", "csv", "--input", "t=t.arrow", "--cluster"];
    let command = Keyloom::new([&sql[..], &[&cluster.address]].concat())?.within(&folder);
    let mut waiting = command.start()?;
    let stderr = waiting.stderr.take().context("stderr is piped")?;
    let mut lines = BufReader::new(stderr).lines();
    let line = tokio::time::timeout(TIMEOUT, lines.next_line()).await??;
    assert_eq!(line.as_deref(), Some("waiting for workers: none is registered"));
    let arguments = ["--coordinator", &cluster.address, "--slots", "1"];
    let _worker = Daemon::start("keyloom-worker", &arguments, &[])?;
    let rest = async { lines.next_line().await };
    let (ended, rest) = tokio::join!(ended(waiting), rest);
    assert_eq!(ended?.stdout()?, "n\n1\n2\n");
    // It is said once.
    assert!(rest?.is_some_and(|line| line.starts_with("2 rows in ")));
    Ok(())
}

#[tokio::test]
async fn a_program_that_waits_for_a_worker_is_told_once() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let uri = folder.path().join("products.lance").to_string_lossy().into_owned();
    write_lance(&uri, &[products()], 2).await?;
    for is_job in [false, true] {
        let cluster = Cluster::start(0).await?;
        let session = Session::connect(&cluster.address).await?;
        let (tell, mut told) = mpsc::unbounded_channel();
        session.tell_waits(move |words| {
            let _ = tell.send(words.to_owned());
        });
        let waits = async {
            if is_job {
                let rows = session.from_batches(&[products()])?;
                session.submit(rows).await?.finish().await?;
            } else {
                let store = load_kv("s", LanceOptions::new(uri.as_str()).key("id"))?;
                session.attach(store, "s").await?;
            }
            anyhow::Ok(())
        };
        let hears = async {
            let words = tokio::time::timeout(TIMEOUT, told.recv()).await?;
            let arguments = ["--coordinator", &cluster.address, "--slots", "1"];
            anyhow::Ok((words, Daemon::start("keyloom-worker", &arguments, &[])?))
        };
        let (waited, heard) = tokio::join!(waits, hears);
        waited?;
        let (words, _worker) = heard?;
        let expected = format!(
            "waiting for a worker: none is registered with the coordinator at {0}; start one with \
             keyloom-worker --coordinator {0}",
            cluster.address
        );
        assert_eq!(words, Some(expected));
        assert!(told.try_recv().is_err(), "it is told once");
    }
    Ok(())
}

#[tokio::test]
async fn the_coordinators_log_says_how_jobs_end() -> Result<()> {
    let cluster = Cluster::start(1).await?;
    let run = async |statement: &str| {
        Keyloom::new(["sql", statement, "--cluster", &cluster.address])?.run().await
    };
    run("SELECT * FROM generate_series(1, 3)").await?.stdout()?;
    run("SELECT 1 / (value - 2) FROM generate_series(1, 3)").await?.check_failure(1, &["zero"]);
    let log = async || Ok(cluster.coordinator.log());
    let wanted = |log: &String| log.contains("job done") && log.contains("job failed");
    let log = eventually(log, wanted).await?;
    let line = |words: &str| log.lines().find(|line| line.contains(words)).unwrap_or_default();
    let (done, failed) = (line("job done"), line("job failed"));
    assert!(done.contains("rows=3 seconds="), "{done}");
    assert!(failed.contains("seconds=") && failed.contains("zero"), "{failed}");
    Ok(())
}
