//! What a store is, in words that both sides understand: how it is described ([`StoreSpec`]), what
//! opening it teaches ([`StoreDescription`], with its [`Snapshot`] and its [`Figures`]), what it is
//! looked up by ([`StoreKey`]), how its rows are reached ([`Access`]) and what that costs
//! ([`cost`]), how its storage may be asked ([`Pace`]), how a session holds it ([`AttachedStore`]),
//! and how a plan names it ([`ResolvedStore`]).
//!
//! There are kinds of stores, of which only words are known here. What a user says of one stands in
//! its [`Options`], which the kind reads where the store is opened. What a kind's parts in the
//! planner and in workers share of their own has a module of its name, which the others do not use:
//! `lance`.
//!
//! Nothing here opens anything, and nothing here holds a secret: only workers open stores, and
//! they look credentials up by the name of a profile.

mod access;
mod attached;
pub mod cost;
mod description;
mod duplicates;
mod figures;
mod join_path;
mod key;
mod key_check;
mod key_type;
mod lance;
mod options;
mod pace;
mod snapshot;
mod spec;

pub use access::Access;
pub use attached::AttachedStore;
pub use description::column_names;
pub(crate) use description::quoted;
pub use description::{ResolvedStore, StoreDescription};
pub use duplicates::OnDuplicateKey;
pub use figures::Figures;
pub use join_path::JoinPath;
pub use key::{KeyColumns, KeyOrigin, StoreKey};
pub(crate) use key_check::AskedKey;
pub use key_type::{KEY_TYPES, KeyClass, is_exact, uuid_of};
pub use lance::{
    ForcedAccess, KEY_MAP_BYTES_A_ROW, KeyIndex, KeyPath, LanceFigures, LanceWay, RowPath,
};
pub use options::{Options, STORAGE_OPTIONS};
pub use pace::Pace;
pub use snapshot::{ManifestId, Snapshot};
pub use spec::{LANCE, MEMORY, Pin, StoreSpec};
