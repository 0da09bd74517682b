//! What the metrics of a coordinator and of a worker have in common: how they are registered and
//! told, and the words of their labels.
//!
//! Each owns a registry, so that several in one process are kept apart. A label has few values,
//! which are known before: never a job, a key, a path or a worker. What is counted is counted for a
//! batch, a request or a task at a time, and never for a row.

use std::{
    iter::successors,
    sync::atomic::AtomicU64,
    time::{SystemTime, UNIX_EPOCH},
};

use prometheus_client::{
    encoding::text,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::{Metric, Registry},
};

use crate::{BUILD, ErrorKind, error::Result};

/// Labels that are known before.
pub type Labels<const N: usize> = [(&'static str, &'static str); N];

/// Counters by labels.
pub type Counters<const N: usize> = Family<Labels<N>, Counter>;

/// Gauges by labels.
pub type Gauges<const N: usize> = Family<Labels<N>, Gauge>;

/// Times by labels, in seconds.
pub type Times<const N: usize> = Family<Labels<N>, Histogram>;

/// The shortest time that is told from shorter ones, in seconds.
const LEAST_SECONDS: f64 = 0.001;

/// How many times as long the next one is.
const LONGER: f64 = 4.0;

/// The words for how something ended, and for errors where there was none.
const SUCCEEDED: &str = "succeeded";
const FAILED: &str = "failed";
const CANCELLED: &str = "cancelled";
const NONE: &str = "none";

/// A registry of metrics whose names begin so. It tells the build, and when the process started.
pub fn registry(prefix: &str) -> Registry {
    let mut registry = Registry::with_prefix(prefix);
    // A gauge, as is usual, and no info of OpenMetrics: who reads the older format knows none.
    let build: Gauges<1> = registered(&mut registry, "build_info", "The build that runs");
    build.get_or_create(&[("version", BUILD)]).set(1);
    let started = Gauge::<f64, AtomicU64>::default();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    started.set(now.as_secs_f64());
    registry.register("start_time_seconds", "When it started, in seconds since 1970", started);
    registry
}

/// All metrics as text, in the format of OpenMetrics.
pub fn text(registry: &Registry) -> String {
    let mut text = String::new();
    // Only the writer could fail, and a string does not.
    let _ = text::encode(&mut text, registry);
    text
}

/// A metric that begins at zero, registered by this name. What is said of it ends without a full
/// stop, and a counter's name without `_total`.
pub fn registered<M: Metric + Clone + Default>(
    registry: &mut Registry,
    name: &str,
    help: &str,
) -> M {
    let metric = M::default();
    registry.register(name, help, metric.clone());
    metric
}

/// Counters that are there, at zero, for all these labels, registered by this name: what comes with
/// a value is not taken for a rise by who watches.
pub fn registered_for<const N: usize>(
    registry: &mut Registry,
    name: &str,
    help: &str,
    labels: impl IntoIterator<Item = Labels<N>>,
) -> Counters<N> {
    let counters: Counters<N> = registered(registry, name, help);
    for labels in labels {
        counters.get_or_create_owned(&labels);
    }
    counters
}

/// A label for each kind of error.
pub fn kinds() -> impl Iterator<Item = Labels<1>> {
    ErrorKind::ALL.into_iter().map(|kind| [("kind", kind.name())])
}

/// Times from a millisecond to about a minute, each bucket four times as long as the one before.
pub fn times() -> Histogram {
    Histogram::new(successors(Some(LEAST_SECONDS), |bound| Some(bound * LONGER)).take(9))
}

/// Times by labels.
pub fn times_by<const N: usize>() -> Times<N> {
    Times::<N>::new_with_constructor(times)
}

/// The word for how something ended.
pub fn outcome<T>(ended: &Result<T>) -> &'static str {
    match ended {
        Ok(_) => SUCCEEDED,
        Err(error) if error.kind() == ErrorKind::Cancelled => CANCELLED,
        Err(_) => FAILED,
    }
}

/// How something ended, and the kind of its error, if it failed.
pub fn ending<T>(ended: &Result<T>) -> Labels<2> {
    let kind = match ended {
        Err(error) if error.kind() != ErrorKind::Cancelled => error.kind().name(),
        _ => NONE,
    };
    [("outcome", outcome(ended)), ("kind", kind)]
}

/// All that [`ending`] may say.
pub fn endings() -> impl Iterator<Item = Labels<2>> {
    let kinds = ErrorKind::ALL.into_iter().filter(|kind| *kind != ErrorKind::Cancelled);
    let failed = kinds.map(|kind| [("outcome", FAILED), ("kind", kind.name())]);
    let others = [SUCCEEDED, CANCELLED].map(|word| [("outcome", word), ("kind", NONE)]);
    others.into_iter().chain(failed)
}

/// Sets gauges by the words of their label, to what is the case now.
pub fn set_each(
    gauges: &Gauges<1>,
    label: &'static str,
    values: impl IntoIterator<Item = (&'static str, impl TryInto<i64>)>,
) {
    for (word, value) in values {
        gauges.get_or_create(&[(label, word)]).set(gauged(value));
    }
}

/// A gauge's value, of what may be larger than gauges hold.
pub fn gauged(value: impl TryInto<i64>) -> i64 {
    value.try_into().unwrap_or(i64::MAX)
}

/// Something that a gauge counts, until this is dropped.
#[derive(Debug)]
pub struct Counted {
    gauge: Gauge,
    by: i64,
}

impl Counted {
    /// One more.
    pub fn one(gauge: &Gauge) -> Self {
        Self::some(gauge, 1)
    }

    /// So many more.
    pub fn some(gauge: &Gauge, by: i64) -> Self {
        gauge.inc_by(by);
        Self { gauge: gauge.clone(), by }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.gauge.dec_by(self.by);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Error;

    #[test]
    fn a_registry_tells_its_build_and_what_is_registered() {
        let mut registry = registry("keyloom_test");
        let (ended, times) = (Counters::<2>::default(), times_by::<1>());
        registry.register("ended", "How it ended", ended.clone());
        registry.register("seconds", "How long it took", times.clone());
        ended.get_or_create(&ending(&Ok(()))).inc_by(3);
        ended.get_or_create(&ending::<()>(&Err(Error::store("gone")))).inc();
        times.get_or_create(&[("outcome", SUCCEEDED)]).observe(0.02);
        let text = text(&registry);
        for line in [
            "# TYPE keyloom_test_build_info gauge",
            &format!("keyloom_test_build_info{{version=\"{BUILD}\"}} 1"),
            "# TYPE keyloom_test_start_time_seconds gauge",
            "keyloom_test_ended_total{outcome=\"succeeded\",kind=\"none\"} 3",
            "keyloom_test_ended_total{outcome=\"failed\",kind=\"store\"} 1",
            "keyloom_test_seconds_bucket{le=\"0.016\",outcome=\"succeeded\"} 0",
            "keyloom_test_seconds_bucket{le=\"0.064\",outcome=\"succeeded\"} 1",
            "keyloom_test_seconds_bucket{le=\"+Inf\",outcome=\"succeeded\"} 1",
            "# EOF",
        ] {
            assert!(text.lines().any(|told| told == line), "no '{line}' in\n{text}");
        }
    }

    #[test]
    fn endings_have_a_word_and_failures_their_kind() {
        let cancelled = Err::<(), _>(Error::cancelled("stopped"));
        assert_eq!(ending(&cancelled), [("outcome", "cancelled"), ("kind", "none")]);
        let failed = Err::<(), _>(Error::invalid("wrong"));
        assert_eq!(ending(&failed), [("outcome", "failed"), ("kind", "invalid")]);
        assert_eq!(outcome(&Ok(1)), "succeeded");
    }

    #[test]
    fn counters_of_labels_that_are_known_begin_at_zero() {
        let mut registry = Registry::default();
        let ended = registered_for(&mut registry, "ended", "How it ended", endings());
        registered_for(&mut registry, "failed", "What failed", kinds());
        ended.get_or_create(&ending(&Ok(()))).inc();
        let text = text(&registry);
        for line in [
            "ended_total{outcome=\"succeeded\",kind=\"none\"} 1",
            "ended_total{outcome=\"cancelled\",kind=\"none\"} 0",
            "ended_total{outcome=\"failed\",kind=\"internal\"} 0",
            "failed_total{kind=\"cancelled\"} 0",
        ] {
            assert!(text.lines().any(|told| told == line), "no '{line}' in\n{text}");
        }
        assert_eq!(text.lines().filter(|told| told.starts_with("ended_total{")).count(), 10);
    }

    #[test]
    fn what_a_gauge_counts_goes_with_it() {
        let gauge = Gauge::default();
        let (one, four) = (Counted::one(&gauge), Counted::some(&gauge, 4));
        assert_eq!(gauge.get(), 5);
        drop(four);
        assert_eq!(gauge.get(), 1);
        drop(one);
        assert_eq!((gauge.get(), gauged(u64::MAX)), (0, i64::MAX));
    }
}
