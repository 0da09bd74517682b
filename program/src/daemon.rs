//! What the coordinator's program and the worker's do alike.

use std::io::{Write, stdout};

use anyhow::{Context, Result};
use keyloom_common::{
    Error, ErrorKind,
    log::{LogFormat, LogSettings},
    stack::{BLOCKING_THREADS, STACK_BYTES},
};
use serde::{Serialize, de::DeserializeOwned};
use tokio::runtime::{Builder, Runtime};
use tracing::Level;

use crate::{
    config::{self, Command},
    log::{self, Log, say},
    settings::Layers,
};

/// What daemons log unless `KEYLOOM_LOG` says otherwise. Of each peer that goes, tarpc's servers
/// warn as of an error; one whose bytes cannot be read is told of where they are read.
const LOG: &str =
    "info,lance=warn,datafusion=warn,tarpc=warn,tarpc::server=error,opentelemetry=warn";

/// The settings that layers give.
///
/// # Errors
/// If they cannot be read, or the check refuses them.
pub fn settings<T: DeserializeOwned>(
    layers: &Layers,
    check: impl FnOnce(&T) -> keyloom_common::Result<()>,
) -> Result<T> {
    let settings = layers.read()?;
    check(&settings)?;
    Ok(settings)
}

/// Starts the log of a program, and reads the settings, which may say how it goes on.
///
/// # Errors
/// The exit code, where one of both cannot be done, and it was said why.
pub fn begin<T>(
    program: &'static str,
    format: Result<Option<LogFormat>>,
    read: impl FnOnce() -> Result<(T, Layers)>,
    log_of: impl FnOnce(&T) -> &LogSettings,
) -> Result<(Log, T, Layers), u8> {
    let begun = format.and_then(|format| log::start(program, LOG, format)).and_then(|log| {
        let (settings, layers) = read()?;
        log.settle(log_of(&settings));
        Ok((log, settings, layers))
    });
    begun.map_err(|error| fail(2, &error))
}

/// Shows a daemon's configuration, and gives the exit code.
pub fn show(layers: &Layers, settings: &impl Serialize, command: Command) -> u8 {
    let shown = layers.listing(settings).and_then(|listing| {
        config::print(&listing, command.form()).context("stdout cannot be written")
    });
    match shown {
        Ok(()) => 0,
        Err(error) => fail(1, &error),
    }
}

/// Says on stdout where the program can be reached: scripts wait for this line.
pub fn announce(address: &str) {
    let mut stdout = stdout().lock();
    if writeln!(stdout, "{address}").and_then(|()| stdout.flush()).is_err() {
        tracing::warn!("nobody reads stdout");
    }
}

/// Threads with room for deep plans: so many that compute, or one a core.
///
/// # Errors
/// If there are no threads to be had.
pub fn runtime(threads: Option<usize>) -> Result<Runtime> {
    let mut runtime = Builder::new_multi_thread();
    if let Some(threads) = threads {
        runtime.worker_threads(threads.max(1));
    }
    let runtime = runtime.enable_all().thread_stack_size(STACK_BYTES);
    runtime.max_blocking_threads(BLOCKING_THREADS).build().context("no threads")
}

/// The exit code for an error: whether what the program was told is wrong.
pub fn exit_code(error: &anyhow::Error) -> u8 {
    let kind = error.downcast_ref::<Error>().map(Error::kind);
    match kind {
        Some(ErrorKind::Invalid | ErrorKind::PermissionDenied) => 2,
        _ => 1,
    }
}

/// Says on stderr why the program ends, and gives the exit code.
pub fn fail(code: u8, error: &anyhow::Error) -> u8 {
    say(Level::ERROR, "error", &format!("{error:#}"));
    code
}
