//! Secrets show nowhere: not in what processes say, however much that is, nor in what they leave
//! behind, nor where others see how they were started.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Stdio,
};

use anyhow::{Context, Result};
use keyloom_client::{ErrorKind, Format, Input};
use keyloom_common::Secret;
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    process::Command,
    task::JoinSet,
    time::timeout,
};

use super::{BOUND, connect, settings};
use crate::harness::{Cluster, Daemon, Keys, batch, ints, program, strings, write_lance};

/// Of a storage profile.
const STORAGE_KEY: &str = "5ec2e7-570r4ge-key-c0ffee";
/// Of somebody who is refused.
const WRONG_TOKEN: &str = "5ec2e7-wr0ng-70cen-c0ffee";

/// All there is to say.
const LOG: (&str, &str) = ("KEYLOOM_LOG", "trace");

/// Storage that refuses everybody. It ends when it is dropped.
struct Storage {
    endpoint: String,
    _serving: JoinSet<()>,
}

impl Storage {
    async fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let endpoint = format!("http://{}", listener.local_addr()?);
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(refuse(stream));
            }
        });
        Ok(Self { endpoint, _serving: serving })
    }

    /// The profile by which workers use it.
    fn profile(&self) -> String {
        format!(
            "[store.storage_profiles.prod]\naws_endpoint = '{}'\naws_region = 'us-east-1'\n\
             allow_http = 'true'\naws_access_key_id = 'somebody'\n\
             aws_secret_access_key = '{STORAGE_KEY}'\n",
            self.endpoint
        )
    }
}

/// Refuses one request after the other.
async fn refuse(stream: TcpStream) {
    const BODY: &str = "<Error><Code>AccessDenied</Code><Message>no</Message></Error>";
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    while stream.read_line(&mut line).await.is_ok_and(|read| read > 0) {
        if line == "\r\n" {
            let length = BODY.len();
            let answer =
                format!("HTTP/1.1 403 Forbidden\r\ncontent-length: {length}\r\n\r\n{BODY}");
            if stream.get_mut().write_all(answer.as_bytes()).await.is_err() {
                return;
            }
        }
        line.clear();
    }
}

/// A cluster that has secrets of all kinds, and a folder for what is made with it.
struct Scene {
    keys: Keys,
    cluster: Cluster,
    folder: TempDir,
    _storage: Storage,
}

impl Scene {
    async fn start() -> Result<Self> {
        let storage = Storage::start().await?;
        let keys = Keys::both()?.with_worker_settings(&storage.profile());
        keys.write("wrong.token", &format!("{WRONG_TOKEN}\n"))?;
        let folder = tempfile::tempdir()?;
        let spill = folder.path().to_string_lossy().into_owned();
        let coordinator = [LOG, ("KEYLOOM_COORDINATOR_SPILL_FOLDER", spill.as_str())];
        let worker = [LOG, ("KEYLOOM_WORKER_SPILL_FOLDER", spill.as_str())];
        let cluster = Cluster::start_with_keys(2, &keys, &coordinator, &worker).await?;
        Ok(Self { keys, cluster, folder, _storage: storage })
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_string_lossy().into_owned()
    }

    /// Runs the command on the cluster with a token: its exit code, and all that it said.
    async fn keyloom(&self, token: &str, arguments: &[&str]) -> Result<(i32, String)> {
        let mut command = Command::new(program("keyloom")?);
        command.args(arguments).args(["--cluster", &self.cluster.address]);
        for (flag, file) in [
            ("--ca-file", "ca.pem"),
            ("--cert-file", "client.pem"),
            ("--key-file", "client-key.pem"),
            ("--token-file", token),
        ] {
            command.arg(flag).arg(self.keys.path(file));
        }
        command.env(LOG.0, LOG.1).stdin(Stdio::null()).kill_on_drop(true);
        let output = timeout(BOUND, command.output()).await.context("it does not end")??;
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said).into_owned();
        Ok((output.status.code().context("a signal ended it")?, said))
    }

    /// All secrets there are.
    fn secrets(&self) -> Result<Vec<String>> {
        let mut secrets = vec![STORAGE_KEY.to_owned(), WRONG_TOKEN.to_owned()];
        secrets.extend(["client", "worker", "operator"].map(Keys::token));
        for name in ["ca", "coordinator", "worker", "client", "operator"] {
            let key = fs::read_to_string(self.keys.path(&format!("{name}-key.pem")))?;
            // The first line says what it is.
            secrets.push(key.lines().nth(1).context("a key")?.to_owned());
        }
        Ok(secrets)
    }

    fn daemons(&self) -> impl Iterator<Item = &Daemon> {
        self.cluster.workers.iter().chain([&self.cluster.coordinator])
    }
}

/// The files of a folder and of those in it.
fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        match path.is_dir() {
            true => files.extend(self::files(&path)?),
            false => files.push(path),
        }
    }
    Ok(files)
}

/// What the command is told to run a statement over a table and a store.
fn statement<'a>(sql: &'a str, input: &'a str, store: &'a str) -> Vec<&'a str> {
    vec!["sql", sql, "--input", input, "--store", store]
}

/// What files hold, as far as it is text.
fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[tokio::test]
async fn nothing_that_a_run_says_or_leaves_behind_holds_a_secret() -> Result<()> {
    let scene = Scene::start().await?;
    let rows = batch([("id", ints(0..100)), ("name", strings(["x"; 100]))]);
    let (store, out) = (scene.path("names.lance"), scene.path("out.parquet"));
    write_lance(&store, &[rows], 50).await?;
    fs::write(scene.path("t.csv"), "id\n1\n2\n300\n")?;
    let input = format!("t={}", scene.path("t.csv"));
    let by_profile = format!("s=lance:{store}?key=id&storage_options=prod");
    let refused = "s=lance:s3://bucket/names.lance?key=id&storage_options=prod";
    let sql = |on_error: &str| {
        format!("SELECT id, kv_get(id, on_error => '{on_error}')['name'] AS name FROM t")
    };
    let (good, missing) = (sql("null"), sql("raise"));
    let explain = format!("EXPLAIN {good}");
    let stored = |sql| statement(sql, &input, &by_profile);
    let token = "client.token";
    let mut said = Vec::new();
    for (is_good, token, arguments) in [
        (true, token, [&stored(&good)[..], &["-o", &out]].concat()),
        (true, token, stored(&explain)),
        (false, token, stored(&missing)),
        (false, token, statement(&good, &input, refused)),
        (true, token, vec!["workers"]),
        (false, "wrong.token", vec!["workers"]),
        (false, "worker.token", vec!["workers"]),
    ] {
        let (code, text) = scene.keyloom(token, &arguments).await?;
        assert_eq!(code == 0, is_good, "{arguments:?}: {text}");
        said.push((format!("{arguments:?}"), text));
    }
    for daemon in scene.daemons() {
        said.push((format!("the log of {daemon:?}"), daemon.log()));
        for what in ["cmdline", "environ"] {
            let path = format!("/proc/{}/{what}", daemon.pid());
            let bytes = fs::read(&path)?;
            said.push((path, text(&bytes)));
        }
    }
    for file in files(scene.folder.path())? {
        said.push((file.display().to_string(), text(&fs::read(&file)?)));
    }
    // It was looked for where there was much to find.
    assert!(said.iter().any(|(_, text)| text.contains("TRACE")));
    for secret in scene.secrets()? {
        let shown = said.iter().filter(|(_, text)| text.contains(&secret));
        let shown: Vec<_> = shown.map(|(place, _)| place).collect();
        assert!(shown.is_empty(), "{secret} is in {shown:?}");
    }
    Ok(())
}

#[tokio::test]
async fn settings_with_a_token_are_printed_without_it() -> Result<()> {
    let keys = Keys::tokens()?;
    let mut peer = keys.role("client");
    (peer.token_file, peer.token) = (None, Some(Secret::new(WRONG_TOKEN)));
    let credentials = peer.load()?;
    let printed = format!("{:?} {credentials:?}", settings(peer.clone()));
    assert!(printed.contains("***") && !printed.contains(WRONG_TOKEN), "{printed}");
    let written = serde_json::to_string(&settings(peer))?;
    assert!(written.contains("***") && !written.contains(WRONG_TOKEN), "{written}");
    Ok(())
}

#[tokio::test]
async fn no_job_reads_the_files_that_a_workers_settings_name() -> Result<()> {
    let keys = Keys::both()?;
    let cluster = Cluster::start_with_keys(1, &keys, &[], &[]).await?;
    let session = connect(&cluster.address, &keys.role("client")).await?;
    symlink(keys.path("worker-key.pem"), keys.path("link.csv"))?;
    keys.write("plain.csv", "id\n1\n")?;
    let read = async |name: &str| {
        let path = keys.path(name).display().to_string();
        let read = session.read(Input::new(&path).format(Format::Csv)).await;
        (path, read.err().map(|error| (error.kind(), error.message().to_owned())))
    };
    for name in ["ca.pem", "worker.pem", "worker-key.pem", "worker.token", "link.csv"] {
        let (path, refused) = read(name).await;
        let expected =
            format!("{path} is refused: it is a file that the worker's own settings name");
        assert_eq!(refused, Some((ErrorKind::PermissionDenied, expected)), "{name}");
    }
    assert_eq!(read("plain.csv").await.1, None);
    Ok(())
}
