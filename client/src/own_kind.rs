//! The kinds of stores that are described by options of a type of their own. All others are
//! described by [`OtherOptions`](crate::OtherOptions).

use keyloom_common::store::{LANCE, MEMORY};

/// A kind with options of its own type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OwnKind {
    /// [`LanceOptions`](crate::LanceOptions).
    Lance,
    /// [`MemoryOptions`](crate::MemoryOptions).
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
