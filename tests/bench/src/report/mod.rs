//! What people read of results: a table, the targets, a chart, JSON.

pub(crate) mod chart;
pub(crate) mod json;
pub(crate) mod table;
pub(crate) mod targets;

/// A time with three digits that count.
fn time(seconds: f64) -> String {
    match seconds {
        s if s >= 100.0 => format!("{s:.0} s"),
        s if s >= 10.0 => format!("{s:.1} s"),
        s if s >= 1.0 => format!("{s:.2} s"),
        s if s >= 0.1 => format!("{:.0} ms", s * 1e3),
        s if s >= 0.001 => format!("{:.1} ms", s * 1e3),
        s => format!("{:.0} µs", s * 1e6),
    }
}

fn mebibytes(bytes: f64) -> String {
    format!("{:.0} MiB", bytes / f64::from(1 << 20))
}

#[cfg(test)]
mod tests {
    use super::time;

    #[test]
    fn times_have_three_digits_that_count() {
        let times = [123.4, 12.34, 1.234, 0.1234, 0.01234, 0.000_123_4].map(time);
        assert_eq!(times, ["123 s", "12.3 s", "1.23 s", "123 ms", "12.3 ms", "123 µs"]);
    }
}
