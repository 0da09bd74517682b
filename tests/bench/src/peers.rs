//! Other programs that do the same work: `peers/run` sets them up and measures them.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use tokio::process::Command;

use crate::{results::Results, run::Settings, workloads::Workload};

/// The workloads that they do.
const WORKLOADS: [&str; 3] = ["sparse", "dense", "skewed"];

/// Runs the peers and adds what they measured.
pub(crate) async fn measure(
    settings: &Settings,
    workloads: &[Workload],
    results: &mut Results,
) -> Result<()> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers/run");
    let folder = tempfile::tempdir()?;
    let json = folder.path().join("peers.json");
    let names = workloads.iter().map(|workload| workload.name);
    let names: Vec<_> = names.filter(|name| WORKLOADS.contains(name)).collect();
    if names.is_empty() {
        return Ok(());
    }
    let mut command = Command::new(&script);
    command.arg("--data").arg(&settings.data).arg("--workloads").arg(names.join(","));
    command.arg("--runs").arg(settings.runs.to_string()).arg("--json").arg(&json);
    let status = command.status().await;
    let status = status.with_context(|| format!("cannot run {}", script.display()))?;
    ensure!(status.success(), "{} failed: {status}", script.display());
    let cases: Vec<crate::results::PeerCase> = serde_json::from_slice(&std::fs::read(&json)?)
        .with_context(|| format!("{} wrote something else than its cases", script.display()))?;
    for case in &cases {
        results.add_peer(case);
    }
    Ok(())
}
