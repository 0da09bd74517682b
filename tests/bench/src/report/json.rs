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
    fs::write(path, serde_json::to_vec_pretty(&report)?)
        .with_context(|| format!("cannot write {}", path.display()))
}
