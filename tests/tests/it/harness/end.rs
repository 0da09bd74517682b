//! Programs that end by themselves.

use std::{process::Stdio, time::Duration};

use anyhow::{Context, Result};
use tokio::{process::Command, time::timeout};

use super::program;

/// Far more than any takes that does not go on.
const TIMEOUT: Duration = Duration::from_secs(60);

/// A command with nothing of the environment's settings, and nothing to read. It is killed if the
/// test ends before it.
pub(crate) fn bare(mut command: Command) -> Command {
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("KEYLOOM_") {
            command.env_remove(name);
        }
    }
    command.stdin(Stdio::null()).kill_on_drop(true);
    command
}

/// Runs a command line, the program's name first, until it ends, with nothing of the environment's
/// settings but these. Gives its exit code, and what it wrote to stdout and to stderr.
pub(crate) async fn run_to_end(
    line: &[&str],
    env: &[(&str, &str)],
) -> Result<(Option<i32>, String, String)> {
    let (name, arguments) = line.split_first().context("a program")?;
    let mut command = bare(Command::new(program(name)?));
    command.args(arguments).envs(env.iter().copied());
    let ended = timeout(TIMEOUT, command.output()).await;
    let output = ended.with_context(|| format!("{line:?} goes on with {env:?}"))??;
    let (stdout, stderr) = (String::from_utf8(output.stdout)?, String::from_utf8(output.stderr)?);
    Ok((output.status.code(), stdout, stderr))
}
