//! What users type.

mod certs;
mod cluster;
mod config;
mod jobs;
mod params;
mod place;
mod run;
mod security;
mod shell;
mod show;
mod sql;
mod stores;
mod workers;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use keyloom_client::{JoinPath, Shuffle};
use keyloom_common::log::LogFormat;

pub(crate) use certs::{CertsCommand, CertsCreateArguments, CertsShowArguments};
pub(crate) use cluster::OnCluster;
pub(crate) use config::ConfigCommand;
pub(crate) use jobs::{
    JobArguments, JobsCommand, ListJobsArguments, LogsArguments, ResultsArguments, SubmitArguments,
    Terms, TopArguments,
};
pub(crate) use keyloom_program::config::{Form, Print};
pub(crate) use params::{ParamFlags, StateFlags};
pub(crate) use place::{CLUSTER, Place};
pub(crate) use run::RunArguments;
pub(crate) use security::Security;
pub(crate) use shell::ShellArguments;
pub(crate) use show::{RowForm, Show, ShowRows, Summary};
pub(crate) use sql::{Sources, SqlArguments};
pub(crate) use stores::{CreateArguments, ListArguments, StoresArguments, StoresCommand};
pub(crate) use workers::{DrainArguments, ListWorkersArguments, WorkersArguments, WorkersCommand};

/// Enriches tables with lookups in key-value stores: in this process, or on a cluster.
///
/// A job reads inputs (Parquet, CSV, JSON, Arrow, Lance), adds columns with kv_get,
/// kv_batch_get and kv_exists from Lance datasets and in-memory tables under aliases, and writes
/// the rows in input order.
#[derive(Debug, Parser)]
#[command(
    name = "keyloom",
    version = keyloom_common::BUILD,
    after_long_help = "\
Exit codes:
  0    done
  1    the job failed
  2    a mistake in what was asked, found before the job starts
  4    the job failed, since more keys are missing than max_misses allows
  5    the cluster cannot be reached, or is lost
  130  interrupted (Ctrl-C), or the job that was waited for was cancelled
  143  terminated (SIGTERM)
Rows go to stdout or to a file, everything else to stderr. A file appears whole or not at all.

Environment:
  KEYLOOM_CLUSTER        the address of --cluster
  KEYLOOM_CONFIG         the file of --config
  KEYLOOM_CA_FILE        the file of --ca-file; so KEYLOOM_CERT_FILE, _KEY_FILE and _TOKEN_FILE
  KEYLOOM_TOKEN          a token for the cluster, if it stands in no file
  KEYLOOM_WORKER_*       settings of the workers in this process, as for keyloom-worker
  KEYLOOM_COORDINATOR_*  settings of the coordinator in this process, as for keyloom-coordinator
  KEYLOOM_LOG            what is logged to stderr: error (default), warn, info, debug, …
  KEYLOOM_LOG_FORMAT     text or json, as --log-format"
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
    /// How the log is written: text or json [default: text]
    #[arg(
        long,
        global = true,
        env = "KEYLOOM_LOG_FORMAT",
        hide_env = true,
        value_name = "FORMAT",
        value_parser = LogFormat::parse
    )]
    pub(crate) log_format: Option<LogFormat>,
    /// Show no progress, nor that workers are waited for
    #[arg(long, short, global = true)]
    pub(crate) quiet: bool,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    #[command(flatten)]
    Once(Once),
    /// Run statements as they are typed
    Shell(ShellArguments),
}

/// The commands that do one thing and end.
#[derive(Debug, Subcommand)]
pub(crate) enum Once {
    /// Run a job file
    Run(RunArguments),
    /// Hand in a job file to a cluster, under a name, and perhaps without waiting for it
    Submit(SubmitArguments),
    /// Run a statement on files and stores named on the command line
    Sql(SqlArguments),
    /// List, show, cancel and wait for the jobs of a cluster, and take their rows and logs
    #[command(subcommand)]
    Jobs(JobsCommand),
    /// Show the plan of a job file
    Explain(ExplainArguments),
    /// Show the columns, the snapshot, the key and the number of rows of a store or an input
    Describe(DescribeArguments),
    /// List, describe, check and make stores
    #[command(subcommand)]
    Stores(StoresCommand),
    /// List the workers of a cluster, or let one drain
    Workers(WorkersArguments),
    /// Show the workers and the jobs of a cluster, again and again
    Top(TopArguments),
    /// Show the configuration
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Make and show certificates, and draw tokens
    #[command(subcommand)]
    Certs(CertsCommand),
}

/// Which catalog is used.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct CatalogChoice {
    /// The catalog that names stores and inputs [default: the nearest keyloom.toml, in the working
    /// folder or above it]
    #[arg(long, value_name = "FILE")]
    pub(crate) catalog: Option<PathBuf>,
    /// Use no catalog
    #[arg(long, conflicts_with = "catalog")]
    pub(crate) no_catalog: bool,
}

/// How a statement is planned.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct Planning {
    /// How joins with stores are made: auto, lookup or scan [default: as the job file says, or
    /// join_path in [session], or auto: by cost]
    #[arg(long, value_name = "PATH", value_parser = JoinPath::parse)]
    pub(crate) join_path: Option<JoinPath>,
    /// Whether the workers of a cluster shuffle rows among themselves, for groups, joins and
    /// windows: never, auto or always [default: as the job file says, or shuffle in [session], or
    /// never]
    #[arg(long, value_name = "WHEN", value_parser = Shuffle::parse)]
    pub(crate) shuffle: Option<Shuffle>,
}

/// `keyloom explain`.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  keyloom explain job.toml
  keyloom explain job.toml --advise
  keyloom explain job.toml --analyze --cluster tcp://10.0.0.5:7700
  keyloom explain job.toml --analyze --html job.html
  keyloom explain job.toml --analyze -o json | jq .analysis.notes")]
pub(crate) struct ExplainArguments {
    /// The job file
    #[arg(value_name = "JOB.toml")]
    pub(crate) job: PathBuf,
    /// Run the job, drop its rows, and show how long each part of the plan took, what it counted,
    /// and what was wasted
    #[arg(long)]
    pub(crate) analyze: bool,
    /// Show what the other ways to the rows of stores are estimated to cost, and what would help
    #[arg(long)]
    pub(crate) advise: bool,
    /// Write how the job ran to a page for browsers, too
    #[arg(long, requires = "analyze", value_name = "FILE")]
    pub(crate) html: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) params: ParamFlags,
    #[command(flatten)]
    pub(crate) catalog: CatalogChoice,
    #[command(flatten)]
    pub(crate) planning: Planning,
    #[command(flatten)]
    pub(crate) place: Place,
    #[command(flatten)]
    pub(crate) print: Print,
}

/// `keyloom describe`.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Stores are written as for keyloom sql --store, without the alias; inputs as for --input, without the
name.

Examples:
  keyloom describe 'lance:products.lance?key=product_id'
  keyloom describe items.parquet
  keyloom describe job.toml products
  keyloom describe job.toml --format json")]
pub(crate) struct DescribeArguments {
    /// A store, an input (a file, a folder or a glob), or a job file
    #[arg(value_name = "STORE|INPUT|JOB.toml")]
    pub(crate) target: String,
    /// One input or store of the job file [default: all of them]
    #[arg(value_name = "NAME")]
    pub(crate) name: Option<String>,
    #[command(flatten)]
    pub(crate) params: ParamFlags,
    #[command(flatten)]
    pub(crate) place: Place,
    #[command(flatten)]
    pub(crate) print: Print,
}

#[cfg(test)]
mod tests {
    use std::iter;

    use clap::CommandFactory;

    use super::*;

    /// A command and those below it, each with all the words that name it.
    fn all(command: &clap::Command, above: &str) -> Vec<(String, clap::Command)> {
        let words = format!("{above} {}", command.get_name());
        let below = command.get_subcommands().flat_map(|below| all(below, &words));
        iter::once((words.clone(), command.clone())).chain(below).collect()
    }

    #[test]
    fn help_lists_each_short_option_that_works_or_that_it_speaks_of() {
        let (mut speaking, mut unlisted) = (0, Vec::new());
        for (words, mut command) in all(&Cli::command(), "") {
            let speaks = command.render_long_help().to_string().contains(" -o ");
            speaking += usize::from(speaks);
            let arguments: Vec<_> = command.get_arguments().collect();
            let is_listed = arguments.iter().any(|argument| argument.get_short() == Some('o'));
            let has_forms = arguments.iter().any(|argument| argument.get_long() == Some("format"));
            let hides = arguments.iter().any(|argument| argument.get_all_short_aliases().is_some());
            if hides || ((speaks || has_forms) && !is_listed) {
                unlisted.push(words);
            }
        }
        assert_eq!(unlisted, Vec::<String>::new());
        assert!(speaking > 3, "{speaking} commands speak of it");
    }
}
