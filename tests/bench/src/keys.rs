//! Certificates for clusters that want some.

use std::{path::PathBuf, process::Stdio};

use anyhow::{Result, ensure};
use keyloom_common::rpc::PeerSecurity;
use tempfile::TempDir;
use tokio::process::Command;

use crate::cluster::beside;

/// The certificates of a cluster. They go when this is dropped.
#[derive(Debug)]
pub(crate) struct Keys(TempDir);

impl Keys {
    /// Makes one for each role, by the command.
    pub(crate) async fn make() -> Result<Self> {
        let keys = Self(tempfile::tempdir()?);
        let mut command = Command::new(beside("keyloom")?);
        command.args(["certs", "create"]).arg(keys.0.path()).stdin(Stdio::null());
        let output = command.output().await?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Ok(keys)
    }

    fn path(&self, file: &str) -> PathBuf {
        self.0.path().join(file)
    }

    /// The settings by which a daemon uses those of a role, under the names that begin so.
    pub(crate) fn settings(&self, prefix: &str, role: &str) -> Vec<(String, String)> {
        let [own, key] = [format!("{role}.pem"), format!("{role}-key.pem")];
        let files =
            [("CA_FILE", "ca.pem"), ("CERT_FILE", own.as_str()), ("KEY_FILE", key.as_str())];
        let setting = |(name, file)| {
            (format!("{prefix}SECURITY__{name}"), self.path(file).to_string_lossy().into_owned())
        };
        files.map(setting).to_vec()
    }

    /// What clients connect with.
    pub(crate) fn client(&self) -> PeerSecurity {
        PeerSecurity {
            ca_file: Some(self.path("ca.pem")),
            cert_file: Some(self.path("client.pem")),
            key_file: Some(self.path("client-key.pem")),
            ..PeerSecurity::default()
        }
    }
}
