//! The command `keyloom` as a process: what it reads, prints, writes and leaves behind.

mod analysis;
mod answers;
mod catalog;
mod cluster_catalog;
mod endings;
mod files;
mod handed_in;
mod incremental;
mod misses;
mod outputs;
mod params;
mod rows;
mod settings;
mod shell;
mod statements;
mod stores;
mod summaries;
mod terminal;
mod typing;
mod words;

use std::{
    ffi::OsStr,
    fs,
    path::Path,
    process::{Output, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use arrow::{array::RecordBatch, ipc::writer::FileWriter};
use tokio::{
    io::AsyncWriteExt,
    process::{Child, Command},
    time::timeout,
};

use crate::harness::{TestSession, bare, program};

/// How long a command of a test may take.
const TIMEOUT: Duration = Duration::from_secs(60);

/// A command to run. It is killed if the test ends before it.
struct Keyloom(Command);

impl Keyloom {
    /// The command with arguments and nothing of the environment's settings.
    fn new(arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Result<Self> {
        let mut command = bare(Command::new(program("keyloom")?));
        command.args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped());
        Ok(Self(command))
    }

    /// The command with jobs on the deployment of a session.
    async fn on(
        session: &TestSession,
        arguments: impl IntoIterator<Item = impl AsRef<OsStr>>,
    ) -> Result<Self> {
        let mut command = Self::new(arguments)?;
        command.0.args(session.place().await?);
        Ok(command)
    }

    fn env(mut self, name: &str, value: &str) -> Self {
        self.0.env(name, value);
        self
    }

    fn within(mut self, folder: impl AsRef<Path>) -> Self {
        self.0.current_dir(folder);
        self
    }

    fn start(mut self) -> Result<Child> {
        Ok(self.0.spawn()?)
    }

    async fn run(self) -> Result<Ended> {
        ended(self.start()?).await
    }

    /// Runs it with a text on stdin.
    async fn run_with(mut self, text: &str) -> Result<Ended> {
        self.0.stdin(Stdio::piped());
        let mut child = self.start()?;
        let mut stdin = child.stdin.take().context("stdin is piped")?;
        stdin.write_all(text.as_bytes()).await?;
        drop(stdin);
        ended(child).await
    }
}

/// Waits for a command's end, for a bounded time.
async fn ended(child: Child) -> Result<Ended> {
    let output = timeout(TIMEOUT, child.wait_with_output()).await;
    let Output { status, stdout, stderr } = output.context("it does not end")??;
    Ok(Ended {
        code: status.code().with_context(|| format!("a signal ended it: {status}"))?,
        stdout: String::from_utf8(stdout)?,
        stderr: String::from_utf8(stderr)?,
    })
}

/// How a command ended.
#[derive(Debug)]
struct Ended {
    code: i32,
    stdout: String,
    stderr: String,
}

impl Ended {
    /// It did what was asked; what it printed.
    fn stdout(&self) -> Result<&str> {
        ensure!(self.code == 0, "{self:?}");
        Ok(&self.stdout)
    }

    /// It failed with the code, printed nothing and said this on stderr.
    #[track_caller]
    fn check_failure(&self, code: i32, words: &[&str]) {
        assert_eq!((self.code, self.stdout.as_str()), (code, ""), "{self:?}");
        assert!(self.stderr.starts_with("error: "), "{self:?}");
        for word in words {
            assert!(self.stderr.contains(word), "no '{word}' in {self:?}");
        }
    }
}

/// Writes an Arrow file of a batch.
fn write_arrow(path: impl AsRef<Path>, batch: &RecordBatch) -> Result<()> {
    let mut writer = FileWriter::try_new(fs::File::create(path)?, batch.schema_ref())?;
    writer.write(batch)?;
    Ok(writer.finish()?)
}

/// The names of a folder's files, sorted.
fn names(folder: impl AsRef<Path>) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder)? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

/// A flag of a table.
fn input(name: &str, path: &str) -> [String; 2] {
    ["--input".to_owned(), format!("{name}={path}")]
}
