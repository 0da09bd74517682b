//! Text on stdout and stderr, without the panics of `println!` when nobody reads.

use std::io::{self, Write, stderr, stdout};

use crate::error::Failure;

/// Writes text to stdout, ended by one line break.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    let mut stdout = stdout().lock();
    let written = writeln!(stdout, "{}", text.trim_end()).and_then(|()| stdout.flush());
    written.map_err(|error: io::Error| Failure::stdout(&error))
}

/// Writes whole lines to stdout.
pub(crate) fn print_lines(lines: &[u8]) -> Result<(), Failure> {
    let mut stdout = stdout().lock();
    let written = stdout.write_all(lines).and_then(|()| stdout.flush());
    written.map_err(|error: io::Error| Failure::stdout(&error))
}

/// Writes a line to stderr.
pub(crate) fn note(line: &str) {
    // Without a stderr there is nobody to tell.
    let _ = writeln!(stderr(), "{line}");
}
