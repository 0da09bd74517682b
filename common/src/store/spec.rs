//! How a user describes a store, before anything is opened.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};

use super::{ForcedAccess, KeyColumns, Pace, StoreKey};
use crate::{BlobId, error::redact};

/// A store under its own name. The alias, by which queries find it, is given when it is attached.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct StoreSpec {
    /// The store's own name.
    pub name: String,
    /// Where its contents are and how they are keyed.
    pub kind: StoreKind,
}

/// The kinds of stores.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum StoreKind {
    /// A Lance dataset.
    Lance(LanceSpec),
    /// Contents that travel with the session.
    Memory(MemorySpec),
    /// A store of a kind that the workers alone know.
    Other(OtherSpec),
}

/// The word for Lance datasets, where kinds are named.
pub const LANCE: &str = "lance";
/// The word for contents that travel with the session.
pub const MEMORY: &str = "memory";

impl StoreKind {
    /// The word by which users and workers know the kind.
    pub fn word(&self) -> &str {
        match self {
            Self::Lance(_) => LANCE,
            Self::Memory(_) => MEMORY,
            Self::Other(other) => &other.kind,
        }
    }

    /// What a key is compared with, if the user said so.
    pub fn key(&self) -> Option<StoreKey> {
        match self {
            Self::Lance(lance) => lance.key.clone(),
            Self::Memory(memory) => Some(StoreKey::Columns(memory.key.clone())),
            Self::Other(other) => other.key.clone(),
        }
    }

    /// The contents that must travel before the store can be opened.
    pub fn content(&self) -> Option<BlobId> {
        match self {
            Self::Memory(memory) => Some(memory.content),
            Self::Lance(_) | Self::Other(_) => None,
        }
    }

    /// The same store whichever of its snapshots is meant.
    #[must_use]
    pub fn unpinned(&self) -> Self {
        let mut kind = self.clone();
        if let Self::Lance(lance) = &mut kind {
            lance.pin = None;
        }
        kind
    }
}

/// A Lance dataset and how to find rows in it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct LanceSpec {
    /// An absolute path or a URI with a scheme that the workers know.
    pub uri: String,
    /// What a key is compared with. If absent, the dataset's primary key, or else what each call
    /// looks up by its name.
    pub key: Option<StoreKey>,
    /// Which version to read; the newest at submission if absent.
    pub pin: Option<LancePin>,
    /// The name of a profile in the workers' settings that holds storage options.
    pub storage_profile: Option<String>,
    /// What a key means that stands in several rows.
    pub on_duplicate_key: OnDuplicateKey,
    /// How its rows are reached, where the planner is not to choose.
    pub access: ForcedAccess,
    /// How its storage may be asked, where the workers' settings are not to decide.
    pub pace: Pace,
}

/// A version of a Lance dataset, by number or by tag.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum LancePin {
    /// A version number.
    Version(u64),
    /// A tag, resolved to a version number once a job.
    Tag(String),
}

/// What a lookup of a key returns that several rows hold. `First` and `Last` go by storage order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnDuplicateKey {
    /// The job fails, naming the key, if such a key is looked up.
    #[default]
    Error,
    /// The first of the rows.
    First,
    /// The last of the rows.
    Last,
}

/// Contents as one Arrow IPC stream, named by its hash. Keys are unique and not null: the session
/// sees to that when the store is loaded.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct MemorySpec {
    /// The Arrow IPC stream.
    pub content: BlobId,
    /// The key columns.
    pub key: KeyColumns,
}

/// A store of a kind that the workers know by its word: where it is and what its kind's options
/// say, as the user wrote them. Whoever opens it reads them, and refuses what it does not know.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct OtherSpec {
    /// The word for the kind.
    pub kind: String,
    /// Where it is, in the kind's own terms: a path, a URI, a host. Never with credentials.
    pub place: String,
    /// What a key is compared with. If absent, what the store declares.
    pub key: Option<StoreKey>,
    /// Options by name. Never secrets: those stand in a profile on the workers.
    pub options: BTreeMap<String, String>,
}

impl fmt::Display for StoreSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            StoreKind::Lance(lance) => {
                write!(f, "lance {}", redact(&lance.uri))?;
                lance.key.iter().try_for_each(|key| write!(f, " by {key}"))
            }
            StoreKind::Memory(memory) => write!(f, "memory {} by {}", memory.content, memory.key),
            StoreKind::Other(other) => {
                write!(f, "{} {}", other.kind, redact(&other.place))?;
                other.key.iter().try_for_each(|key| write!(f, " by {key}"))
            }
        }
    }
}
