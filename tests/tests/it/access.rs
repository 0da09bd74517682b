//! What jobs may make workers touch: files within roots alone, however they are named, and no host
//! that gets a profile's credentials because a job says so.

use std::{fs, io, net::TcpListener, ops::Deref, os::unix::fs::symlink, path::PathBuf};

use anyhow::{Context, Result};
use keyloom_client::{
    EmbeddedSettings, Error, ErrorKind, Format, Input, LanceOptions, Session, load_kv,
};
use tempfile::TempDir;

use crate::harness::{Cluster, Deployment, batch, ints, rows, strings, write_lance};

mod secrets;

/// Makes three tests of each case, on workers that may read what is in one folder.
macro_rules! on_all_deployments_limited {
    ($($case:ident),* $(,)?) => {$(
        mod $case {
            use super::Limited;
            use crate::harness::Deployment;

            crate::harness::run_on! {
                super::$case:
                embedded on Limited::on(Deployment::Embedded),
                one_worker on Limited::on(Deployment::Workers(1)),
                three_workers on Limited::on(Deployment::Workers(3)),
            }
        }
    )*};
}

on_all_deployments_limited! {
    inputs_outside_of_the_roots_are_refused_alike_there_or_not,
    stores_outside_of_the_roots_are_refused_alike_there_or_not,
    links_in_folders_and_datasets_do_not_lead_out,
    what_is_within_the_roots_is_read_as_ever,
    a_profiles_credentials_go_to_no_host_that_a_job_names,
    explain_and_statements_are_refused_as_well,
}

/// Workers that may read `root`, which is a folder in a folder, and have a profile.
struct Limited {
    session: Session,
    _cluster: Option<Cluster>,
    folder: PathBuf,
    _kept: TempDir,
}

impl Deref for Limited {
    type Target = Session;

    fn deref(&self) -> &Session {
        &self.session
    }
}

const SECRET: &str = "hunter2-of-the-profile";

impl Limited {
    async fn on(deployment: Deployment) -> Result<Self> {
        let kept = tempfile::tempdir()?;
        let folder = fs::canonicalize(kept.path())?;
        let root = folder.join("root");
        fs::create_dir(&root)?;
        let root = root.display().to_string();
        let (session, cluster) = match deployment {
            Deployment::Embedded => {
                let mut settings =
                    EmbeddedSettings { workers: Some(2), ..EmbeddedSettings::default() };
                settings.worker.access.roots = Some(vec![root]);
                let options = [("aws_secret_access_key".to_owned(), SECRET.to_owned())];
                let profiles = &mut settings.worker.store.storage_profiles;
                profiles.insert("prod".to_owned(), options.into());
                (Session::embedded_with(settings).await?, None)
            }
            Deployment::Workers(workers) => {
                let roots = format!("[{root:?}]");
                let profile = "KEYLOOM_WORKER_STORE__STORAGE_PROFILES__PROD__AWS_SECRET_ACCESS_KEY";
                let env = [("KEYLOOM_WORKER_ACCESS__ROOTS", roots.as_str()), (profile, SECRET)];
                let cluster = Cluster::start_with(workers, &[], &env).await?;
                (Session::connect(&cluster.address).await?, Some(cluster))
            }
        };
        Ok(Self { session, _cluster: cluster, folder, _kept: kept })
    }

    fn path(&self, name: &str) -> String {
        self.folder.join(name).display().to_string()
    }

    /// Why a CSV input is refused.
    async fn refusal(&self, path: &str) -> Result<Error> {
        let read = self.read(Input::new(path).format(Format::Csv)).await;
        read.err().with_context(|| format!("{path} was read"))
    }

    /// Why a Lance store is refused.
    async fn store_refusal(&self, uri: &str) -> Result<Error> {
        let store = load_kv("s", LanceOptions::new(uri).key("id"))?;
        let attached = self.attach(store, None::<&str>).await;
        attached.err().with_context(|| format!("{uri} was opened"))
    }
}

#[track_caller]
fn check_refused(error: &Error, expected: &str) {
    assert_eq!((error.kind(), error.message()), (ErrorKind::PermissionDenied, expected));
    assert_eq!(error.kind().name(), "permission_denied");
}

fn refused(given: &str) -> String {
    format!("{given} is refused: the worker's access.roots do not allow it")
}

async fn write_items(path: &str) -> Result<()> {
    let items = batch([("id", ints([1, 2, 3])), ("name", strings(["a", "b", "c"]))]);
    write_lance(path, &[items], 2).await?;
    Ok(())
}

async fn inputs_outside_of_the_roots_are_refused_alike_there_or_not(
    session: &Limited,
) -> Result<()> {
    fs::write(session.path("there.csv"), "id\n1\n")?;
    symlink(session.path("there.csv"), session.path("root/link.csv"))?;
    symlink(session.path("missing.csv"), session.path("root/dangling.csv"))?;
    symlink(session.path(""), session.path("root/up"))?;
    let names = [
        "there.csv",
        "missing.csv",
        "*.csv",
        "root/../there.csv",
        "root/../missing.csv",
        "root/link.csv",
        "root/dangling.csv",
        "root/up/there.csv",
        "root/up/missing.csv",
        "root/up/*.csv",
    ];
    let paths = names.iter().map(|name| session.path(name));
    let elsewhere = ["/etc/passwd", "/etc/no-such-file", "/proc/self/environ"];
    for path in paths.chain(elsewhere.map(str::to_owned)) {
        for given in [path.clone(), format!("file://{path}")] {
            check_refused(&session.refusal(&given).await?, &refused(&given));
        }
    }
    // Decoded once more than it is written, and as another host's.
    let error = session.refusal("file:///etc/%70asswd").await?;
    assert_eq!(error.kind(), ErrorKind::PermissionDenied);
    let error = session.refusal("file://host/etc/passwd").await?;
    assert_eq!(error.kind(), ErrorKind::PermissionDenied);
    Ok(())
}

async fn stores_outside_of_the_roots_are_refused_alike_there_or_not(
    session: &Limited,
) -> Result<()> {
    write_items(&session.path("there.lance")).await?;
    symlink(session.path("there.lance"), session.path("root/link.lance"))?;
    symlink(session.path("missing.lance"), session.path("root/dangling.lance"))?;
    let names = [
        "there.lance",
        "missing.lance",
        "root/../there.lance",
        "root/../missing.lance",
        "root/link.lance",
        "root/dangling.lance",
    ];
    let paths = names.iter().map(|name| session.path(name));
    for path in paths.chain(["/etc/passwd".to_owned(), "/etc/none".to_owned()]) {
        for given in [path.clone(), format!("file://{path}"), format!("file+uring://{path}")] {
            let expected = format!("store 's' cannot be opened: {}", refused(&given));
            check_refused(&session.store_refusal(&given).await?, &expected);
        }
        let input = session.read(Input::new(&path).format(Format::Lance)).await;
        let error = input.err().context("it was read")?;
        assert_eq!(error.kind(), ErrorKind::PermissionDenied);
        assert!(error.message().ends_with(&refused(&path)), "{error}");
    }
    Ok(())
}

async fn links_in_folders_and_datasets_do_not_lead_out(session: &Limited) -> Result<()> {
    fs::create_dir_all(session.path("root/days/day=1"))?;
    fs::create_dir_all(session.path("others"))?;
    fs::write(session.path("root/days/day=1/a.csv"), "id\n1\n")?;
    fs::write(session.path("others/b.csv"), "id\n2\n")?;
    write_items(&session.path("root/items.lance")).await?;
    let (days, items) = (session.path("root/days"), session.path("root/items.lance"));
    for target in [session.path("others"), session.path("none"), "/etc".to_owned()] {
        let link = session.path("root/days/day=2");
        symlink(&target, &link)?;
        for given in [days.clone(), format!("{days}/"), format!("{days}/*/*.csv")] {
            check_refused(&session.refusal(&given).await?, &refused(&given));
        }
        fs::remove_file(link)?;
        let link = session.path("root/items.lance/data/x.lance");
        symlink(&target, &link)?;
        let expected = format!("store 's' cannot be opened: {}", refused(&items));
        check_refused(&session.store_refusal(&items).await?, &expected);
        fs::remove_file(link)?;
    }
    // One that leads to within is followed, and one that is passed over may lead anywhere.
    symlink("day=1", session.path("root/days/day=2"))?;
    symlink(session.path("others"), session.path("root/days/_hidden"))?;
    let read = session.read(Input::new(&days).format(Format::Csv)).await?;
    assert_eq!(
        rows(read.sort_by(vec![datafusion::prelude::col("day")])?).await?,
        ["1 | 1", "1 | 2"]
    );
    Ok(())
}

async fn what_is_within_the_roots_is_read_as_ever(session: &Limited) -> Result<()> {
    write_items(&session.path("root/items.lance")).await?;
    fs::write(session.path("root/t.csv"), "id\n3\n1\n")?;
    symlink("t.csv", session.path("root/near.csv"))?;
    let store = load_kv("items", LanceOptions::new(session.path("root/items.lance")).key("id"))?;
    session.attach(store, None::<&str>).await?;
    for name in ["t.csv", "near.csv", "t*.csv", "../root/t.csv"] {
        let path = session.path(&format!("root/{name}"));
        let sql = format!("SELECT kv_get(id, source => 'items')['name'] FROM '{path}'");
        assert_eq!(rows(session.sql(&sql).await?).await?, ["c", "a"], "{name}");
    }
    let missing = session.path("root/missing.csv");
    let error = session.refusal(&missing).await?;
    let message = format!("input {missing}: no such file, or a folder without files");
    assert_eq!((error.kind(), error.message()), (ErrorKind::NotFound, message.as_str()));
    let path = session.path("root/items.lance");
    let sql = format!("SELECT name FROM '{path}' WHERE id > 1");
    assert_eq!(rows(session.sql(&sql).await?).await?, ["b", "c"]);
    Ok(())
}

async fn a_profiles_credentials_go_to_no_host_that_a_job_names(session: &Limited) -> Result<()> {
    let server = Unasked::listen()?;
    let url = format!("http://{}/a.csv", server.address);
    let input = Input { storage_options: Some("prod".to_owned()), ..Input::new(&url) };
    let error = session.read(input).await.err().context("it was read")?;
    let expected = format!(
        "{url} is refused beside storage profile 'prod', whose credentials would go there: the \
         worker's access.endpoints do not name it"
    );
    check_refused(&error, &expected);
    let url = "abfss://box@elsewhere.dfs.core.windows.net/a.csv";
    let input = Input { storage_options: Some("prod".to_owned()), ..Input::new(url) };
    let error = session.read(input).await.err().context("it was read")?;
    assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{error}");
    server.check_nobody_asked()
}

async fn explain_and_statements_are_refused_as_well(session: &Limited) -> Result<()> {
    let path = session.path("there.csv");
    fs::write(&path, "id\n1\n")?;
    for sql in [
        format!("SELECT * FROM '{path}'"),
        format!("EXPLAIN SELECT * FROM '{path}'"),
        format!("SUMMARIZE '{path}'"),
    ] {
        let error = session.sql(&sql).await.err().with_context(|| sql.clone())?;
        check_refused(&error, &refused(&path));
    }
    Ok(())
}

/// A server that is to see no connection.
struct Unasked {
    listener: TcpListener,
    address: String,
}

impl Unasked {
    fn listen() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?.to_string();
        Ok(Self { listener, address })
    }

    /// The system would have taken a connection for it.
    fn check_nobody_asked(&self) -> Result<()> {
        let asked = self.listener.accept().map(|(_, peer)| peer);
        let kind = asked.as_ref().map_err(io::Error::kind);
        assert_eq!(kind, Err(io::ErrorKind::WouldBlock));
        Ok(())
    }
}

#[tokio::test]
async fn schemes_and_hosts_that_are_not_listed_are_not_asked() -> Result<()> {
    let server = Unasked::listen()?;
    let mut settings = EmbeddedSettings { workers: Some(1), ..EmbeddedSettings::default() };
    settings.worker.access.schemes = Some(vec!["http".to_owned(), "s3".to_owned()]);
    settings.worker.access.endpoints =
        Some(vec!["http://data.example".to_owned(), "s3://bucket/shared".to_owned()]);
    let session = Session::embedded_with(settings).await?;
    let refusal = async |path: &str| -> Result<Error> {
        let read = session.read(Input::new(path).format(Format::Csv)).await;
        read.err().with_context(|| format!("{path} was read"))
    };
    let url = format!("http://{}/a.csv", server.address);
    for given in [url.as_str(), "s3://bucket/other/a.csv", "s3://bucket/sharedtoo/*.csv"] {
        let expected = format!("{given} is refused: the worker's access.endpoints do not allow it");
        check_refused(&refusal(given).await?, &expected);
    }
    for (given, scheme) in [("/etc/passwd", "file"), ("gs://bucket/a.csv", "gs")] {
        let expected =
            format!("{given} is refused: the worker's access.schemes allow http, s3, not {scheme}");
        check_refused(&refusal(given).await?, &expected);
    }
    let uri = "s3://elsewhere/a.lance";
    let store = load_kv("s", LanceOptions::new(uri).key("id"))?;
    let error = session.attach(store, None::<&str>).await.err().context("it was opened")?;
    let expected = format!(
        "store 's' cannot be opened: {uri} is refused: the worker's access.endpoints do not allow \
         it"
    );
    check_refused(&error, &expected);
    server.check_nobody_asked()
}

#[tokio::test]
async fn a_rule_that_is_none_is_named_at_the_start() -> Result<()> {
    let mut settings = EmbeddedSettings::default();
    settings.worker.access.roots = Some(vec!["data".to_owned()]);
    let error = Session::embedded_with(settings).await.err().context("it started")?;
    let message = "setting worker.access.roots must be absolute paths or file:/// URLs, not 'data'";
    assert_eq!((error.kind(), error.message()), (ErrorKind::Invalid, message));
    Ok(())
}
