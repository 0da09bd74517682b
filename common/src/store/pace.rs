//! How a store's storage may be asked, where the store's options say so and not the workers'
//! settings: how much at once, for how long, and how often.

use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

use super::{Options, cost::Storage};
use crate::{
    bounds::{AT_ONCE, TIME_MS},
    error::{Error, Result, redact},
};

/// The options that say so.
const OPTIONS: [&str; 3] = ["requests_in_flight", "request_timeout_ms", "request_attempts"];

/// How often a request may be made.
const ATTEMPTS: RangeInclusive<u64> = 1..=100;

/// The bounds that a store's options set. Where there is none, the workers' settings hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Pace {
    /// The most requests, and reads of one lookup, that a worker has in flight. The worker's own
    /// bound holds where it is smaller.
    pub requests_in_flight: Option<u64>,
    /// How long a request to remote storage may bring nothing before it is made again, in
    /// milliseconds.
    pub request_timeout_ms: Option<u64>,
    /// How often a request to remote storage is made until it fails.
    pub request_attempts: Option<u64>,
}

impl Pace {
    /// What a store's options say.
    ///
    /// # Errors
    /// `invalid`, naming the option, if one is no number.
    pub(super) fn of(options: &Options) -> Result<Self> {
        let [requests_in_flight, request_timeout_ms, request_attempts] = OPTIONS;
        Ok(Self {
            requests_in_flight: options.number(requests_in_flight)?,
            request_timeout_ms: options.number(request_timeout_ms)?,
            request_attempts: options.number(request_attempts)?,
        })
    }

    /// Says so in a store's options.
    pub fn set(self, options: &mut Options) {
        self.options().into_iter().for_each(|(name, value)| options.set(name, value));
    }

    /// Checks the options of the store at a path or URI.
    ///
    /// # Errors
    /// `invalid`, naming the option and what it may be.
    pub fn check(&self, uri: &str) -> Result<()> {
        for ((name, value), range) in self.options().into_iter().zip([AT_ONCE, TIME_MS, ATTEMPTS]) {
            if let Some(value) = value.filter(|value| !range.contains(value)) {
                let (least, most) = range.into_inner();
                return Err(Error::invalid(format!(
                    "{name} must be between {least} and {most}, not {value}"
                )));
            }
        }
        let [_, remote @ ..] = self.options();
        let of_remote = remote.into_iter().find(|(_, value)| value.is_some());
        match of_remote.filter(|_| Storage::of(uri) == Storage::LOCAL) {
            None => Ok(()),
            Some((name, _)) => Err(Error::invalid(format!(
                "{name} is for remote storage, and {} is local; of these options it may have \
                 requests_in_flight",
                redact(uri)
            ))),
        }
    }

    fn options(&self) -> [(&'static str, Option<u64>); 3] {
        let Self { requests_in_flight, request_timeout_ms, request_attempts } = *self;
        let [in_flight, timeout, attempts] = OPTIONS;
        [
            (in_flight, requests_in_flight),
            (timeout, request_timeout_ms),
            (attempts, request_attempts),
        ]
    }

    /// The options that are given, in words; none if none is.
    pub fn in_words(&self) -> Option<String> {
        let given = self.options().into_iter().filter_map(|(name, value)| Some((name, value?)));
        let given: Vec<_> = given.map(|(name, value)| format!("{name} {value}")).collect();
        (!given.is_empty()).then(|| given.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(pace: Pace, uri: &str) -> Result<(), String> {
        pace.check(uri).map_err(|error| error.message().to_owned())
    }

    #[test]
    fn options_that_are_out_of_bounds_are_named() {
        let usual = Pace::default();
        assert_eq!(check(usual, "s3://bucket/a.lance"), Ok(()));
        let wrong = [
            (
                Pace { requests_in_flight: Some(0), ..usual },
                "requests_in_flight must be between 1 and 65536, not 0",
            ),
            (
                Pace { request_timeout_ms: Some(0), ..usual },
                "request_timeout_ms must be between 1 and 31536000000, not 0",
            ),
            (
                Pace { request_attempts: Some(101), ..usual },
                "request_attempts must be between 1 and 100, not 101",
            ),
        ];
        for (pace, message) in wrong {
            assert_eq!(check(pace, "s3://bucket/a.lance"), Err(message.to_owned()));
        }
    }

    #[test]
    fn local_files_are_not_asked_again() {
        let usual = Pace::default();
        assert_eq!(check(Pace { requests_in_flight: Some(2), ..usual }, "/data/a.lance"), Ok(()));
        let again = Pace { request_attempts: Some(2), ..usual };
        assert_eq!(check(again, "s3://bucket/a.lance"), Ok(()));
        let refused = "request_attempts is for remote storage, and /data/a.lance is local; of \
                       these options it may have requests_in_flight";
        assert_eq!(check(again, "/data/a.lance"), Err(refused.to_owned()));
    }

    #[test]
    fn options_say_what_was_said() {
        let pace = Pace { request_timeout_ms: Some(500), ..Pace::default() };
        let mut options = Options::default();
        pace.set(&mut options);
        assert_eq!(Pace::of(&options), Ok(pace));
        assert_eq!(options.text("request_timeout_ms"), Some("500"));
    }

    #[test]
    fn options_that_are_given_are_shown() {
        assert_eq!(Pace::default().in_words(), None);
        let pace =
            Pace { requests_in_flight: Some(4), request_attempts: Some(2), ..Pace::default() };
        assert_eq!(pace.in_words().as_deref(), Some("requests_in_flight 4, request_attempts 2"));
    }
}
