//! The bounds that users set of stores of any kind, beside the options of the kind.

use std::{
    num::{NonZeroU32, NonZeroU64, NonZeroUsize},
    str::FromStr,
    time::Duration,
};

use keyloom_common::{Error, Result, store::Options};

use crate::store::{
    Patience,
    factory::{Capabilities, Retrying},
};

const BATCH_KEYS: &str = "batch_keys";
const REQUESTS_IN_FLIGHT: &str = "requests_in_flight";
const REQUEST_TIMEOUT_MS: &str = "request_timeout_ms";
const REQUEST_ATTEMPTS: &str = "request_attempts";

/// The options that say so. All kinds take them, but for those that keep to bounds by themselves.
pub(in crate::store) const BOUNDS: [&str; 4] =
    [BATCH_KEYS, REQUESTS_IN_FLIGHT, REQUEST_TIMEOUT_MS, REQUEST_ATTEMPTS];

/// The bounds that a store's options set. A worker waits for no store longer than its settings say.
///
/// # Errors
/// `invalid` if a bound is no number.
pub(in crate::store) fn asked(options: &Options, patience: Patience) -> Result<Capabilities> {
    let timeout: Option<NonZeroU64> = number(options, REQUEST_TIMEOUT_MS)?;
    let attempts: Option<NonZeroU32> = number(options, REQUEST_ATTEMPTS)?;
    let bounds = Capabilities {
        max_keys: number::<NonZeroUsize>(options, BATCH_KEYS)?,
        requests_in_flight: number::<NonZeroUsize>(options, REQUESTS_IN_FLIGHT)?,
        deadline: timeout.map(|ms| Duration::from_millis(ms.get())),
        retrying: attempts.map_or(Retrying::Unsaid, Retrying::AtMost),
        keeps_answers: false,
    };
    let longest = Capabilities { deadline: Some(patience.answer), ..Capabilities::default() };
    Ok(bounds.within(longest))
}

/// The number that an option says, which is not 0.
fn number<T: FromStr>(options: &Options, name: &str) -> Result<Option<T>> {
    let number = |text: &str| {
        text.parse::<T>().map_err(|_| {
            Error::invalid(format!("{name} is a whole number of at least 1, not '{text}'"))
        })
    };
    options.text(name).map(number).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::StoreSettings;

    fn bounds(options: &[(&str, &str)]) -> Result<Capabilities> {
        let options = options.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        asked(&options.collect(), Patience::of(&StoreSettings::default()))
    }

    #[test]
    fn bounds_are_read_among_the_kind_s_own_options() {
        let bounds = bounds(&[
            ("rows", "7"),
            ("batch_keys", "100"),
            ("requests_in_flight", "2"),
            ("request_timeout_ms", "250"),
            ("request_attempts", "1"),
        ]);
        let expected = Capabilities {
            max_keys: NonZeroUsize::new(100),
            requests_in_flight: NonZeroUsize::new(2),
            deadline: Some(Duration::from_millis(250)),
            retrying: Retrying::AtMost(NonZeroU32::MIN),
            keeps_answers: false,
        };
        assert_eq!(bounds, Ok(expected));
    }

    #[test]
    fn no_store_is_waited_for_longer_than_the_worker_allows() {
        let allowed = Some(Duration::from_secs(20));
        for options in [&[][..], &[("request_timeout_ms", "3600000")]] {
            let expected = Capabilities { deadline: allowed, ..Capabilities::default() };
            assert_eq!(bounds(options), Ok(expected));
        }
    }

    #[test]
    fn mistakes_name_the_choices() {
        let refused = |name: &str, value: &str| bounds(&[(name, value)]).unwrap_err();
        let expected = "batch_keys is a whole number of at least 1, not '0'";
        assert_eq!(refused("batch_keys", "0"), Error::invalid(expected));
        for value in ["0", "many"] {
            let expected =
                format!("request_attempts is a whole number of at least 1, not '{value}'");
            assert_eq!(refused("request_attempts", value), Error::invalid(expected));
        }
    }
}
