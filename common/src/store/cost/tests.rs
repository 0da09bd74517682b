//! Costs against what was measured, and their order.

use super::*;

const LOCAL: Storage = Storage::LOCAL;

/// Rows, bytes of a value, and the milliseconds that reading all of them took.
const SCANS: [(u64, u64, f64); 5] = [
    (5_000_000, 512, 552.0),
    (1_000_000, 512, 135.0),
    (5_000_000, 28, 49.0),
    (1_000_000, 28, 12.0),
    (5_000, 95_000, 77.0),
];

/// Rows that were wanted at once, of how many, bytes of a value, and the milliseconds that it took.
const TAKES: [(u64, u64, u64, f64); 10] = [
    (32_700, 5_000_000, 512, 25.5),
    (123_500, 5_000_000, 512, 75.3),
    (602_000, 5_000_000, 512, 289.0),
    (32_200, 1_000_000, 512, 22.7),
    (117_500, 1_000_000, 512, 61.0),
    (473_000, 1_000_000, 512, 158.0),
    (32_700, 5_000_000, 28, 32.5),
    (32_200, 1_000_000, 28, 10.1),
    (117_500, 1_000_000, 28, 21.7),
    (3_160, 5_000, 95_000, 55.0),
];

/// Whether the model is near enough to choose by.
fn is_near(nanoseconds: f64, measured_ms: f64) -> bool {
    (0.6..1.6).contains(&(nanoseconds / 1e6 / measured_ms))
}

#[test]
fn costs_are_about_what_was_measured() {
    for (rows, bytes, measured) in SCANS {
        let cost = LOCAL.scan(rows, bytes);
        assert!(is_near(cost, measured), "{cost} ns for {rows} of {bytes} bytes");
    }
    for (wanted, rows, bytes, measured) in TAKES {
        let cost = LOCAL.take(wanted, rows, bytes);
        assert!(is_near(cost, measured), "{cost} ns for {wanted} of {rows} of {bytes} bytes");
    }
}

#[test]
fn keys_drawn_at_once_ask_for_some_rows_twice() {
    let keys = Keys { count: 640_000, at_once: 640_000 };
    let drawn = LOCAL.take_keys(keys, 1_000_000, 512);
    let distinct = LOCAL.take(472_708, 1_000_000, 512);
    assert!((drawn / distinct - 1.0).abs() < 1e-3, "{drawn} and {distinct} ns");
}

#[test]
fn many_small_requests_cost_more_than_a_large_one() {
    let keys = |at_once| Keys { count: 1_000_000, at_once };
    let cost = |at_once| LOCAL.take_keys(keys(at_once), 1_000_000, 512);
    assert!(cost(8_192) > 4.0 * cost(1_000_000));
}

#[test]
fn nothing_costs_nothing() {
    let keys = |count| Keys { count, at_once: 8192 };
    assert_eq!(LOCAL.take_keys(keys(0), 1000, 8), 0.0);
    assert_eq!(LOCAL.take_keys(keys(10), 0, 8), 0.0);
    assert_eq!(LOCAL.take(0, 0, 8), 0.0);
    assert_eq!(LOCAL.scan(0, 8), 0.0);
}

#[test]
fn reads_cost_more_where_fewer_are_in_flight() {
    let cost = |storage: Storage, most| storage.with_in_flight(most).scan(1 << 22, 64);
    // 64 reads, of which each takes eight times as long.
    let more = cost(Storage::REMOTE, Some(8)) - cost(Storage::REMOTE, None);
    assert_eq!(more, 64.0 * 7.0 * 800_000.0);
    assert_eq!(cost(Storage::REMOTE, Some(1000)), cost(Storage::REMOTE, None));
    assert_eq!(cost(LOCAL, Some(1)), cost(LOCAL, None));
}

#[test]
fn a_scheme_says_where_a_dataset_is() {
    assert_eq!(Storage::of("/data/a.lance"), Storage::LOCAL);
    assert_eq!(Storage::of("file:///data/a.lance"), Storage::LOCAL);
    assert_eq!(Storage::of("s3://bucket/a.lance"), Storage::REMOTE);
}
