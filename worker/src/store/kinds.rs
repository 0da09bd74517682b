//! The kinds of stores that a worker knows, one line each, and how a store finds its own.

use keyloom_common::{
    Error, Result,
    store::{Snapshot, StoreDescription, StoreKind},
};

use super::{
    StoreEnv,
    bounded::{Bounds, Opened, asked::Asked, deadline::within},
    factory::StoreFactory,
    lance::LanceFactory,
    memory::MemoryFactory,
};

static KINDS: &[&dyn StoreFactory] = &[
    &LanceFactory,
    &MemoryFactory,
    #[cfg(test)]
    &super::toy::ToyFactory,
];

/// Opens a store to learn its columns and its newest (or pinned) snapshot.
///
/// # Errors
/// As [`StoreFactory::describe`], `invalid` if there is no such kind or no such option, and
/// `timeout` if its user or the worker waits no longer.
pub(super) async fn describe(env: &StoreEnv, spec: &StoreKind) -> Result<StoreDescription> {
    let factory = of(spec)?;
    let asked = Asked::of(spec, factory.options(), env.patience())?;
    within(asked.bounds.deadline, factory.describe(env, &asked.spec)).await
}

/// Opens a store at exactly this snapshot, within the bounds that it and its user set.
///
/// # Errors
/// As [`StoreFactory::open`], `invalid` if there is no such kind or no such option, and `timeout`
/// if its user or the worker waits no longer.
pub(super) async fn open(env: &StoreEnv, spec: &StoreKind, snapshot: Snapshot) -> Result<Opened> {
    let factory = of(spec)?;
    let asked = Asked::of(spec, factory.options(), env.patience())?;
    let opened = factory.open(env, &asked.spec, snapshot);
    let handle = within(asked.bounds.deadline, opened).await?;
    let capabilities = handle.capabilities().within(asked.bounds);
    Ok(Opened { handle, bounds: Bounds::of(env, spec, snapshot, capabilities) })
}

/// The factory of a store's kind.
///
/// # Errors
/// `invalid`, with the kinds that there are.
fn of(spec: &StoreKind) -> Result<&'static dyn StoreFactory> {
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
