//! What was said of a folder: each of its troubles once, whatever was said of the others.

use std::{
    collections::HashSet,
    sync::{Mutex, PoisonError},
};

/// What a folder for maps cannot do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Trouble {
    Read,
    Write,
    HoldAMap,
}

/// The troubles that were said.
#[derive(Debug, Default)]
pub(super) struct Warned(Mutex<HashSet<Trouble>>);

impl Trouble {
    /// What it says, after the folder and "cannot".
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Read => "be read",
            Self::Write => "be written to",
            Self::HoldAMap => "hold a map",
        }
    }
}

impl Warned {
    /// Whether this was not said before. Now it is.
    pub(super) fn is_new(&self, trouble: Trouble) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(trouble)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_trouble_is_said_once() {
        let warned = Warned::default();
        for trouble in [Trouble::Read, Trouble::Write, Trouble::HoldAMap] {
            assert_eq!([(); 2].map(|()| warned.is_new(trouble)), [true, false], "{trouble:?}");
        }
    }
}
