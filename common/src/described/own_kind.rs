//! The kinds of stores that are described by options of a type of their own. All others are
//! described by [`OtherOptions`](super::OtherOptions).

use crate::store::{LANCE, MEMORY};

/// A kind with options of its own type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OwnKind {
    /// [`LanceOptions`](super::LanceOptions).
    Lance,
    /// Contents that a client holds.
    Memory,
}

impl OwnKind {
    /// The kind of this word, if it is one of them.
    pub fn of(word: &str) -> Option<Self> {
        match word {
            LANCE => Some(Self::Lance),
            MEMORY => Some(Self::Memory),
            _ => None,
        }
    }
}
