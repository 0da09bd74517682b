//! Everything that was measured, for other programs.

use std::{fs, path::Path};

use anyhow::{Context, Result};
use serde::Serialize;
use serde_json::json;

use super::targets::Target;
use crate::{results::Results, run::Settings};

#[derive(Serialize)]
struct Median<'a> {
    workload: &'a str,
    variant: &'a str,
    part: &'a str,
    seconds: f64,
    peak_bytes: Option<f64>,
}

/// Writes settings, medians, targets and all single measurements.
pub(crate) fn write(
    path: &Path,
    settings: &Settings,
    results: &Results,
    targets: &[Target],
) -> Result<()> {
    let mut medians = Vec::new();
    for case in &results.cases {
        let first = case.measurements.first();
        for part in first.iter().flat_map(|measurement| measurement.seconds.keys()) {
            let Some(seconds) = case.seconds(part) else { continue };
            let (workload, variant) = (&case.workload, &case.variant);
            let peak_bytes = case.peak("process");
            medians.push(Median { workload, variant, part, seconds, peak_bytes });
        }
    }
    let report = json!({
        "settings": settings,
        "medians": medians,
        "targets": targets,
        "raw_strategies": results.strategies,
        "cases": results.cases,
    });
    replace(path, &serde_json::to_vec_pretty(&report)?)
        .with_context(|| format!("cannot write {}", path.display()))
}

/// Writes a file under another name first, so that an interrupted run leaves what was there.
fn replace(path: &Path, contents: &[u8]) -> std::io::Result<()> {
    let unfinished = path.with_extension("unfinished");
    fs::write(&unfinished, contents)?;
    fs::rename(&unfinished, path)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::replace;

    #[test]
    fn a_file_is_replaced_as_a_whole() -> std::io::Result<()> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("bench.json");
        replace(&path, b"long ago")?;
        replace(&path, b"now")?;
        assert_eq!(fs::read(&path)?, b"now");
        assert_eq!(fs::read_dir(folder.path())?.count(), 1);
        Ok(())
    }
}
