//! Options that are read, and those that are refused.

use std::num::NonZeroUsize;

use super::*;
use crate::store::OnDuplicateKey;

#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Says {
    #[serde(default)]
    on_duplicate_key: OnDuplicateKey,
    at_once: Option<NonZeroUsize>,
    ratio: Option<f64>,
    is_new: Option<bool>,
    shift: Option<i8>,
    words: Option<String>,
}

fn read(options: &[(&str, &str)]) -> Result<Says, String> {
    let options = options.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let read = options.collect::<Options>().read("toy", &["batch_keys"]);
    read.map_err(|error| error.message().to_owned())
}

#[test]
fn values_are_read_as_their_fields_want_them_and_others_are_left_alone() {
    assert_eq!(read(&[]), Ok(Says::default()));
    let all = [
        ("at_once", "7"),
        ("batch_keys", "many"),
        ("is_new", "true"),
        ("on_duplicate_key", "last"),
        ("ratio", "0.5"),
        ("shift", "-3"),
        ("words", "12"),
    ];
    let expected = Says {
        on_duplicate_key: OnDuplicateKey::Last,
        at_once: NonZeroUsize::new(7),
        ratio: Some(0.5),
        is_new: Some(true),
        shift: Some(-3),
        words: Some("12".to_owned()),
    };
    assert_eq!(read(&all), Ok(expected));
}

#[test]
fn mistakes_name_the_option_and_the_choices() {
    let refused = |name: &str, value: &str| read(&[(name, value)]).unwrap_err();
    assert_eq!(
        refused("at_onec", "1"),
        "'at_onec' is no option of a toy store; the options are 'key', 'on_duplicate_key', \
         'at_once', 'ratio', 'is_new', 'shift', 'words', 'batch_keys'"
    );
    assert_eq!(
        refused("on_duplicate_key", "newest"),
        "on_duplicate_key is error, first or last, not 'newest'"
    );
    assert_eq!(refused("at_once", "few"), "at_once is a number, not 'few'");
    assert_eq!(refused("is_new", "yes"), "is_new is true or false, not 'yes'");
    assert_eq!(refused("shift", "200"), "shift is i8, not integer `200`");
    assert!(refused("at_once", "0").starts_with("at_once is a nonzero usize"));
}

#[test]
fn options_without_a_value_are_not_there() {
    let mut options = Options::default();
    options.set("at_once", Some(7));
    options.set("words", None::<&str>);
    assert_eq!(options.text("at_once"), Some("7"));
    assert_eq!(options.number("at_once"), Ok(Some(7)));
    assert_eq!(options.text("words"), None);
    options.set("at_once", Some("few"));
    let refused = options.number("at_once").map_err(|error| error.message().to_owned());
    assert_eq!(refused, Err("at_once is a number, not 'few'".to_owned()));
}
