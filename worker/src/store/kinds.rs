//! The kinds of stores that a worker knows: one line each.

use keyloom_common::{Error, Result, store::StoreKind};

use super::{factory::StoreFactory, lance::LanceFactory, memory::MemoryFactory};

static KINDS: &[&dyn StoreFactory] = &[
    &LanceFactory,
    &MemoryFactory,
    #[cfg(test)]
    &super::toy::ToyFactory,
];

/// The factory of a store's kind.
///
/// # Errors
/// `invalid`, with the kinds that there are.
pub(super) fn of(spec: &StoreKind) -> Result<&'static dyn StoreFactory> {
    let word = spec.word();
    KINDS.iter().copied().find(|known| known.kind() == word).ok_or_else(|| {
        let words: Vec<_> = KINDS.iter().map(|known| known.kind()).collect();
        let words = words.join(", ");
        Error::invalid(format!("'{word}' is no kind of store; the kinds are {words}"))
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use keyloom_common::{ErrorKind, store::OtherSpec};

    use super::*;

    #[test]
    fn a_kind_that_nobody_knows_is_refused_with_those_that_are_known() {
        let other = OtherSpec {
            kind: "redis".to_owned(),
            place: "localhost".to_owned(),
            key: None,
            options: BTreeMap::new(),
        };
        let error = of(&StoreKind::Other(other)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        let message = "'redis' is no kind of store; the kinds are lance, memory, toy";
        assert_eq!(error.message(), message);
    }
}
