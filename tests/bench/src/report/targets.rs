//! What Keyloom must reach, as ratios of figures of one run.

use serde::Serialize;

use self::Bound::{AtLeast, AtMost};
use crate::{results::Results, workloads::TPCH};

/// A target and what was measured.
#[derive(Debug, Serialize)]
pub(crate) struct Target {
    /// What is compared.
    pub(crate) what: String,
    /// The bound.
    pub(crate) bound: Bound,
    pub(crate) measured: f64,
    pub(crate) met: bool,
}

/// What a figure may be.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Bound {
    AtMost(f64),
    AtLeast(f64),
}

/// What the default settings let buffers and caches hold: 2 GiB of columns, and 256 MiB each for
/// rows that wait for their turn and for Lance's three caches.
const BUFFERS_MIB: f64 = 3072.0;

/// All targets for which there are figures.
pub(crate) fn check(results: &Results) -> Vec<Target> {
    let seconds = |workload, variant, part| move |r: &Results| r.seconds(workload, variant, part);
    let peer = |workload, prefix| move |r: &Results| r.fastest(workload, prefix);
    let mut targets = Targets { results, found: vec![] };

    let cold = seconds("sparse", "embedded", "cold");
    targets.ratio(
        "sparse, cold: against raw calls",
        AtMost(1.3),
        cold,
        seconds("sparse", "raw", "cold"),
    );
    targets.ratio(
        "sparse, cold: Daft's join against it",
        AtLeast(5.0),
        peer("sparse", "daft"),
        cold,
    );
    targets.ratio(
        "sparse, warm: against the raw takes alone",
        AtMost(1.3),
        seconds("sparse", "embedded", "warm"),
        seconds("sparse", "raw", "fetch"),
    );
    let dense = seconds("dense", "embedded", "cold");
    targets.ratio(
        "dense, cold: against raw calls",
        AtMost(1.5),
        dense,
        seconds("dense", "raw", "cold"),
    );
    targets.ratio(
        "dense, cold: Polars' join against it",
        AtLeast(4.0),
        peer("dense", "polars"),
        dense,
    );
    targets.ratio(
        "skewed, cold: against dense",
        AtMost(0.6),
        seconds("skewed", "embedded", "cold"),
        dense,
    );
    targets.ratio(
        "1,000 jobs of one key: against a job of 1,000 keys",
        AtLeast(30.0),
        seconds("calls", "store", "jobs"),
        seconds("calls", "store", "job"),
    );
    targets.ratio(
        "1,000 lookups of one key in an open store: against one of 1,000",
        AtLeast(30.0),
        seconds("calls", "store", "singles"),
        seconds("calls", "store", "batch"),
    );
    for part in ["cold", "warm"] {
        targets.ratio(
            &format!("seven lookups, {part}: against their three fetches"),
            AtMost(1.3),
            seconds("guide", "embedded", part),
            seconds("guide-fetches", "embedded", part),
        );
    }
    for part in ["cold", "warm"] {
        targets.ratio(
            &format!("dense, {part}, one worker process: against embedded"),
            AtMost(1.4),
            seconds("dense", "one-worker", part),
            seconds("dense", "embedded", part),
        );
    }
    targets.ratio(
        "dense, warm, one one-slot worker: against two",
        AtLeast(1.7),
        seconds("dense", "one-slot", "warm"),
        seconds("dense", "two-slots", "warm"),
    );
    let tasks = |results: &Results| results.case("tasks", "tasks")?.count("tasks");
    targets.ratio(
        "milliseconds of the coordinator's processor a task",
        AtMost(2.0),
        |results| Some(results.seconds("tasks", "tasks", "coordinator")? * 1e3),
        tasks,
    );
    targets.figure("bytes of values read by kv_exists", AtMost(0.0), |results| {
        results.case("exists", "embedded")?.count("value_bytes")
    });
    for workload in ["sparse", "dense"] {
        let what = format!("{workload}, embedded: MiB beyond the result and the key maps");
        targets.figure(&what, AtMost(BUFFERS_MIB), |results| {
            let case = results.case(workload, "embedded")?;
            let held = case.count("result_bytes")? + case.count("key_map_bytes")?;
            Some((case.peak("process")? - held) / f64::from(1 << 20))
        });
    }
    many_tasks(&mut targets);
    joins(&mut targets);
    security(&mut targets);
    writes(&mut targets);
    let coordinator = |name| move |r: &Results| r.case("stream", "stream")?.peak(name);
    targets.ratio(
        "the coordinator's peak memory, result four times as large",
        AtMost(1.2),
        coordinator("coordinator-large"),
        coordinator("coordinator-small"),
    );
    targets.found
}

/// What many tasks and many row groups may take.
fn many_tasks(targets: &mut Targets<'_>) {
    let idle =
        |results: &Results, name: &str| results.case("many-tasks", "idle-workers")?.count(name);
    for (size, job) in [("small", "100 k tasks"), ("large", "1 M tasks")] {
        targets.ratio(
            &format!("{job} of idle workers: microseconds of the coordinator's processor a task"),
            AtMost(100.0),
            |results| {
                let part = format!("coordinator-{size}");
                Some(results.seconds("many-tasks", "idle-workers", &part)? * 1e6)
            },
            move |results| idle(results, &format!("tasks-{size}")),
        );
        let peak = |at: &str| {
            let name = format!("coordinator-{size}{at}");
            move |results: &Results| results.case("many-tasks", "idle-workers")?.peak(&name)
        };
        targets.ratio(
            &format!("{job} of idle workers: the coordinator's peak memory, to that at a tenth"),
            AtMost(1.2),
            peak(""),
            peak("-tenth"),
        );
    }
    for part in ["one-stage", "hundred-stages"] {
        let what = format!("1 M tasks of 1,000 workers, {part}: seconds of the scheduler alone");
        targets
            .figure(&what, AtMost(2.0), |results| results.seconds("many-tasks", "scheduler", part));
    }
    let files = |name| move |r: &Results| r.case("row-groups", "many-files")?.count(name);
    targets.ratio(
        "10,000 row groups of 500 columns: bytes to their worker a task",
        AtMost(1024.0),
        files("bytes_to_workers"),
        files("tasks"),
    );
}

/// What joins with stores may take, against scans of the stores.
fn joins(targets: &mut Targets<'_>) {
    let seconds = |workload, variant, part| move |r: &Results| r.seconds(workload, variant, part);
    for part in ["cold", "warm"] {
        targets.ratio(
            &format!("joins of few keys, {part}: scans against them"),
            AtLeast(3.0),
            seconds("joins-sparse", "scan", part),
            seconds("joins-sparse", "by-cost", part),
        );
        targets.ratio(
            &format!("joins of many keys, {part}: against scans"),
            AtMost(1.1),
            seconds("joins-dense", "by-cost", part),
            seconds("joins-dense", "scan", part),
        );
    }
    targets.figure("TPC-H: the slowest query by cost, against scans", AtMost(1.1), |results| {
        let query = |number| {
            let part = format!("q{number:02}");
            let seconds = |variant| results.seconds(TPCH, variant, &part);
            Some(seconds("by-cost")? / seconds("scan")?)
        };
        (1..=22).map(query).collect::<Option<Vec<_>>>()?.into_iter().max_by(f64::total_cmp)
    });
    for query in ["q12", "q14", "q19"] {
        targets.ratio(
            &format!("TPC-H, {query}, which finds few rows: scans against it"),
            AtLeast(3.0),
            seconds(TPCH, "scan", query),
            seconds(TPCH, "by-cost", query),
        );
    }
    let plans = [
        (TPCH, "by-cost", "plan"),
        ("planning", "planning", "calls"),
        ("planning", "planning", "joins"),
    ];
    for (workload, variant, part) in plans {
        let what = format!("{workload}, {part}: milliseconds until a statement is planned");
        targets.figure(&what, AtMost(50.0), |results| {
            Some(results.seconds(workload, variant, part)? * 1e3)
        });
    }
}

/// What it may cost to let nobody in but those who may.
fn security(targets: &mut Targets<'_>) {
    let seconds = |workload, variant, part| move |r: &Results| r.seconds(workload, variant, part);
    for part in ["cold", "warm"] {
        targets.ratio(
            &format!("500 MB of results over mutual TLS, {part}: against plain"),
            AtMost(1.4),
            seconds("mtls", "mtls", part),
            seconds("mtls", "one-worker", part),
        );
    }
    for workload in ["watched-sparse", "watched-dense"] {
        let seconds = |part| move |r: &Results| r.seconds(workload, "watched", part);
        targets.ratio(
            &format!("{workload}: jobs with metrics and logs, against jobs without"),
            AtMost(1.02),
            seconds("watched"),
            seconds("plain"),
        );
    }
    for (part, what) in [
        ("idle", "5,000 silent connections"),
        ("malformed", "10,000 malformed connections"),
        ("crowd", "1,000 malformed connections at once"),
    ] {
        let job = |when: &str| {
            let part = format!("job-{when}");
            move |r: &Results| r.seconds("connections", "strangers", &part)
        };
        targets.ratio(
            &format!("jobs beside {what}: against jobs alone"),
            AtMost(1.2),
            job(part),
            job("alone"),
        );
        let peak = |when: &str| {
            let name = format!("coordinator-{when}");
            move |r: &Results| r.case("connections", "strangers")?.peak(&name)
        };
        targets.ratio(
            &format!("the coordinator's peak memory beside {what}: to that before"),
            AtMost(1.2),
            peak(part),
            peak("alone"),
        );
        let name = format!("failures-{part}");
        targets.figure(&format!("failures beside {what}"), AtMost(0.0), |results| {
            results.case("connections", "strangers")?.total(&name)
        });
    }
}

/// What rows that workers write or shuffle may take.
fn writes(targets: &mut Targets<'_>) {
    let seconds = |variant, part| move |r: &Results| r.seconds("write", variant, part);
    for part in ["cold", "warm"] {
        targets.ratio(
            &format!("flights that two workers write, {part}: against DataFusion alone"),
            AtMost(1.2),
            seconds("two-workers", part),
            seconds("datafusion", part),
        );
        targets.ratio(
            &format!("the same, {part}: against DataFusion alone, until its files are on the disk"),
            AtMost(1.2),
            seconds("two-workers", part),
            move |results| results.seconds("write", "datafusion", &format!("{part}-synced")),
        );
    }
    for part in ["cold", "warm"] {
        let seconds = |variant| move |r: &Results| r.seconds("groups", variant, part);
        targets.ratio(
            &format!("1 M groups of what 10 M rows look up, {part}: against DataFusion alone"),
            AtMost(1.3),
            seconds("two-workers"),
            seconds("datafusion"),
        );
    }
    let peak = |name| move |r: &Results| r.case("write", "two-workers")?.peak(name);
    targets.ratio(
        "the coordinator's peak memory, ten times the rows that workers write",
        AtMost(1.2),
        peak("coordinator-large"),
        peak("coordinator-small"),
    );
}

struct Targets<'a> {
    results: &'a Results,
    found: Vec<Target>,
}

impl Targets<'_> {
    fn ratio(
        &mut self,
        what: &str,
        bound: Bound,
        of: impl Fn(&Results) -> Option<f64>,
        to: impl Fn(&Results) -> Option<f64>,
    ) {
        self.figure(what, bound, |results| Some(of(results)? / to(results)?));
    }

    /// Adds a target, unless there are no figures for it.
    fn figure(&mut self, what: &str, bound: Bound, of: impl Fn(&Results) -> Option<f64>) {
        if let Some(measured) = of(self.results) {
            let met = bound.holds(measured);
            self.found.push(Target { what: what.to_owned(), bound, measured, met });
        }
    }
}

impl Bound {
    fn holds(self, figure: f64) -> bool {
        match self {
            AtMost(bound) => figure <= bound,
            AtLeast(bound) => figure >= bound,
        }
    }
}

impl std::fmt::Display for Bound {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            AtMost(bound) => write!(f, "≤ {bound}"),
            AtLeast(bound) => write!(f, "≥ {bound}"),
        }
    }
}

/// The targets as text, a line each.
pub(crate) fn render(targets: &[Target]) -> String {
    let width = targets.iter().map(|target| target.what.chars().count()).max().unwrap_or(0);
    let lines = targets.iter().map(|Target { what, bound, measured, met }| {
        let met = if *met { "met" } else { "MISSED" };
        format!("  {what:width$}  {measured:7.2}  {:6}  {met}\n", bound.to_string())
    });
    lines.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::Measurement;

    fn results(cases: &[(&str, &str, &str, f64)]) -> Results {
        let mut results = Results::default();
        for (workload, variant, part, seconds) in cases {
            let mut measurement = Measurement::default();
            measurement.seconds.insert((*part).to_owned(), *seconds);
            results.add(workload, variant, measurement);
        }
        results
    }

    #[test]
    fn only_what_was_measured_has_a_target() {
        assert!(check(&Results::default()).is_empty());
        let alone = results(&[("sparse", "embedded", "cold", 1.0)]);
        assert!(check(&alone).is_empty());
    }

    #[test]
    fn ratios_are_met_or_missed() {
        let results = results(&[
            ("sparse", "raw", "cold", 1.0),
            ("sparse", "embedded", "cold", 1.25),
            ("sparse", "daft join", "cold", 5.0),
            ("dense", "embedded", "cold", 1.0),
            ("dense", "polars join", "cold", 4.0),
        ]);
        let targets = check(&results);
        let found: Vec<_> = targets
            .iter()
            .map(|target| (target.what.as_str(), target.measured, target.met))
            .collect();
        assert_eq!(
            found,
            [
                ("sparse, cold: against raw calls", 1.25, true),
                ("sparse, cold: Daft's join against it", 4.0, false),
                ("dense, cold: Polars' join against it", 4.0, true),
            ]
        );
    }

    #[test]
    fn every_target_is_a_line() {
        let missed = Target { what: "a".to_owned(), bound: AtMost(1.3), measured: 1.5, met: false };
        let met = Target { what: "bcd".to_owned(), bound: AtLeast(4.0), measured: 9.25, met: true };
        assert_eq!(
            render(&[missed, met]),
            "  a       1.50  ≤ 1.3   MISSED\n  bcd     9.25  ≥ 4     met\n"
        );
    }
}
