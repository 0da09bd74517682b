//! What users type after `keyloom workers`.

use clap::{Args, Subcommand};

use super::{OnCluster, Print};

/// `keyloom workers`: without a command, as `list`.
#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_long_help = "\
Examples:
  keyloom workers --cluster tcp://10.0.0.5:7700
  keyloom workers list -o json | jq '.[] | select(.draining)'
  keyloom workers drain worker-3"
)]
pub(crate) struct WorkersArguments {
    #[command(subcommand)]
    pub(crate) command: Option<WorkersCommand>,
    #[command(flatten)]
    pub(crate) list: ListWorkersArguments,
}

/// The commands on workers.
#[derive(Debug, Subcommand)]
pub(crate) enum WorkersCommand {
    /// List the workers of a cluster
    List(ListWorkersArguments),
    /// Let a worker end what it runs, take no more tasks, and go
    Drain(DrainArguments),
}

/// `keyloom workers list`.
#[derive(Debug, Args)]
pub(crate) struct ListWorkersArguments {
    #[command(flatten)]
    pub(crate) cluster: OnCluster,
    #[command(flatten)]
    pub(crate) print: Print,
}

/// `keyloom workers drain`.
#[derive(Debug, Args)]
pub(crate) struct DrainArguments {
    /// The worker's id, or its name, if no other is called so
    #[arg(value_name = "ID|NAME")]
    pub(crate) worker: String,
    #[command(flatten)]
    pub(crate) cluster: OnCluster,
    #[command(flatten)]
    pub(crate) print: Print,
}
