//! A cluster with the settings of `deploy/config`, but for addresses and folders.

use std::{fs, path::Path, process::Stdio, time::Duration};

use anyhow::{Context, Result, ensure};
use tokio::{process::Command, time::timeout};

use super::text::read;
use crate::harness::{Daemon, Keys, program};

/// How long a job may take.
const TIMEOUT: Duration = Duration::from_secs(120);

/// The settings of a program, for a folder of this test instead of the system's.
fn settings(name: &str, keys: &Keys, folder: &Path, coordinator: &str) -> Result<String> {
    let (keys, here) = (keys.folder().to_string_lossy(), folder.to_string_lossy());
    let settings = read(&format!("config/{name}.toml"))?;
    let settings = settings
        .replace("/etc/keyloom/tls", &keys)
        .replace("/var/cache", &here)
        .replace("/var/lib/keyloom-coordinator", &format!("{here}/state"))
        .replace("/srv/data", &here)
        .replace("0.0.0.0:7700", "127.0.0.1:0")
        .replace("127.0.0.1:9700", "127.0.0.1:0")
        .replace("127.0.0.1:9701", "127.0.0.1:0")
        .replace("tls://10.0.0.1:7700", coordinator);
    let path = folder.join(format!("{name}.toml"));
    fs::write(&path, settings)?;
    Ok(path.to_string_lossy().into_owned())
}

#[tokio::test]
async fn the_examples_start_a_cluster_over_tls() -> Result<()> {
    let (keys, folder) = (Keys::certificates()?, tempfile::tempdir()?);
    let folder = folder.path();
    for cache in ["keyloom-coordinator", "keyloom-worker"] {
        fs::create_dir(folder.join(cache))?;
    }
    let visits = folder.join("visits.csv");
    fs::write(&visits, "visit,city\n1,Ost\n2,Mitte\n")?;
    let config = settings("coordinator", &keys, folder, "")?;
    let mut coordinator = Daemon::start("keyloom-coordinator", &["--config", &config], &[])?;
    let address = coordinator.line_with("tls://")?;
    let config = settings("worker", &keys, folder, &address)?;
    let worker = Daemon::start("keyloom-worker", &["--config", &config], &[])?;

    let config = settings("keyloom", &keys, folder, &address)?;
    let mut command = Command::new(program("keyloom")?);
    let statement = format!("SELECT visit, city FROM '{}'", visits.display());
    command.args(["sql", &statement, "--format", "csv"]);
    command.args(["--cluster", &address, "--config", &config, "--no-catalog"]);
    command.stdin(Stdio::null()).kill_on_drop(true);
    let output = timeout(TIMEOUT, command.output()).await;
    let output = output.with_context(|| format!("no end within {TIMEOUT:?}"))??;
    let logs = || format!("{}\n{}", coordinator.log(), worker.log());
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{said}\n{}", logs());
    assert_eq!(String::from_utf8(output.stdout)?, "visit,city\n1,Ost\n2,Mitte\n");
    Ok(())
}
