//! What users type where only a cluster will do.

use std::path::PathBuf;

use clap::Args;

use super::{CLUSTER, Place, Security};

/// A cluster, and what lets one in there.
#[derive(Clone, Debug, Args)]
pub(crate) struct OnCluster {
    /// The cluster's address; tls://HOST:PORT for one with a certificate
    #[arg(long, env = CLUSTER, value_name = "tcp://HOST:PORT")]
    cluster: Option<String>,
    /// Settings as TOML, of which the section [session] is read
    #[arg(long, env = "KEYLOOM_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    security: Security,
}

impl OnCluster {
    /// The same, as a place of jobs.
    pub(crate) fn place(self) -> Place {
        let Self { cluster, config, security } = self;
        Place { cluster, workers: None, config, security }
    }
}
