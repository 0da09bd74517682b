//! `config show`, which all three programs have: each setting, and where it comes from.

use std::io::{self, Write, stdout};

use clap::{Args, Subcommand, ValueEnum};

use crate::settings::Shown;

/// What daemons do beside to run.
#[derive(Clone, Copy, Debug, Subcommand)]
pub enum Command {
    /// Show the configuration; nothing is started
    #[command(subcommand)]
    Config(Config),
}

/// What is done with a daemon's configuration.
#[derive(Clone, Copy, Debug, Subcommand)]
pub enum Config {
    /// Show each setting and where it comes from: the default, the file, the environment or a flag.
    /// Secrets are masked
    Show(Print),
}

/// The form of an answer.
#[derive(Clone, Copy, Debug, Args)]
pub struct Print {
    /// What is written to stdout
    #[arg(short = 'o', long, value_enum, default_value = "table", value_name = "FORMAT")]
    pub format: Form,
}

/// How an answer that is no table of rows is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Form {
    /// Text for people
    Table,
    /// JSON for programs
    Json,
}

impl Command {
    /// The form in which the configuration is to be shown.
    pub fn form(self) -> Form {
        let Self::Config(Config::Show(print)) = self;
        print.format
    }
}

/// Writes settings to stdout.
///
/// # Errors
/// If that cannot be written. That nobody reads it is none.
pub fn print(listing: &[Shown], form: Form) -> io::Result<()> {
    let text = match form {
        Form::Table => table(listing),
        Form::Json => json(listing),
    };
    let mut stdout = stdout().lock();
    let written = writeln!(stdout, "{text}").and_then(|()| stdout.flush());
    match written {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}

/// Settings for people, one a line.
pub fn table(listing: &[Shown]) -> String {
    let rows: Vec<_> = listing.iter().map(|shown| (shown, worded(&shown.value))).collect();
    let settings = widest(rows.iter().map(|(shown, _)| shown.setting.as_str()));
    let values = widest(rows.iter().map(|(_, value)| value.as_str()));
    let lines = rows.iter().map(|(shown, value)| {
        let Shown { setting, origin, .. } = shown;
        format!("{setting:settings$}  {value:values$}  {origin}")
    });
    lines.collect::<Vec<_>>().join("\n")
}

fn widest<'a>(cells: impl Iterator<Item = &'a str>) -> usize {
    cells.map(|cell| cell.chars().count()).max().unwrap_or_default()
}

/// Settings for programs: an array of objects with `setting`, `value` and `origin`.
pub fn json(listing: &[Shown]) -> String {
    // A tree of values can always be written.
    serde_json::to_string_pretty(listing).unwrap_or_default()
}

/// A value as a file would have it, or `-` where there is none.
fn worded(value: &serde_json::Value) -> String {
    match value {
        serde_json::Value::Null => "-".to_owned(),
        value => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Origin;

    #[test]
    fn columns_are_aligned_and_what_is_absent_is_a_dash() {
        let shown = |setting: &str, value: serde_json::Value, origin| Shown {
            setting: setting.to_owned(),
            value,
            origin,
        };
        let listing = [
            shown("name", serde_json::Value::Null, Origin::Default),
            shown("listen", "[::1]:1".into(), Origin::Flag("--listen".to_owned())),
            shown("memory_bytes", 4096.into(), Origin::File("c.toml".to_owned())),
        ];
        let expected = "\
name          -          default
listen        \"[::1]:1\"  flag --listen
memory_bytes  4096       file c.toml";
        assert_eq!(table(&listing), expected);
    }
}
