//! How long is waited for the storage behind stores and inputs, of whatever kind it is, and how
//! many requests it gets at a time.

use std::time::Duration;

use keyloom_common::{Error, store::Pace};

use super::settings::{StoreSettings, at_most};

/// How long a connection may take. An endpoint that is not there is an error within a minute,
/// although tasks are tried again, too.
const CONNECT: Duration = Duration::from_secs(3);

/// How long a request may take that brings something all the time.
const WHOLE_REQUEST: Duration = Duration::from_secs(30);

/// The bounds on asking and waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Patience {
    /// How long a request may bring nothing before it is made again.
    pub(crate) request: Duration,
    /// How often it is made.
    pub(crate) attempts: u32,
    /// How long all that is asked may stay unanswered.
    pub(crate) answer: Duration,
    /// How long a store rests that failed, before it is asked again; doubled each time.
    pub(crate) rest: Duration,
    /// The longest such rest.
    pub(crate) longest_rest: Duration,
    /// How many requests to remote storage may be in flight.
    pub(crate) in_flight: usize,
    /// Whether a store's options say how long or how often.
    of_store: bool,
}

impl Patience {
    pub(crate) fn of(settings: &StoreSettings) -> Self {
        Self {
            request: time(settings.request_timeout_ms),
            attempts: settings.request_attempts.max(1),
            answer: time(settings.answer_timeout_ms),
            rest: time(settings.retry_rest_ms),
            longest_rest: time(settings.retry_rest_max_ms),
            in_flight: settings.remote_requests_in_flight.max(1),
            of_store: false,
        }
    }

    /// The same where a store's options say otherwise. Of the requests in flight the smaller bound
    /// holds, and how long all may be unanswered is the worker's to say.
    pub(crate) fn of_store(self, pace: &Pace) -> Self {
        let attempts = pace.request_attempts.map(|attempts| u32::try_from(attempts.max(1)));
        Self {
            request: pace.request_timeout_ms.map_or(self.request, time),
            attempts: attempts.map_or(self.attempts, |attempts| attempts.unwrap_or(u32::MAX)),
            in_flight: at_most(self.in_flight, pace.requests_in_flight),
            of_store: pace.request_timeout_ms.or(pace.request_attempts).is_some(),
            ..self
        }
    }

    /// The same for what is asked once, because asking again would not help: a local disk.
    pub(crate) fn asking_once(self) -> Self {
        Self { attempts: 1, ..self }
    }

    /// How often a request is made again.
    pub(crate) fn retries(&self) -> u32 {
        self.attempts - 1
    }

    /// How long the rest is after so many retries were in vain.
    pub(crate) fn rest_after(&self, retries: u32) -> Duration {
        self.rest.saturating_mul(2_u32.saturating_pow(retries)).min(self.longest_rest)
    }

    /// How long connecting may take.
    pub(crate) fn connect(&self) -> Duration {
        CONNECT.min(self.request)
    }

    /// How long a request may take in all. Large answers come slowly where many come at once.
    pub(crate) fn whole_request(&self) -> Duration {
        WHOLE_REQUEST.max(self.answer).max(self.request)
    }

    /// What is said of a storage that was silent for too long.
    pub(crate) fn no_answer(&self) -> Error {
        Error::timeout(format!(
            "no answer in {}; the worker's store.answer_timeout_ms allows no more",
            shown(self.answer)
        ))
    }

    /// What is said of a storage that refused all that was asked, for being too much.
    pub(crate) fn refused(&self) -> Error {
        Error::timeout(format!(
            "no answer in {} but that too much is asked (429 or 503); the worker's \
             store.answer_timeout_ms allows no more, and the store's requests_in_flight would ask \
             less at a time",
            shown(self.answer)
        ))
    }

    /// How long one request may be made again and again.
    pub(crate) fn all_attempts(&self) -> Duration {
        self.request.saturating_mul(self.attempts)
    }

    /// What is said of one request that was made in vain, while others are answered.
    pub(crate) fn no_answer_to_one(&self) -> Error {
        let whose = if self.of_store {
            "request_attempts times request_timeout_ms, of the store's options or else of the \
             worker's settings"
        } else {
            "the worker's store.request_attempts times its store.request_timeout_ms"
        };
        Error::timeout(format!("no answer in {}, which are {whose}", shown(self.all_attempts())))
    }
}

/// A time that is not none.
fn time(ms: u64) -> Duration {
    Duration::from_millis(ms.max(1))
}

/// A time as a person would say it.
pub(super) fn shown(time: Duration) -> String {
    let ms = time.as_millis();
    if ms.is_multiple_of(1_000) { format!("{} s", ms / 1_000) } else { format!("{ms} ms") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_say_how_long_was_waited_and_which_setting_bounds_it() {
        let settings = StoreSettings { request_timeout_ms: 250, ..StoreSettings::default() };
        let patience = Patience::of(&settings);
        let expected = "no answer in 20 s; the worker's store.answer_timeout_ms allows no more";
        assert_eq!(patience.no_answer(), Error::timeout(expected));
        let expected = "no answer in 1 s, which are the worker's store.request_attempts times its \
                        store.request_timeout_ms";
        assert_eq!(patience.no_answer_to_one(), Error::timeout(expected));
        let expected = "no answer in 20 s but that too much is asked (429 or 503); the worker's \
                        store.answer_timeout_ms allows no more, and the store's \
                        requests_in_flight would ask less at a time";
        assert_eq!(patience.refused(), Error::timeout(expected));
    }

    #[test]
    fn a_store_s_options_hold_as_far_as_the_worker_allows() {
        let patience = Patience::of(&StoreSettings::default());
        assert_eq!(patience.of_store(&Pace::default()), patience);
        let pace = Pace {
            requests_in_flight: Some(4),
            request_timeout_ms: Some(250),
            request_attempts: Some(2),
        };
        let of_store = patience.of_store(&pace);
        let expected = "no answer in 500 ms, which are request_attempts times request_timeout_ms, \
                        of the store's options or else of the worker's settings";
        assert_eq!(of_store.no_answer_to_one(), Error::timeout(expected));
        assert_eq!((of_store.in_flight, of_store.answer), (4, patience.answer));
        let more = Pace { requests_in_flight: Some(1 << 20), ..Pace::default() };
        assert_eq!(patience.of_store(&more), patience);
    }

    #[test]
    fn rests_double_up_to_the_longest() {
        let settings = StoreSettings {
            retry_rest_ms: 100,
            retry_rest_max_ms: 1_000,
            ..StoreSettings::default()
        };
        let rests = [0, 1, 3, 4, 40].map(|retries| Patience::of(&settings).rest_after(retries));
        assert_eq!(rests.map(|rest| rest.as_millis()), [100, 200, 800, 1_000, 1_000]);
    }

    #[test]
    fn nothing_counts_as_the_least() {
        let settings = StoreSettings {
            request_timeout_ms: 0,
            request_attempts: 0,
            answer_timeout_ms: 0,
            retry_rest_ms: 0,
            retry_rest_max_ms: 0,
            remote_requests_in_flight: 0,
            ..StoreSettings::default()
        };
        let least = Duration::from_millis(1);
        let expected = Patience {
            request: least,
            attempts: 1,
            answer: least,
            rest: least,
            longest_rest: least,
            in_flight: 1,
            of_store: false,
        };
        assert_eq!(Patience::of(&settings), expected);
        assert_eq!(expected.retries(), 0);
    }
}
