//! What users type after `keyloom config`.

use clap::{Args, Subcommand};

use super::{Place, Print};

/// The commands on the configuration.
#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Show each setting and where it comes from: the default, the file, the environment or a flag.
    /// Secrets are masked
    Show(ShowConfigArguments),
}

/// `keyloom config show`.
#[derive(Debug, Args)]
#[command(after_long_help = "\
The flags and the environment are those of the other commands. Settings of [worker] and of
[coordinator] are for jobs in this process: daemons have keyloom-worker config show and
keyloom-coordinator config show.

Examples:
  keyloom config show
  keyloom config show --config keyloom.toml --token-file token
  keyloom config show -o json | jq '.[] | select(.origin.kind != \"default\")'")]
pub(crate) struct ShowConfigArguments {
    #[command(flatten)]
    pub(crate) place: Place,
    #[command(flatten)]
    pub(crate) print: Print,
}
