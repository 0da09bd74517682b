//! The kinds of stores that a worker knows, one line each, and how a store finds its own.

use std::sync::{Arc, Weak};

use keyloom_common::{
    Error, Result,
    store::{Snapshot, StoreDescription, StoreSpec},
};

use super::{
    StoreEnv, WorkerParts,
    bounded::{Bounds, Opened, asked::asked, deadline::within},
    factory::{Capabilities, KindOnWorker, StoreFactory},
    lance::LanceFactory,
    memory::MemoryFactory,
};
use crate::memory::Keeper;

static KINDS: &[&dyn StoreFactory] = &[
    &LanceFactory,
    &MemoryFactory,
    #[cfg(test)]
    &super::toy::ToyFactory,
];

/// The words for all kinds.
pub(crate) fn kind_words() -> impl Iterator<Item = &'static str> {
    KINDS.iter().map(|kind| kind.kind())
}

/// The kinds on one worker, each started once, by their words.
#[derive(Clone, Debug)]
pub(super) struct Kinds(Arc<[(&'static str, Box<dyn KindOnWorker>)]>);

impl Kinds {
    /// Starts them all.
    pub(super) fn start(worker: &WorkerParts) -> Self {
        Self(KINDS.iter().map(|kind| (kind.kind(), kind.start(worker))).collect())
    }

    /// Those who keep something for later.
    pub(super) fn keepers(&self) -> impl Iterator<Item = Weak<dyn Keeper>> {
        self.0.iter().filter_map(|(_, kind)| kind.keeper())
    }

    /// What they keep, by who has it.
    pub(super) fn memory(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.0.iter().flat_map(|(_, kind)| kind.memory())
    }

    /// The kind of this word.
    ///
    /// # Errors
    /// `invalid`, with the kinds that there are.
    pub(super) fn of(&self, word: &str) -> Result<&(dyn KindOnWorker + 'static)> {
        let kind = self.0.iter().find(|(known, _)| *known == word);
        kind.map(|(_, kind)| &**kind).ok_or_else(|| {
            let words: Vec<_> = self.0.iter().map(|(known, _)| *known).collect();
            let words = words.join(", ");
            Error::invalid(format!("'{word}' is no kind of store; the kinds are {words}"))
        })
    }
}

/// Opens a store to learn its columns and its newest (or pinned) snapshot.
///
/// # Errors
/// As [`KindOnWorker::describe`], `invalid` if there is no such kind or a bound is wrong,
/// `permission_denied` if it may not be touched, and `timeout` if its user or the worker waits no
/// longer.
pub(super) async fn describe(env: &StoreEnv, spec: &StoreSpec) -> Result<StoreDescription> {
    let kind = env.kinds.of(&spec.kind)?;
    let asked = bounds(kind, spec, env)?;
    env.parts.access.check_store(spec, env.parts.patience()).await?;
    within(asked.deadline, kind.describe(spec)).await
}

/// Opens a store at exactly this snapshot, within the bounds that it and its user set.
///
/// # Errors
/// As [`KindOnWorker::open`], `invalid` if there is no such kind or a bound is wrong,
/// `permission_denied` if it may not be touched, and `timeout` if its user or the worker waits no
/// longer.
pub(super) async fn open(env: &StoreEnv, spec: &StoreSpec, snapshot: Snapshot) -> Result<Opened> {
    let kind = env.kinds.of(&spec.kind)?;
    let asked = bounds(kind, spec, env)?;
    env.parts.access.check_store(spec, env.parts.patience()).await?;
    let handle = within(asked.deadline, kind.open(spec, snapshot)).await?;
    let capabilities = handle.capabilities().within(asked);
    let bounds = Bounds::of(env, spec, snapshot, capabilities);
    Ok(Opened { handle, bounds, names_itself: kind.bounds_itself() })
}

/// The bounds that a store's user sets, if they are not the kind's own matter.
fn bounds(kind: &dyn KindOnWorker, spec: &StoreSpec, env: &StoreEnv) -> Result<Capabilities> {
    match kind.bounds_itself() {
        true => Ok(Capabilities::default()),
        false => asked(&spec.options, env.parts.patience()),
    }
}

#[cfg(test)]
mod tests {
    use keyloom_common::ErrorKind;

    use super::*;
    use crate::store::{StoreSettings, contract::fixture::Blobs};

    #[test]
    fn a_kind_that_nobody_knows_is_refused_with_those_that_are_known() {
        let env = StoreEnv::new(StoreSettings::default(), Arc::new(Blobs::default()));
        let error = env.kinds.of("redis").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        let message = "'redis' is no kind of store; the kinds are lance, memory, toy";
        assert_eq!(error.message(), message);
    }
}
