//! From keys to rows, by whatever the store is keyed: [`locate`].
//!
//! Keys that stand for no row by themselves are [`scan`]ned, as codes of a [`coder`]: for each
//! request, once for all keys of a job ([`learned`]; how often, [`scans`] count), or once into a
//! [`key_map`] of each [`run`] of fragments ([`mapped`]), which may be [`stored`] for other
//! processes. A [`btree`] is the dataset's own.

mod all_codes;
mod btree;
mod code_filter;
pub(crate) mod code_index;
pub(super) mod coder;
mod key_map;
pub(super) mod learned;
pub(super) mod locate;
mod mapped;
pub(super) mod run;
pub(super) mod runs;
mod scan;
pub(super) mod scans;
mod sieve;
pub(super) mod stored;

pub(crate) use stored::fuzzing::{map_file, read_map};
