//! Folders for temporary files: that of a process that was killed goes when another starts beside
//! it, and those of living processes stay.

use std::{collections::BTreeSet, fs, path::PathBuf};

use anyhow::Result;
use tempfile::TempDir;

use crate::harness::{Cluster, Daemon};

fn folders(within: &TempDir) -> Result<BTreeSet<PathBuf>> {
    fs::read_dir(within.path())?.map(|entry| Ok(entry?.path())).collect()
}

#[tokio::test]
async fn the_folder_of_a_killed_worker_goes_when_another_starts_and_no_other_does() -> Result<()> {
    let kept = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    let folder = kept.path().to_string_lossy().into_owned();
    let env = [("KEYLOOM_WORKER_SPILL_FOLDER", folder.as_str())];
    let mut cluster = Cluster::start_with(2, &[], &env).await?;
    let before = folders(&kept)?;
    assert_eq!(before.len(), 2);
    for folder in &before {
        fs::write(folder.join("rows"), "rows")?;
    }
    // It is killed, and could not tidy up.
    drop(cluster.workers.remove(0));
    cluster.wait_for_workers(1).await?;
    assert_eq!(folders(&kept)?, before);

    let arguments = ["--coordinator", &cluster.address, "--slots", "2"];
    let next = Daemon::start("keyloom-worker", &arguments, &env)?;
    cluster.workers.push(next);
    cluster.wait_for_workers(2).await?;
    let after = folders(&kept)?;
    let living: Vec<_> = before.intersection(&after).collect();
    assert_eq!((after.len(), living.len()), (2, 1));
    assert!(living[0].join("rows").exists());
    let log = cluster.workers[1].log();
    assert!(log.contains("removed temporary files of a process that is gone"), "{log}");
    for gone in before.difference(&after) {
        assert!(log.contains(&gone.display().to_string()), "{log}");
    }
    Ok(())
}
