//! How long is waited for the storage behind stores and inputs, of whatever kind it is.

use std::time::Duration;

use keyloom_common::Error;

use super::StoreSettings;

/// How long a connection may take. An endpoint that is not there is an error within a minute,
/// although tasks are tried again, too.
const CONNECT: Duration = Duration::from_secs(3);

/// How long a request may take that brings something all the time.
const WHOLE_REQUEST: Duration = Duration::from_secs(30);

/// The bounds on waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
}

impl Patience {
    pub(crate) fn of(settings: &StoreSettings) -> Self {
        let time = |ms: u64| Duration::from_millis(ms.max(1));
        Self {
            request: time(settings.request_timeout_ms),
            attempts: settings.request_attempts.max(1),
            answer: time(settings.answer_timeout_ms),
            rest: time(settings.retry_rest_ms),
            longest_rest: time(settings.retry_rest_max_ms),
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
        WHOLE_REQUEST.max(self.answer)
    }

    /// What is said of a storage that was silent for too long.
    pub(crate) fn no_answer(&self) -> Error {
        Error::timeout(format!(
            "no answer in {}; the worker's store.answer_timeout_ms allows no more",
            shown(self.answer)
        ))
    }

    /// How long one request may be made again and again.
    pub(crate) fn all_attempts(&self) -> Duration {
        self.request.saturating_mul(self.attempts)
    }

    /// What is said of one request that was made in vain, while others are answered.
    pub(crate) fn no_answer_to_one(&self) -> Error {
        Error::timeout(format!(
            "no answer in {}, which are the worker's store.request_attempts times its \
             store.request_timeout_ms",
            shown(self.all_attempts())
        ))
    }
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
            ..StoreSettings::default()
        };
        let least = Duration::from_millis(1);
        let expected = Patience {
            request: least,
            attempts: 1,
            answer: least,
            rest: least,
            longest_rest: least,
        };
        assert_eq!(Patience::of(&settings), expected);
        assert_eq!(expected.retries(), 0);
    }
}
