//! A dataset as users describe it: what is said of every store, and the options of the kind.

use keyloom_common::{
    Error, Result,
    input::Format,
    store::{ForcedAccess, OnDuplicateKey, Pace, Pin, StoreKey, StoreSpec},
};
use serde::Deserialize;

/// A Lance dataset and how to find rows in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LanceSpec {
    /// An absolute path or a URI.
    pub(crate) uri: String,
    /// What a key is compared with. If absent, the dataset's primary key, or else what each call
    /// looks up by its name.
    pub(crate) key: Option<StoreKey>,
    /// Which version to read; the newest if absent.
    pub(crate) pin: Option<Pin>,
    /// The name of a profile in the worker's settings that holds storage options.
    pub(crate) storage_profile: Option<String>,
    /// What a key means that stands in several rows.
    pub(crate) on_duplicate_key: OnDuplicateKey,
    /// How its rows are reached, where the planner is not to choose.
    pub(crate) access: ForcedAccess,
    /// How its storage may be asked, where the worker's settings are not to decide.
    pub(crate) pace: Pace,
}

/// The options of the kind, by their names.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Says {
    storage_options: Option<String>,
    #[serde(default)]
    on_duplicate_key: OnDuplicateKey,
    key_path: Option<String>,
    row_path: Option<String>,
    requests_in_flight: Option<u64>,
    request_timeout_ms: Option<u64>,
    request_attempts: Option<u64>,
}

impl LanceSpec {
    /// Reads what users say. It may come from anybody, so its place is checked here, too.
    ///
    /// # Errors
    /// `invalid` if there is no such option, an option cannot be what it says, with the choices, or
    /// nothing is read from such places.
    pub(super) fn of(spec: &StoreSpec) -> Result<Self> {
        let StoreSpec { kind, place, key, content, pin, options, .. } = spec;
        if content.is_some() {
            return Err(Error::invalid(format!("a {kind} store has no contents of a session")));
        }
        Format::Lance.check_place(place)?;
        let says: Says = options.read(kind, &[])?;
        let pace = Pace {
            requests_in_flight: says.requests_in_flight,
            request_timeout_ms: says.request_timeout_ms,
            request_attempts: says.request_attempts,
        };
        pace.check(place)?;
        Ok(Self {
            uri: place.clone(),
            key: key.clone(),
            pin: pin.clone(),
            storage_profile: says.storage_options,
            on_duplicate_key: says.on_duplicate_key,
            access: ForcedAccess::read(says.key_path.as_deref(), says.row_path.as_deref())?,
            pace,
        })
    }
}

#[cfg(test)]
impl LanceSpec {
    /// The dataset as users describe it, under a name.
    pub(crate) fn named(self, name: &str) -> StoreSpec {
        use keyloom_common::store::{LANCE, STORAGE_OPTIONS};

        let mut spec = StoreSpec::new(name, LANCE, self.uri);
        spec.options.set(STORAGE_OPTIONS, self.storage_profile);
        self.on_duplicate_key.set(&mut spec.options);
        self.access.set(&mut spec.options);
        self.pace.set(&mut spec.options);
        StoreSpec { key: self.key, pin: self.pin, ..spec }
    }
}

#[cfg(test)]
mod tests {
    use keyloom_common::store::{KeyPath, RowPath};

    use super::*;
    use crate::store::contract::fixture::lance_spec;

    fn refused(place: &str, option: &str, value: &str) -> String {
        let mut spec = lance_spec(place, "id").named("own_name");
        spec.options.set(option, Some(value));
        LanceSpec::of(&spec).unwrap_err().message().to_owned()
    }

    #[test]
    fn options_say_what_was_said() {
        let spec = LanceSpec {
            pin: Some(Pin::Tag("best".to_owned())),
            storage_profile: Some("west".to_owned()),
            on_duplicate_key: OnDuplicateKey::Last,
            access: ForcedAccess { keys: Some(KeyPath::Map), rows: Some(RowPath::Take) },
            pace: Pace { request_attempts: Some(3), ..Pace::default() },
            ..lance_spec("s3://bucket/rows.lance", "id")
        };
        assert_eq!(LanceSpec::of(&spec.clone().named("own_name")), Ok(spec));
        let plain = lance_spec("/rows.lance", "id");
        assert_eq!(LanceSpec::of(&plain.clone().named("own_name")), Ok(plain));
    }

    #[test]
    fn mistakes_name_the_choices() {
        assert_eq!(
            refused("/rows.lance", "key_pth", "map"),
            "'key_pth' is no option of a lance store; the options are 'key', 'storage_options', \
             'on_duplicate_key', 'key_path', 'row_path', 'requests_in_flight', \
             'request_timeout_ms', 'request_attempts'"
        );
        let refused_at_home = |option: &str, value: &str| refused("/rows.lance", option, value);
        assert_eq!(
            refused_at_home("key_path", "index"),
            "key_path is auto, map, scan or btree, not 'index'"
        );
        assert_eq!(
            refused_at_home("on_duplicate_key", "newest"),
            "on_duplicate_key is error, first or last, not 'newest'"
        );
        assert_eq!(
            refused_at_home("requests_in_flight", "0"),
            "requests_in_flight must be between 1 and 65536, not 0"
        );
    }

    #[test]
    fn datasets_are_read_from_where_lance_reads() {
        let message = "Lance datasets are read from local paths, file://, file-object-store://, \
                       file+uring://, s3://, not memory://";
        assert_eq!(refused("memory://items", "row_path", "take"), message);
    }
}
