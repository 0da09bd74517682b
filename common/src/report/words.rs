//! Figures as people read them.

use std::time::{Duration, UNIX_EPOCH};

/// The last millisecond that has a date of four digits for its year.
const LAST_MS: u64 = 253_402_300_799_999;

/// A count, its thousands apart.
pub fn count(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// So many of a thing.
pub fn plural(number: u64, thing: &str) -> String {
    format!("{} {thing}{}", count(number), if number == 1 { "" } else { "s" })
}

/// A number of bytes.
pub fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "kB", "MB", "GB", "TB"];
    let (mut value, mut unit) = (bytes as f64, 0);
    while value >= 1000.0 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    let decimals = usize::from(unit > 0 && value < 10.0);
    format!("{value:.decimals$} {}", UNITS[unit])
}

/// A time, to three digits or so.
pub fn time(seconds: f64) -> String {
    if seconds >= 1.0 {
        format!("{seconds:.2} s")
    } else if seconds >= 1e-3 {
        format!("{:.1} ms", seconds * 1e3)
    } else {
        format!("{:.0} µs", seconds * 1e6)
    }
}

/// A moment in UTC, to the millisecond, of milliseconds since 1970.
pub fn moment(ms: u64) -> String {
    let since = Duration::from_millis(ms.min(LAST_MS));
    humantime::format_rfc3339_millis(UNIX_EPOCH + since).to_string()
}

/// A share in percent, without decimals unless it is small.
pub fn percent(percent: f64) -> String {
    let decimals = usize::from(percent > 0.0 && percent < 9.95);
    format!("{percent:.decimals$}%")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_dates_however_late_they_are() {
        assert_eq!(moment(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(moment(1_767_225_600_123), "2026-01-01T00:00:00.123Z");
        assert_eq!(moment(u64::MAX), "9999-12-31T23:59:59.999Z");
    }

    #[test]
    fn counts_have_their_thousands_apart() {
        let cases =
            [(0, "0"), (999, "999"), (1000, "1,000"), (27_350, "27,350"), (2_000_000, "2,000,000")];
        for (number, expected) in cases {
            assert_eq!(count(number), expected);
        }
        assert_eq!([plural(1, "key"), plural(2000, "key")], ["1 key", "2,000 keys"]);
    }

    #[test]
    fn bytes_have_two_digits_or_more() {
        let cases = [
            (0, "0 B"),
            (999, "999 B"),
            (1300, "1.3 kB"),
            (26_000_000, "26 MB"),
            (4 << 30, "4.3 GB"),
        ];
        for (number, expected) in cases {
            assert_eq!(bytes(number), expected);
        }
    }

    #[test]
    fn times_have_a_unit_that_fits() {
        let cases = [(0.0, "0 µs"), (25e-6, "25 µs"), (0.0123, "12.3 ms"), (61.234, "61.23 s")];
        for (seconds, expected) in cases {
            assert_eq!(time(seconds), expected);
        }
    }

    #[test]
    fn small_shares_have_a_decimal() {
        let cases = [(0.0, "0%"), (0.4, "0.4%"), (9.94, "9.9%"), (9.96, "10%"), (85.2, "85%")];
        for (share, expected) in cases {
            assert_eq!(percent(share), expected);
        }
    }
}
