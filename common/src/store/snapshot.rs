//! The state of a store that a whole job reads, and what tells it from every other.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The state of a store that a whole job reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Snapshot {
    /// A version of a dataset. Its number is what people call it; it is known by its manifest.
    Version {
        /// The number. A dataset that is removed and written anew in the same place counts from 1
        /// again.
        number: u64,
        /// The manifest.
        manifest: ManifestId,
    },
    /// The contents cannot change: they are named by their hash.
    Immutable,
    /// The store has no snapshots: each request reads what is there by then, and requests of one
    /// job may read different rows. Nothing that it answered is kept for others.
    Live,
}

/// Tells the manifest of a version from all others, those of a dataset that stood in the same place
/// before among them. It is made of what the manifest says, not of where it is: a copy of a dataset
/// on another machine is the same dataset.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ManifestId([u8; 16]);

impl ManifestId {
    /// The id of a manifest that was committed at a time, in nanoseconds since 1970, by a
    /// transaction, whose name is random. The writers of old datasets gave it none.
    pub fn of(timestamp: u128, transaction: Option<&str>) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&timestamp.to_le_bytes());
        hasher.update(transaction.unwrap_or_default().as_bytes());
        let mut id = [0; 16];
        hasher.finalize_xof().fill(&mut id);
        Self(id)
    }
}

impl fmt::Display for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Version { number, .. } => write!(f, "v{number}"),
            Self::Immutable => f.write_str("immutable"),
            Self::Live => f.write_str("live"),
        }
    }
}

impl fmt::Display for ManifestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for ManifestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ManifestId({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_one_number_are_told_apart_and_shown_alike() {
        let version = |timestamp, transaction| Snapshot::Version {
            number: 3,
            manifest: ManifestId::of(timestamp, transaction),
        };
        let first = version(7, Some("2-a.txn"));
        assert_eq!(first, version(7, Some("2-a.txn")));
        for other in [version(8, Some("2-a.txn")), version(7, Some("2-b.txn")), version(7, None)] {
            assert_ne!(first, other);
            assert_eq!(other.to_string(), "v3");
        }
    }
}
