//! Processes that run until they are dropped.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Stdio},
};

use anyhow::{Context, Result, ensure};

use super::Machine;

/// A process of ours behind a shell that kills it when our end of a pipe closes: statics are never
/// dropped, but pipes of a dead process are closed.
#[derive(Debug)]
pub(crate) struct Daemon {
    shell: Child,
    stdout: BufReader<ChildStdout>,
    /// Lines that came before one that was looked for: it may speak before the shell does.
    passed: Vec<String>,
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
        let (stdout, passed) = (BufReader::new(stdout), Vec::new());
        let mut daemon = Self { shell, stdout, passed, log, pid: 0 };
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

    /// The first line of stdout that starts so, of those that were not asked for yet.
    pub(crate) fn line_with(&mut self, prefix: &str) -> Result<String> {
        if let Some(place) = self.passed.iter().position(|line| line.starts_with(prefix)) {
            return Ok(self.passed.remove(place));
        }
        loop {
            let mut line = String::new();
            let read = self.stdout.read_line(&mut line)?;
            ensure!(read > 0, "it ended before it said '{prefix}…': {}", self.log());
            let line = line.trim_end().to_owned();
            if line.starts_with(prefix) {
                return Ok(line);
            }
            self.passed.push(line);
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
