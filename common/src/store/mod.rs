//! What a store is, in words that both sides understand: how it is described ([`StoreSpec`]), what
//! opening it teaches ([`StoreDescription`], with its [`Snapshot`] and its [`Figures`]), how its rows
//! are reached ([`Access`]) and what that costs ([`cost`]), and how a plan names it
//! ([`ResolvedStore`]).
//!
//! Nothing here opens anything, and nothing here holds a secret: only workers open stores, and
//! they look credentials up by the name of a profile.

mod access;
pub mod cost;
mod description;
mod figures;
mod key;
mod snapshot;
mod spec;

pub use access::{Access, ForcedAccess, KeyPath, RowPath};
pub(crate) use description::column_names;
pub use description::{ResolvedStore, StoreDescription};
pub use figures::{Figures, KEY_MAP_BYTES_A_ROW, KeyIndex};
pub use key::{KeyClass, check_key_type};
pub use snapshot::{ManifestId, Snapshot};
pub use spec::{LanceKey, LancePin, LanceSpec, MemorySpec, OnDuplicateKey, StoreKind, StoreSpec};
