//! The log, which goes to stderr.

use std::io::{IsTerminal, Write, stderr};

use anyhow::{Context, Result};
use tracing_subscriber::{EnvFilter, filter::LevelFilter};

/// The variable that says what is logged.
const VARIABLE: &str = "KEYLOOM_LOG";

/// How the names of parts begin that log something: Keyloom's own, and those below it.
const PARTS: [&str; 14] = [
    "aws",
    "datafusion",
    "h2",
    "hyper",
    "keyloom",
    "lance",
    "mio",
    "object_store",
    "parquet",
    "reqwest",
    "rustls",
    "tarpc",
    "tokio",
    "tower",
];

/// Starts the log, once a process: of what `KEYLOOM_LOG` says, or else of what is usual. Words in
/// it that are neither a level nor a part are told on stderr.
///
/// # Errors
/// If `KEYLOOM_LOG` is no filter.
pub fn start(usual: &str) -> Result<()> {
    let filter = match std::env::var(VARIABLE) {
        Ok(filter) => {
            let read = EnvFilter::try_new(&filter);
            let read = read.with_context(|| format!("{VARIABLE}={filter}"))?;
            unknown(&filter).for_each(warn);
            read
        }
        Err(_) => EnvFilter::try_new(usual).context("the log filter")?,
    };
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(stderr);
    log.with_ansi(stderr().is_terminal()).init();
    Ok(())
}

fn warn(word: &str) {
    // Without a stderr there is nobody to tell.
    let _ = writeln!(
        stderr(),
        "warning: {VARIABLE}: '{word}' is no level (error, warn, info, debug, trace or off), and \
         nothing that logs is called so"
    );
}

/// The words that the filter takes for names of parts, and that are none.
fn unknown(filter: &str) -> impl Iterator<Item = &str> {
    let words = filter.split(',').map(str::trim);
    words.filter(|word| {
        let is_part = PARTS.iter().any(|part| word.starts_with(part));
        let is_plain = !word.is_empty() && !word.contains(['=', '[', ':']);
        is_plain && !is_part && word.parse::<LevelFilter>().is_err()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_that_are_neither_levels_nor_parts_are_unknown() {
        for (filter, expected) in [
            ("info", vec![]),
            ("DEBUG", vec![]),
            ("off", vec![]),
            ("keyloom_worker=debug,lance=warn", vec![]),
            ("keyloom_worker,mine::part,other=info", vec![]),
            ("debgu", vec!["debgu"]),
            ("info, verbose,lance", vec!["verbose"]),
            ("", vec![]),
        ] {
            assert_eq!(unknown(filter).collect::<Vec<_>>(), expected, "{filter}");
        }
    }
}
