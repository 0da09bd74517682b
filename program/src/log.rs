//! The log, which goes to stderr.

use std::io::{IsTerminal, stderr};

use anyhow::{Context, Result};
use tracing_subscriber::EnvFilter;

/// The variable that says what is logged.
const VARIABLE: &str = "KEYLOOM_LOG";

/// Starts the log, once a process: of what `KEYLOOM_LOG` says, or else of what is usual.
///
/// # Errors
/// If `KEYLOOM_LOG` is no filter.
pub fn start(usual: &str) -> Result<()> {
    let filter = match std::env::var(VARIABLE) {
        Ok(filter) => EnvFilter::try_new(&filter).with_context(|| format!("{VARIABLE}={filter}")),
        Err(_) => EnvFilter::try_new(usual).context("the log filter"),
    }?;
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(stderr);
    log.with_ansi(stderr().is_terminal()).init();
    Ok(())
}
