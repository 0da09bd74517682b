//! The log, which goes to stderr: what is logged, and how it is written. A line says its time, its
//! level, the part that says it, its words and fields, and what the spans around it say: which job,
//! task, attempt and worker it is about.

mod fields;
mod layer;
mod line;
#[cfg(not(feature = "otel"))]
#[path = "log/no_traces.rs"]
mod traces;
#[cfg(feature = "otel")]
mod traces;

use std::{
    backtrace::{Backtrace, BacktraceStatus},
    io::{IsTerminal, Stderr, Write, stderr},
    panic,
    sync::atomic::{AtomicBool, Ordering},
};

use anyhow::{Context, Result};
use keyloom_common::log::{LogFormat, LogSettings};
use tracing::Level;
use tracing_subscriber::{EnvFilter, filter::LevelFilter};

use fields::{Fields, Value};
use layer::Lines;
use line::Line;
use traces::Traces;

/// The variable that says what is logged.
const VARIABLE: &str = "KEYLOOM_LOG";

/// The variables that name a collector of traces.
const COLLECTORS: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"];

/// How the names of parts begin that log something: Keyloom's own, and those below it.
const PARTS: [&str; 16] = [
    "aws",
    "datafusion",
    "h2",
    "hyper",
    "keyloom",
    "lance",
    "mio",
    "object_store",
    "opentelemetry",
    "parquet",
    "reqwest",
    "rustls",
    "tarpc",
    "tokio",
    "tonic",
    "tower",
];

/// Whether lines are JSON. Of the whole process, as the log is.
static IS_JSON: AtomicBool = AtomicBool::new(false);

/// The log of a program. When this is dropped, traces that were not sent yet are, within a bound.
#[derive(Debug)]
#[must_use]
pub struct Log {
    /// Whether the format was said when it was started.
    is_chosen: bool,
    _traces: Traces,
}

impl Log {
    /// Goes on as the settings say, unless whoever started the program said otherwise.
    pub fn settle(&self, settings: &LogSettings) {
        if !self.is_chosen {
            write_as(settings.format);
        }
    }
}

/// Starts the log, once a process, of a program of this name: of what `KEYLOOM_LOG` says, or else
/// of what is usual, in this format, if one was chosen. Words in it that are neither a level nor a
/// part are told on stderr.
///
/// # Errors
/// If `KEYLOOM_LOG` is no filter, or traces cannot be sent where the environment says.
pub fn start(program: &'static str, usual: &str, chosen: Option<LogFormat>) -> Result<Log> {
    write_as(chosen.unwrap_or_default());
    tell_panics();
    let filter = match std::env::var(VARIABLE) {
        Ok(filter) => {
            let read = EnvFilter::try_new(&filter);
            let read = read.with_context(|| format!("{VARIABLE}={filter}"))?;
            unknown(&filter).for_each(warn);
            read
        }
        Err(_) => EnvFilter::try_new(usual).context("the log filter")?,
    };
    let writer: fn() -> Stderr = stderr;
    let lines = Lines { writer, is_colored: stderr().is_terminal(), format };
    let traces = Traces::start(program, filter, lines)?;
    Ok(Log { is_chosen: chosen.is_some(), _traces: traces })
}

/// How lines are written.
fn format() -> LogFormat {
    if IS_JSON.load(Ordering::Relaxed) { LogFormat::Json } else { LogFormat::Text }
}

fn write_as(format: LogFormat) {
    IS_JSON.store(format == LogFormat::Json, Ordering::Relaxed);
}

/// Says something of the program itself on stderr, whatever is logged: as text, with a word before
/// it, or as a line of the log.
pub(crate) fn say(level: Level, word: &str, message: &str) {
    match format() {
        // Without a stderr there is nobody to tell.
        LogFormat::Text => drop(writeln!(stderr(), "{word}: {message}")),
        LogFormat::Json => {
            write(level, Fields { message: message.to_owned(), ..Fields::default() })
        }
    }
}

/// Writes a line of JSON.
fn write(level: Level, said: Fields) {
    let line = Line { level, target: module_path!(), said: &said, spans: &[] };
    // Without a stderr there is nobody to tell.
    let _ = stderr().write_all(line.write(LogFormat::Json, false).as_bytes());
}

/// Lets panics be lines of JSON, too, where the log is.
fn tell_panics() {
    let usual = panic::take_hook();
    panic::set_hook(Box::new(move |panicked| {
        if format() == LogFormat::Text {
            return usual(panicked);
        }
        let mut said = Fields { message: panicked.to_string(), ..Fields::default() };
        let backtrace = Backtrace::capture();
        if backtrace.status() == BacktraceStatus::Captured {
            said.named.push(("backtrace", Value::Shown(backtrace.to_string())));
        }
        write(Level::ERROR, said);
    }));
}

/// The variable that names a collector of traces, if one does.
fn collector() -> Option<&'static str> {
    let names = |name: &&str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    COLLECTORS.into_iter().find(names)
}

fn warn(word: &str) {
    let message = format!(
        "{VARIABLE}: '{word}' is no level (error, warn, info, debug, trace or off), and nothing \
         that logs is called so"
    );
    say(Level::WARN, "warning", &message);
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
