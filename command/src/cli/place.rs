//! What users type where a job may run here or there.

use std::{num::NonZeroUsize, path::PathBuf};

use clap::Args;

use super::Security;

/// The variable of `--cluster`.
pub(crate) const CLUSTER: &str = "KEYLOOM_CLUSTER";

/// Where a job runs.
#[derive(Clone, Debug, Args)]
pub(crate) struct Place {
    /// Run on the cluster whose coordinator listens there, not in this process; tls://HOST:PORT for
    /// one with a certificate
    #[arg(long, env = CLUSTER, value_name = "tcp://HOST:PORT")]
    pub(crate) cluster: Option<String>,
    /// How many workers run in this process [default: the number of cores]
    #[arg(long, value_name = "N")]
    pub(crate) workers: Option<NonZeroUsize>,
    /// Settings as TOML, in sections [session], [worker] and [coordinator]; the last two are for
    /// jobs in this process
    #[arg(long, env = "KEYLOOM_CONFIG", value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) security: Security,
}

impl Place {
    /// The address of the cluster, if jobs run on one.
    pub(crate) fn cluster(&self) -> Option<&str> {
        self.cluster.as_deref().filter(|address| !address.is_empty())
    }
}
