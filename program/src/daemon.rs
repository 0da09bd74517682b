//! What the coordinator's program and the worker's do alike.

use std::{
    io::{Write, stdout},
    path::Path,
};

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

/// What daemons log unless `KEYLOOM_LOG` says otherwise.
const LOG: &str = "info,lance=warn,datafusion=warn,tarpc=warn,opentelemetry=warn";

/// Layers of settings: defaults, then the file that `--config` names, then variables whose names
/// begin so. Flags go over them.
///
/// # Errors
/// If there is no such file.
pub fn layers<T: Default + Serialize>(config: Option<&Path>, prefix: &str) -> Result<Layers> {
    Ok(Layers::defaults(&T::default()).file(config)?.environment(prefix))
}

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
    format: Option<LogFormat>,
    read: impl FnOnce() -> Result<(T, Layers)>,
    log_of: impl FnOnce(&T) -> &LogSettings,
) -> Result<(Log, T, Layers), u8> {
    let begun = log::start(program, LOG, format).and_then(|log| {
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

#[cfg(test)]
mod tests {
    use std::fs;

    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
    struct Slots {
        slots: u32,
    }

    fn check(settings: &Slots) -> keyloom_common::Result<()> {
        if settings.slots > 0 { Ok(()) } else { Err(Error::invalid("slots must not be 0")) }
    }

    #[test]
    fn settings_are_read_and_checked() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("settings.toml");
        fs::write(&path, "slots = 3").unwrap();
        let read = |config| {
            let layers = layers::<Slots>(config, "KEYLOOM_NO_SUCH_PROGRAM_").unwrap();
            settings(&layers, check)
        };
        assert_eq!(read(Some(path.as_path())).unwrap(), Slots { slots: 3 });
        let refused = read(None).unwrap_err();
        let expected = Error::invalid("slots must not be 0");
        assert_eq!(refused.downcast_ref::<Error>(), Some(&expected));
    }
}
