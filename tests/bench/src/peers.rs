//! Other programs that do the same work: `peers/run` sets them up and measures them.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use tokio::process::Command;

use crate::{
    results::{PeerCase, Results},
    run::Settings,
    workloads::Workload,
};

/// The workloads that they do.
const WORKLOADS: [&str; 3] = ["sparse", "dense", "skewed"];

/// Makes the Python environment: what is missing should not show after half an hour.
pub(crate) async fn set_up() -> Result<()> {
    run(script().arg("--set-up")).await
}

/// Adds how long the peers take for a workload, if it is one of theirs.
pub(crate) async fn measure(
    settings: &Settings,
    workload: &Workload,
    results: &mut Results,
) -> Result<()> {
    if !WORKLOADS.contains(&workload.name) {
        return Ok(());
    }
    let folder = tempfile::tempdir()?;
    let json = folder.path().join("peers.json");
    let mut script = script();
    script.arg("--data").arg(&settings.data).args(["--workloads", workload.name]);
    script.arg("--runs").arg(settings.runs.to_string()).arg("--json").arg(&json);
    run(&mut script).await?;
    let cases: Vec<PeerCase> = serde_json::from_slice(&std::fs::read(&json)?)
        .context("peers/run wrote something else than its cases")?;
    for case in &cases {
        results.add_peer(case);
    }
    Ok(())
}

fn script() -> Command {
    Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("peers/run"))
}

async fn run(script: &mut Command) -> Result<()> {
    let status = script.kill_on_drop(true).status().await.context("cannot start peers/run")?;
    ensure!(status.success(), "peers/run failed: {status}");
    Ok(())
}
