//! Stores of kinds that the workers alone know. What their options mean is checked when such a
//! store is attached; here only that nothing travels which should not.

use std::{collections::BTreeMap, fmt};

use super::{KeyNames, OwnKind};
use crate::{
    error::{Error, ErrorCode, Result, holds_credentials, may_be_secret, redact, shown_option},
    store::{StoreKey, StoreSpec},
};

/// A store of a kind that the workers know by its word.
#[derive(Clone)]
pub struct OtherOptions {
    /// The word for the kind.
    pub kind: String,
    /// Where it is: a URI, a host, a path, as the kind has it. The workers get it as it stands
    /// here, so a path is an absolute one. No credentials.
    pub uri: String,
    /// The key: a column or several. If absent, what the store declares, or else the column of the
    /// same name as the column looked up.
    pub key: Option<KeyNames>,
    /// The kind's own options, by name, and the bounds that all kinds take: `batch_keys`,
    /// `requests_in_flight`, `request_timeout_ms`, `request_attempts`. No secrets: those stand in
    /// the workers' settings, and what is called like one is refused.
    pub options: BTreeMap<String, String>,
}

/// Prints nothing that may be a secret: what is refused for that may be printed all the same.
impl fmt::Debug for OtherOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, uri, key, options } = self;
        let shown = options.iter().map(|(name, value)| (name, shown_option(name, value)));
        f.debug_struct("OtherOptions")
            .field("kind", kind)
            .field("uri", &redact(uri))
            .field("key", key)
            .field("options", &shown.collect::<BTreeMap<_, _>>())
            .finish()
    }
}

impl OtherOptions {
    /// Whether a word can name a kind, as `lance` does.
    pub fn is_kind(word: &str) -> bool {
        let is_part = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        !word.is_empty() && word.chars().all(is_part)
    }

    /// The store under a name.
    ///
    /// # Errors
    /// `invalid` if something of it may be a secret, or its kind has options of its own type.
    pub fn spec(self, name: String) -> Result<StoreSpec> {
        let Self { kind, uri, key, options } = self;
        if OwnKind::of(&kind).is_some() {
            return Err(Error::invalid(format!("a {kind} store has options of its own type")));
        }
        if !Self::is_kind(&kind) {
            return Err(Error::invalid(format!(
                "'{kind}' is no kind of store, which is a word, as `lance`"
            )));
        }
        if uri.is_empty() {
            return Err(Error::invalid(format!("a {kind} store needs uri")));
        }
        // Not a word of it is said: whatever stands before the place may be the secret.
        if holds_credentials(&uri) || (uri.contains("://") && uri.contains('?')) {
            return Err(Error::invalid(format!(
                "the uri of the {kind} store holds credentials, or what looks like them (a user \
                 before '@', options behind '?'), which would travel with plans; keep them on the \
                 workers, in their environment or in a storage profile"
            ))
            .with_code(ErrorCode::StorageProfile));
        }
        if let Some(name) = options.keys().find(|name| may_be_secret(name)) {
            return Err(Error::invalid(format!(
                "the option '{name}' may be a secret, which would travel with plans; keep it on the \
                 workers, in their environment or in a storage profile"
            ))
            .with_code(ErrorCode::StorageProfile));
        }
        let key = key.map(|key| StoreKey::parse(key.names())).transpose()?;
        let options = options.into_iter().collect();
        // What is no URI need not be a path.
        Ok(StoreSpec { key, options, ..StoreSpec::new(name, kind, uri) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(kind: &str, uri: &str, option: &str) -> String {
        let options = BTreeMap::from([(option.to_owned(), "x".to_owned())]);
        let (kind, uri) = (kind.to_owned(), uri.to_owned());
        let other = OtherOptions { kind, uri, key: Some("id".into()), options };
        other.spec("own".to_owned()).map(drop).unwrap_err().message().to_owned()
    }

    #[test]
    fn what_may_be_a_secret_is_not_printed() {
        let options = BTreeMap::from([("auth_token".to_owned(), "hunter2".to_owned())]);
        let (kind, uri) = ("toy".to_owned(), "me:hunter2@host:1".to_owned());
        let printed = format!("{:?}", OtherOptions { kind, uri, key: None, options });
        assert!(printed.contains("host:1") && !printed.contains("hunter2"), "{printed}");
    }

    #[test]
    fn what_may_be_a_secret_does_not_travel() {
        for option in ["auth_token", "API_KEY", "Password", "pwd"] {
            let refused = refusal("toy", "h:1", option);
            assert!(refused.contains(&format!("'{option}' may be a secret")), "{refused}");
        }
        for place in [
            "toy://hunter2@h/x",
            "toy://u:hunter2@h/x",
            "toy://h/0?password=hunter2",
            "toy://h/0?hunter2",
            "u:hunter2@h:6379",
            "hunter2@h",
            "h:6379?token=hunter2",
        ] {
            let refused = refusal("toy", place, "rows");
            assert!(refused.contains("holds credentials"), "{place}: {refused}");
            assert!(!refused.contains("hunter2"), "{refused}");
        }
    }

    #[test]
    fn a_place_travels_as_it_is_written() {
        for place in ["localhost:6379", "rows.arrow", "/data/a@b", "toy://h/0", "h:1?db=2"] {
            let (kind, uri) = ("toy".to_owned(), place.to_owned());
            let other = OtherOptions { kind, uri, key: None, options: BTreeMap::new() };
            assert_eq!(other.spec("own".to_owned()).unwrap().place, place);
        }
    }

    #[test]
    fn kinds_that_are_known_here_are_described_by_their_own_options() {
        assert!(refusal("lance", "x.lance", "rows").contains("options of its own type"));
        assert!(refusal("toy", "", "rows").contains("a toy store needs uri"));
        assert!(refusal("a toy", "x", "rows").contains("'a toy' is no kind of store"));
    }
}
