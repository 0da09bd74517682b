//! The bounds that users set of stores of any kind, beside the options of the kind.

use std::{
    borrow::Cow,
    collections::BTreeMap,
    num::{NonZeroU32, NonZeroU64, NonZeroUsize},
    str::FromStr,
    time::Duration,
};

use keyloom_common::{
    Error, Result,
    store::{OtherSpec, StoreKind},
};

use crate::store::{
    Patience,
    factory::{Capabilities, Retrying},
};

const BATCH_KEYS: &str = "batch_keys";
const REQUESTS_IN_FLIGHT: &str = "requests_in_flight";
const REQUEST_TIMEOUT_MS: &str = "request_timeout_ms";
const REQUEST_ATTEMPTS: &str = "request_attempts";

/// The options that all kinds take, unless their stores are described in other words.
const OPTIONS: [&str; 4] = [BATCH_KEYS, REQUESTS_IN_FLIGHT, REQUEST_TIMEOUT_MS, REQUEST_ATTEMPTS];

/// A store as its kind is given it, and the bounds that were set of it.
#[derive(Debug)]
pub(in crate::store) struct Asked<'a> {
    pub(in crate::store) spec: Cow<'a, StoreKind>,
    pub(in crate::store) bounds: Capabilities,
}

impl<'a> Asked<'a> {
    /// Takes the bounds out of the options of a store whose kind has these of its own. A worker
    /// waits for no store longer than its settings say.
    ///
    /// # Errors
    /// `invalid` if there is no such option, with those that there are, or if a bound is no number.
    pub(in crate::store) fn of(
        spec: &'a StoreKind,
        own: &[&str],
        patience: Patience,
    ) -> Result<Self> {
        let StoreKind::Other(other) = spec else {
            return Ok(Self { spec: Cow::Borrowed(spec), bounds: Capabilities::default() });
        };
        check_names(other, own)?;
        let mut other = other.clone();
        let bounds = bounds(&mut other.options)?;
        let longest = Capabilities { deadline: Some(patience.answer), ..Capabilities::default() };
        Ok(Self { spec: Cow::Owned(StoreKind::Other(other)), bounds: bounds.within(longest) })
    }
}

fn check_names(other: &OtherSpec, own: &[&str]) -> Result<()> {
    let known = || own.iter().chain(&OPTIONS).copied();
    let unknown = other.options.keys().find(|name| known().all(|known| known != name.as_str()));
    let Some(name) = unknown else { return Ok(()) };
    let choices: Vec<_> = ["key"].into_iter().chain(known()).map(quoted).collect();
    Err(Error::invalid(format!(
        "'{name}' is no option of a {} store; the options are {}",
        other.kind,
        choices.join(", ")
    )))
}

fn quoted(name: &str) -> String {
    format!("'{name}'")
}

fn bounds(options: &mut BTreeMap<String, String>) -> Result<Capabilities> {
    let timeout: Option<NonZeroU64> = take(options, REQUEST_TIMEOUT_MS)?;
    let attempts: Option<NonZeroU32> = take(options, REQUEST_ATTEMPTS)?;
    Ok(Capabilities {
        max_keys: take::<NonZeroUsize>(options, BATCH_KEYS)?,
        requests_in_flight: take::<NonZeroUsize>(options, REQUESTS_IN_FLIGHT)?,
        deadline: timeout.map(|ms| Duration::from_millis(ms.get())),
        retrying: attempts.map_or(Retrying::Unsaid, Retrying::AtMost),
        keeps_answers: false,
    })
}

/// The number that an option says, which is not 0.
fn take<T: FromStr>(options: &mut BTreeMap<String, String>, name: &str) -> Result<Option<T>> {
    let number = |text: String| {
        text.parse::<T>().map_err(|_| {
            Error::invalid(format!("{name} is a whole number of at least 1, not '{text}'"))
        })
    };
    options.remove(name).map(number).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::StoreSettings;

    fn asked(options: &[(&str, &str)]) -> Result<(Vec<String>, Capabilities)> {
        let options = options.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let (kind, place, key) = ("toy".to_owned(), "x".to_owned(), None);
        let spec = StoreKind::Other(OtherSpec { kind, place, key, options: options.collect() });
        let patience = Patience::of(&StoreSettings::default());
        let asked = Asked::of(&spec, &["rows"], patience)?;
        let StoreKind::Other(other) = asked.spec.into_owned() else { panic!("its kind changed") };
        Ok((other.options.into_keys().collect(), asked.bounds))
    }

    #[test]
    fn bounds_are_taken_out_of_the_options_and_the_kind_s_own_are_left() {
        let (left, bounds) = asked(&[
            ("rows", "7"),
            ("batch_keys", "100"),
            ("requests_in_flight", "2"),
            ("request_timeout_ms", "250"),
            ("request_attempts", "1"),
        ])
        .unwrap();
        assert_eq!(left, ["rows"]);
        let expected = Capabilities {
            max_keys: NonZeroUsize::new(100),
            requests_in_flight: NonZeroUsize::new(2),
            deadline: Some(Duration::from_millis(250)),
            retrying: Retrying::AtMost(NonZeroU32::MIN),
            keeps_answers: false,
        };
        assert_eq!(bounds, expected);
    }

    #[test]
    fn no_store_is_waited_for_longer_than_the_worker_allows() {
        let allowed = Some(Duration::from_secs(20));
        for options in [&[][..], &[("request_timeout_ms", "3600000")]] {
            let (_, bounds) = asked(options).unwrap();
            assert_eq!(bounds, Capabilities { deadline: allowed, ..Capabilities::default() });
        }
    }

    #[test]
    fn mistakes_name_the_choices() {
        let refused = |name: &str, value: &str| asked(&[(name, value)]).unwrap_err();
        let expected = "'batch_kyes' is no option of a toy store; the options are 'key', 'rows', \
                        'batch_keys', 'requests_in_flight', 'request_timeout_ms', \
                        'request_attempts'";
        assert_eq!(refused("batch_kyes", "1"), Error::invalid(expected));
        let expected = "batch_keys is a whole number of at least 1, not '0'";
        assert_eq!(refused("batch_keys", "0"), Error::invalid(expected));
        for value in ["0", "many"] {
            let expected =
                format!("request_attempts is a whole number of at least 1, not '{value}'");
            assert_eq!(refused("request_attempts", value), Error::invalid(expected));
        }
    }
}
