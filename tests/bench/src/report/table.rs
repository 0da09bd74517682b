//! The table: medians with their spread, ratios to raw calls, peak memory.

use super::{mebibytes, time};
use crate::{
    results::{Case, Results},
    workloads::Workload,
};

const HEADER: [&str; 6] = ["variant", "part", "median", "from – to", "ratio to raw", "peak memory"];

/// The table of some workloads as text.
pub(crate) fn render(results: &Results, workloads: &[Workload]) -> String {
    let mut rows: Vec<Row> = vec![Row::Cells(HEADER.map(ToOwned::to_owned))];
    for workload in workloads {
        let cases = results.cases.iter().filter(|case| case.workload == workload.name);
        let mut cells: Vec<_> = cases.flat_map(|case| case_rows(results, case)).collect();
        if !cells.is_empty() {
            let raw = raw_strategies(results, workload.name);
            rows.push(Row::Title(format!("{}: {}{raw}", workload.name, workload.about)));
            rows.append(&mut cells);
        }
    }
    layout(&rows)
}

/// How raw calls read values.
fn raw_strategies(results: &Results, workload: &str) -> String {
    let strategies = results.strategies.get(workload).into_iter().flatten();
    let strategies = strategies.map(|(store, strategy)| format!("{store} by {strategy}"));
    let strategies: Vec<_> = strategies.collect();
    if strategies.is_empty() {
        return String::new();
    }
    format!(" (raw calls: {})", strategies.join(", "))
}

enum Row {
    Title(String),
    Cells([String; HEADER.len()]),
}

fn case_rows(results: &Results, case: &Case) -> Vec<Row> {
    let mut names: Vec<_> =
        case.measurements.iter().flat_map(|measurement| measurement.seconds.keys()).collect();
    names.sort_by_key(|name| (name.as_str() != "cold", name.as_str() != "warm", name.as_str()));
    names.dedup();
    let mut peaks = Some(peaks(case));
    let rows = names.into_iter().filter_map(|part| {
        let median = case.seconds(part)?;
        let (from, to) = case.spread(part)?;
        let ratio = base(results, case, part).map_or_else(String::new, |(base, seconds)| {
            format!("{:.2} × {base}", median / seconds)
        });
        let spread = format!("{} – {}", time(from), time(to));
        // Memory is of the process, whatever the part.
        let peak = peaks.take().unwrap_or_default();
        let variant = if peak.is_empty() { String::new() } else { case.variant.clone() };
        Some(Row::Cells([variant, part.clone(), time(median), spread, ratio, peak]))
    });
    rows.collect()
}

/// The part of raw calls that a part of a job is compared with, and its time: a warm job has to
/// read values, where there are any to be read.
fn base(results: &Results, case: &Case, part: &str) -> Option<(&'static str, f64)> {
    let reads_values = results.strategies.get(&case.workload).is_some_and(|read| !read.is_empty());
    let base = match part {
        "cold" => "cold",
        "warm" if reads_values => "fetch",
        "warm" => "warm",
        _ => return None,
    };
    let seconds = results.seconds(&case.workload, "raw", base)?;
    (case.variant != "raw").then_some((base, seconds))
}

fn peaks(case: &Case) -> String {
    let peaks = case.peaks().into_iter().map(|(process, bytes)| match process {
        "process" => mebibytes(bytes),
        other => format!("{other} {}", mebibytes(bytes)),
    });
    let peaks: Vec<_> = peaks.collect();
    if peaks.is_empty() { "-".to_owned() } else { peaks.join(", ") }
}

fn layout(rows: &[Row]) -> String {
    let mut widths = [0; HEADER.len()];
    for row in rows {
        if let Row::Cells(cells) = row {
            for (width, cell) in widths.iter_mut().zip(cells) {
                *width = (*width).max(cell.chars().count());
            }
        }
    }
    let mut text = String::new();
    for row in rows {
        match row {
            Row::Title(title) => {
                text.push('\n');
                text.push_str(title);
            }
            Row::Cells(cells) => {
                let cells = cells.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
                let line = format!("  {}", cells.collect::<Vec<_>>().join("  "));
                text.push_str(line.trim_end());
            }
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::Measurement;

    #[test]
    fn jobs_are_compared_with_raw_calls() -> anyhow::Result<()> {
        let mut results = Results::default();
        for (variant, cold) in [("raw", 0.2), ("embedded", 0.25)] {
            let mut measurement = Measurement::default();
            measurement.seconds.insert("cold".to_owned(), cold);
            measurement.peaks.insert("process".to_owned(), 64 << 20);
            results.add("sparse", variant, measurement);
        }
        let workloads = [Workload::named("dense")?, Workload::named("sparse")?];
        assert_eq!(
            render(&results, &workloads),
            "  variant   part  median  from – to        ratio to raw  peak memory\n\
             \n\
             sparse: 50 k uniform keys, 1 % missing, of 5 M rows\n\
             \x20 raw       cold  200 ms  200 ms – 200 ms                64 MiB\n\
             \x20 embedded  cold  250 ms  250 ms – 250 ms  1.25 × cold   64 MiB\n"
        );
        Ok(())
    }
}
