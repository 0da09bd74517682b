//! What users type after `keyloom certs`.

use std::path::PathBuf;

use clap::{Args, Subcommand, value_parser};

use super::Print;
use crate::certs;

/// The commands on certificates and tokens.
#[derive(Debug, Subcommand)]
pub(crate) enum CertsCommand {
    /// Make a certificate authority and certificates signed by it
    Create(CertsCreateArguments),
    /// Show whose certificates are in files, and how long they are valid
    Show(CertsShowArguments),
    /// Print a token drawn at random, for a file of tokens
    Token,
}

/// `keyloom certs create`.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Into the folder go ca.pem, the certificate that all processes trust, and ca-key.pem, which signs:
keep it where no daemon runs. Then coordinator.pem, and a certificate for each role, worker.pem,
client.pem and operator.pem, or for each name: client-alice.pem for --client alice. The key of each
is beside it, in …-key.pem, for its owner's eyes alone.

Where there is an authority already, it signs what is added; what is there is never overwritten but
with --overwrite, which renews it. The authority itself stays.

Examples:
  keyloom certs create certs
  keyloom certs create certs --host coordinator.internal,10.0.0.5 --worker w1 --worker w2
  keyloom certs create certs --worker w1@10.0.0.6,w1.internal
  keyloom certs create certs --client alice --client bob --days 90")]
pub(crate) struct CertsCreateArguments {
    /// The folder; it is made if it is not there
    #[arg(value_name = "DIR")]
    pub(crate) folder: PathBuf,
    /// A name or IP address by which the coordinator is reached, or several [default: localhost,
    /// 127.0.0.1 and ::1]
    #[arg(
        long = "host",
        value_name = "HOST,…",
        value_delimiter = ',',
        value_parser = certs::host
    )]
    pub(crate) hosts: Vec<String>,
    /// A worker, or a group of workers that share a certificate; with the names or IP addresses by
    /// which its HTTP port is reached, if that is to speak TLS
    #[arg(long = "worker", value_name = "NAME[@HOST,…]", value_parser = certs::worker)]
    pub(crate) workers: Vec<certs::NamedWorker>,
    /// A client, whose jobs are its own
    #[arg(long = "client", value_name = "NAME", value_parser = certs::name)]
    pub(crate) clients: Vec<String>,
    /// An operator, who sees and cancels the jobs of all
    #[arg(long = "operator", value_name = "NAME", value_parser = certs::name)]
    pub(crate) operators: Vec<String>,
    /// For how long the certificates are valid
    #[arg(
        long,
        value_name = "N",
        default_value_t = 365,
        value_parser = value_parser!(u16).range(1..=3650)
    )]
    pub(crate) days: u16,
    /// Make certificates anew that are there
    #[arg(long)]
    pub(crate) overwrite: bool,
    #[command(flatten)]
    pub(crate) print: Print,
}

/// `keyloom certs show`.
#[derive(Debug, Args)]
pub(crate) struct CertsShowArguments {
    /// Files of certificates as PEM
    #[arg(value_name = "FILE", required = true)]
    pub(crate) files: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) print: Print,
}
