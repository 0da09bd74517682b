//! What was measured in one run, and the figures that it comes to.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{measure::Measurement, raw::Strategies};

/// All measurements, in the order in which they were first made.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Results {
    /// For each workload how raw calls read values.
    pub(crate) strategies: BTreeMap<String, Strategies>,
    pub(crate) cases: Vec<Case>,
}

/// The measurements of one variant of one workload.
#[derive(Debug, Serialize)]
pub(crate) struct Case {
    pub(crate) workload: String,
    pub(crate) variant: String,
    pub(crate) measurements: Vec<Measurement>,
}

/// What a program outside of this one measured.
#[derive(Debug, Deserialize)]
pub(crate) struct PeerCase {
    workload: String,
    variant: String,
    seconds: Vec<f64>,
    peak_bytes: u64,
}

impl Results {
    /// Adds a measurement.
    pub(crate) fn add(&mut self, workload: &str, variant: &str, measurement: Measurement) {
        let same = |case: &&mut Case| case.workload == workload && case.variant == variant;
        if let Some(case) = self.cases.iter_mut().find(same) {
            case.measurements.push(measurement);
            return;
        }
        self.cases.push(Case {
            workload: workload.to_owned(),
            variant: variant.to_owned(),
            measurements: vec![measurement],
        });
    }

    /// Adds whole jobs of a peer.
    pub(crate) fn add_peer(&mut self, peer: &PeerCase) {
        for seconds in &peer.seconds {
            let mut measurement = Measurement::default();
            measurement.seconds.insert("cold".to_owned(), *seconds);
            measurement.peaks.insert("process".to_owned(), peer.peak_bytes);
            self.add(&peer.workload, &peer.variant, measurement);
        }
    }

    /// The measurements of a variant of a workload.
    pub(crate) fn case(&self, workload: &str, variant: &str) -> Option<&Case> {
        self.cases.iter().find(|case| case.workload == workload && case.variant == variant)
    }

    /// The median of a time, in seconds.
    pub(crate) fn seconds(&self, workload: &str, variant: &str, part: &str) -> Option<f64> {
        self.case(workload, variant)?.seconds(part)
    }

    /// The fastest of the variants whose names start so: its median of whole jobs.
    pub(crate) fn fastest(&self, workload: &str, prefix: &str) -> Option<f64> {
        let cases = self.cases.iter();
        let cases = cases
            .filter(|case| case.workload == workload && case.variant.starts_with(prefix))
            .filter_map(|case| case.seconds("cold"));
        cases.min_by(f64::total_cmp)
    }
}

impl Case {
    /// The median of a time, in seconds.
    pub(crate) fn seconds(&self, part: &str) -> Option<f64> {
        self.median(|measurement| measurement.seconds.get(part).copied())
    }

    /// The median of a count.
    pub(crate) fn count(&self, name: &str) -> Option<f64> {
        self.median(|measurement| measurement.counts.get(name).copied())
    }

    /// What was counted in all measurements together.
    pub(crate) fn total(&self, name: &str) -> Option<f64> {
        let counts =
            self.measurements.iter().filter_map(|measurement| measurement.counts.get(name));
        counts.copied().reduce(|sum, count| sum + count)
    }

    /// The median of a process's peak memory, in bytes.
    pub(crate) fn peak(&self, process: &str) -> Option<f64> {
        self.median(|measurement| measurement.peaks.get(process).map(|bytes| *bytes as f64))
    }

    /// The medians of all peaks.
    pub(crate) fn peaks(&self) -> BTreeMap<&str, f64> {
        let names = self.measurements.iter().flat_map(|measurement| measurement.peaks.keys());
        names.filter_map(|name| Some((name.as_str(), self.peak(name)?))).collect()
    }

    /// The smallest and the largest of a time.
    pub(crate) fn spread(&self, part: &str) -> Option<(f64, f64)> {
        let values = self.values(|measurement| measurement.seconds.get(part).copied());
        Some((*values.first()?, *values.last()?))
    }

    fn median(&self, of: impl Fn(&Measurement) -> Option<f64>) -> Option<f64> {
        let values = self.values(of);
        let (lower, upper) = (values.len().checked_sub(1)? / 2, values.len() / 2);
        Some((values[lower] + values[upper]) / 2.0)
    }

    fn values(&self, of: impl Fn(&Measurement) -> Option<f64>) -> Vec<f64> {
        let mut values: Vec<_> = self.measurements.iter().filter_map(of).collect();
        values.sort_by(f64::total_cmp);
        values
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timed(seconds: f64) -> Measurement {
        Measurement { seconds: [("cold".to_owned(), seconds)].into(), ..Measurement::default() }
    }

    #[test]
    fn medians_are_of_all_measurements() {
        let mut results = Results::default();
        for seconds in [3.0, 1.0, 2.0] {
            results.add("sparse", "raw", timed(seconds));
        }
        assert_eq!(results.seconds("sparse", "raw", "cold"), Some(2.0));
        results.add("sparse", "raw", timed(9.0));
        assert_eq!(results.seconds("sparse", "raw", "cold"), Some(2.5));
        assert_eq!(results.seconds("sparse", "raw", "warm"), None);
        assert_eq!(results.seconds("dense", "raw", "cold"), None);
        assert_eq!(
            results.case("sparse", "raw").and_then(|case| case.spread("cold")),
            Some((1.0, 9.0))
        );
    }

    #[test]
    fn peers_are_read_as_their_script_writes_them() -> anyhow::Result<()> {
        let cases: Vec<PeerCase> = serde_json::from_str(
            r#"[
                {"workload": "dense", "variant": "polars join", "seconds": [5.0, 3.0, 4.0],
                 "peak_bytes": 1024, "rows": 7, "checksum": {"crc32": 1}},
                {"workload": "dense", "variant": "daft join", "seconds": [2.0], "peak_bytes": 2048}
            ]"#,
        )?;
        let mut results = Results::default();
        for case in &cases {
            results.add_peer(case);
        }
        assert_eq!(results.fastest("dense", "polars"), Some(4.0));
        assert_eq!(results.fastest("dense", ""), Some(2.0));
        assert_eq!(results.fastest("sparse", "polars"), None);
        let polars = results.case("dense", "polars join");
        assert_eq!(polars.and_then(|case| case.peak("process")), Some(1024.0));
        Ok(())
    }
}
