//! The flags that both daemons have.

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;
use keyloom_common::log::LogFormat;
use serde::Serialize;

use crate::settings::Layers;

/// The variable of `--log-format`.
const LOG_FORMAT: &str = "KEYLOOM_LOG_FORMAT";

/// What a daemon is told beside what is its own.
#[derive(Debug, Default, Args)]
pub struct Flags {
    /// Settings as TOML; the environment goes before them, and flags before both
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// How the log is written: text or json [default: log.format of the settings, which is text]
    // Its variable is a layer of its own, or it would pass for the flag.
    #[arg(long, value_name = "FORMAT", value_parser = LogFormat::parse)]
    log_format: Option<LogFormat>,
    /// Where to tell over HTTP how it is: /healthz, /readyz and /metrics; port 0 is any that is
    /// free, and stdout has a line with the address [default: nowhere, or as http.listen of the
    /// settings]
    #[arg(long, global = true, value_name = "HOST:PORT")]
    http: Option<String>,
    /// Tell what is counted to whoever reaches --http, on other machines and without a token, too
    #[arg(long, global = true)]
    insecure_http: bool,
}

impl Flags {
    /// How the log is written before the settings are read: as the flag says, or its variable.
    ///
    /// # Errors
    /// If the variable says neither text nor json.
    pub fn log_format(&self) -> Result<Option<LogFormat>> {
        let variable = std::env::var_os(LOG_FORMAT).filter(|text| !text.is_empty());
        match (self.log_format, variable) {
            (None, Some(text)) => {
                let read = LogFormat::parse(&text.to_string_lossy());
                read.map(Some).context(LOG_FORMAT)
            }
            (flag, _) => Ok(flag),
        }
    }

    /// Layers of settings: defaults, then the file, then variables whose names begin so, then these
    /// flags. Others go over them.
    ///
    /// # Errors
    /// If there is no such file.
    pub fn layers<T: Default + Serialize>(&self, prefix: &str) -> Result<Layers> {
        let layers = Layers::defaults(&T::default()).file(self.config.as_deref())?;
        Ok(layers
            .environment(prefix)
            .variable(LOG_FORMAT, "log.format")?
            .flag("--log-format", "log.format", self.log_format)
            .flag("--http", "http.listen", self.http.as_ref())
            .flag("--insecure-http", "http.insecure_listen", self.insecure_http.then_some(true)))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use keyloom_common::Error;
    use serde::Deserialize;

    use super::*;
    use crate::daemon::settings;

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
            let flags = Flags { config, ..Flags::default() };
            settings(&flags.layers::<Slots>("KEYLOOM_NO_SUCH_PROGRAM_").unwrap(), check)
        };
        assert_eq!(read(Some(path)).unwrap(), Slots { slots: 3 });
        let refused = read(None).unwrap_err();
        let expected = Error::invalid("slots must not be 0");
        assert_eq!(refused.downcast_ref::<Error>(), Some(&expected));
    }
}
