//! Names that no setting has, and the setting that is meant by them.

use figment::{Error, value::Value};
use strsim::osa_distance;

use super::{add_paths, origin::Origin};

/// How many letters of a short name may be wrong, and which part of a long one.
const LETTERS: usize = 2;
const PART: usize = 3;

/// What to say of a setting of this path that nothing reads, where these are known.
pub(super) fn unknown(error: &Error, known: &Value, choices: &[&str]) -> String {
    let path = error.path.join(".");
    let meant = match meant(&error.path, known, choices) {
        Some(meant) => format!("did you mean '{meant}'?"),
        None if choices.is_empty() => "there are none here".to_owned(),
        None => format!("there are '{}'", choices.join("', '")),
    };
    let from = told(error);
    format!("unknown setting '{path}'; {meant}{from}")
}

/// Where a wrong setting stands, if that is known.
pub(super) fn told(error: &Error) -> String {
    match Origin::of(error.metadata.as_ref(), &error.path) {
        Origin::Default => String::new(),
        origin => format!(" ({origin})"),
    }
}

/// The setting whose name is most like this one: of its own section, before those that are called
/// so elsewhere.
fn meant(path: &[String], known: &Value, choices: &[&str]) -> Option<String> {
    let (name, section) = path.split_last()?;
    let beside = choices.iter().map(|choice| {
        let path = section.iter().map(String::as_str).chain([*choice]);
        (osa_distance(name, choice), path.collect::<Vec<_>>().join("."))
    });
    let mut paths = Vec::new();
    add_paths("", known, &mut paths);
    // In the environment, one sign is soon missing between a section and its setting.
    let flat = path.join("_");
    let elsewhere = paths.into_iter().map(|path| {
        let other = path.rsplit('.').next().unwrap_or_default();
        let distance = osa_distance(name, other).min(osa_distance(&flat, &path.replace('.', "_")));
        (distance, path)
    });
    let (distance, nearest) = beside.chain(elsewhere).min_by_key(|(distance, _)| *distance)?;
    (distance <= LETTERS.max(name.chars().count() / PART)).then_some(nearest)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn check(path: &str, expected: Option<&str>) {
        let sections = BTreeMap::from([
            ("store", BTreeMap::from([("read_bytes", 1), ("memory_bytes", 1)])),
            ("lookup", BTreeMap::from([("window_rows", 1), ("memory_bytes", 1)])),
        ]);
        let known = Value::serialize(sections).unwrap();
        let path: Vec<String> = path.split('.').map(ToOwned::to_owned).collect();
        let choices: &[&str] = match path[0].as_str() {
            "store" => &["read_bytes", "memory_bytes"],
            "lookup" => &["window_rows", "memory_bytes"],
            _ => &["store", "lookup"],
        };
        assert_eq!(meant(&path, &known, choices).as_deref(), expected, "{path:?}");
    }

    #[test]
    fn the_nearest_of_the_section_is_meant_and_then_the_nearest_of_all() {
        check("store.memroy_bytes", Some("store.memory_bytes"));
        check("lookup.memory_byte", Some("lookup.memory_bytes"));
        check("lokup", Some("lookup"));
        check("window_rows", Some("lookup.window_rows"));
        check("store.window_row", Some("lookup.window_rows"));
        check("lookup_window_rows", Some("lookup.window_rows"));
        check("store.colour", None);
        check("zzz", None);
    }
}
