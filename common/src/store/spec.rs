//! How a user describes a store, before anything is opened.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{OnDuplicateKey, Options, Pace, StoreKey};
use crate::{
    BlobId,
    error::{Result, redact},
};

/// A store under its own name. The alias, by which queries find it, is given when it is attached.
///
/// Of its kind only the word is known here: whoever opens it finds by that who reads the rest.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct StoreSpec {
    /// The store's own name.
    pub name: String,
    /// The word by which users and workers know its kind.
    pub kind: String,
    /// Where it is, in the kind's own terms: a path, a URI, a host. Never with credentials. Empty
    /// if it is nowhere but in its content.
    pub place: String,
    /// What a key is compared with. If absent, what the store declares, or else what each call
    /// looks up by its name.
    pub key: Option<StoreKey>,
    /// Contents that travel with the session, and must be there before the store can be opened.
    pub content: Option<BlobId>,
    /// Which snapshot to read; the newest at submission if absent.
    pub pin: Option<Pin>,
    /// What else the user says. Whoever opens the store refuses what its kind does not know.
    pub options: Options,
}

/// The word for Lance datasets, where kinds are named.
pub const LANCE: &str = "lance";
/// The word for contents that travel with the session.
pub const MEMORY: &str = "memory";

/// A version of a store, by number or by tag.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Pin {
    /// A version number.
    Version(u64),
    /// A tag, resolved to a version number once a job.
    Tag(String),
}

impl StoreSpec {
    /// A store of a kind at a place, of which nothing else is said.
    pub fn new(name: impl Into<String>, kind: impl Into<String>, place: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            kind: kind.into(),
            place: place.into(),
            key: None,
            content: None,
            pin: None,
            options: Options::default(),
        }
    }

    /// The same store, whatever its name and whichever of its snapshots is meant.
    #[must_use]
    pub fn bare(&self) -> Self {
        Self { name: String::new(), pin: None, ..self.clone() }
    }

    /// Whether all of its rows can be read as those of a table, not by their keys alone.
    pub fn can_be_scanned(&self) -> bool {
        self.content.is_some() || self.kind == LANCE
    }

    /// Whether it is one version, by its number.
    pub fn is_of_version(&self) -> bool {
        matches!(self.pin, Some(Pin::Version(_)))
    }

    /// What a key means that stands in several rows.
    ///
    /// # Errors
    /// `invalid`, with the choices, if its options say something else.
    pub fn on_duplicate_key(&self) -> Result<OnDuplicateKey> {
        OnDuplicateKey::of(&self.options)
    }

    /// How its storage may be asked, where its options say so.
    ///
    /// # Errors
    /// `invalid` if they do not say so in numbers.
    pub fn pace(&self) -> Result<Pace> {
        Pace::of(&self.options)
    }
}

/// Prints nothing that may be a secret: a peer may have sent one all the same.
impl fmt::Debug for StoreSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, kind, place, key, content, pin, options } = self;
        f.debug_struct("StoreSpec")
            .field("name", name)
            .field("kind", kind)
            .field("place", &redact(place))
            .field("key", key)
            .field("content", content)
            .field("pin", pin)
            .field("options", options)
            .finish()
    }
}

impl fmt::Display for StoreSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.content {
            Some(content) => write!(f, "{} {content}", self.kind)?,
            None => write!(f, "{} {}", self.kind, redact(&self.place))?,
        }
        self.key.iter().try_for_each(|key| write!(f, " by {key}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_is_the_same_under_any_name_and_at_any_snapshot() {
        let spec = StoreSpec::new("a", LANCE, "/rows.lance");
        let pin = Some(Pin::Version(3));
        let pinned = StoreSpec { name: "b".to_owned(), pin, ..spec.clone() };
        assert_ne!(pinned, spec);
        assert_eq!(pinned.bare(), spec.bare());
        let elsewhere = StoreSpec::new("a", LANCE, "/others.lance");
        assert_ne!(elsewhere.bare(), spec.bare());
        let mut forced = spec.clone();
        forced.options.set("row_path", Some("scan"));
        assert_ne!(forced.bare(), spec.bare());
    }

    #[test]
    fn stores_are_shown_without_what_may_be_a_secret() {
        let key = Some(StoreKey::column("id"));
        let shown = |spec: &StoreSpec| spec.to_string();
        let spec = StoreSpec { key, ..StoreSpec::new("a", "toy", "toy://u:hunter2@h/0") };
        assert_eq!(shown(&spec), "toy toy://h/0 by id");
        let mut sent = spec;
        sent.options.set("auth_token", Some("hunter2"));
        sent.options.set("server", Some("http://u:hunter2@h/"));
        let printed = format!("{sent:?} {sent:#?}");
        assert!(printed.contains("auth_token") && !printed.contains("hunter2"), "{printed}");
        let content = BlobId::of(b"rows");
        let spec = StoreSpec { content: Some(content), ..StoreSpec::new("a", MEMORY, "") };
        assert_eq!(shown(&spec), format!("memory {content}"));
    }
}
