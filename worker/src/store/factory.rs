//! What a kind of store must be able to do. A kind is a folder here and a line in [`super::kinds`].

use std::{
    any::Any,
    fmt,
    num::{NonZeroU32, NonZeroUsize},
    sync::{Arc, Weak},
    time::Duration,
};

use async_trait::async_trait;
use keyloom_common::{
    Error, Result,
    store::{ResolvedStore, Snapshot, StoreDescription, StoreSpec},
};
use serde::de::DeserializeOwned;

use super::{Store, WorkerParts, bounded::asked::BOUNDS};
use crate::memory::Keeper;

/// A kind of store. It keeps nothing itself.
pub(crate) trait StoreFactory: fmt::Debug + Send + Sync {
    /// The word by which users name the kind.
    fn kind(&self) -> &'static str;

    /// Starts the kind on a worker, once for all of its stores there. Nothing is opened yet.
    fn start(&self, worker: &WorkerParts) -> Box<dyn KindOnWorker>;
}

/// A kind of store on one worker: reads what users say of a store, and opens it. It holds what its
/// stores share, and what it keeps of them for later.
#[async_trait]
pub(crate) trait KindOnWorker: Any + fmt::Debug + Send + Sync {
    /// Whether its stores keep to their bounds, and name themselves in errors, by themselves. Others
    /// take the options that set bounds of any store ([`super::bounded::asked`]), which are kept
    /// around them.
    fn bounds_itself(&self) -> bool {
        false
    }

    /// Reads the options of the kind, which are the fields of `T`.
    ///
    /// # Errors
    /// `invalid`, with those that there are, if there is no such option, or if one says what it
    /// cannot say.
    fn own_options<T: DeserializeOwned>(&self, spec: &StoreSpec) -> Result<T>
    where
        Self: Sized,
    {
        let beside: &[&str] = if self.bounds_itself() { &[] } else { &BOUNDS };
        spec.options.read(&spec.kind, beside)
    }

    /// Whoever keeps something for later, if it takes of the memory that tasks share.
    fn keeper(&self) -> Option<Weak<dyn Keeper>> {
        None
    }

    /// The bytes that are kept for later, by what they are, each of which has a word of its own.
    fn memory(&self) -> Vec<(&'static str, u64)> {
        Vec::new()
    }

    /// Opens a store to learn its columns and its newest (or pinned) snapshot. What is said of it
    /// is checked here, its options ([`Self::own_options`]) before all.
    ///
    /// # Errors
    /// `invalid` if an option is wrong or there is no such option, naming the choices, or if the
    /// store cannot be what they say; `not_found` if it does not exist, `store` if it cannot be
    /// read, `timeout` if its storage does not answer. The message does not name the store.
    async fn describe(&self, spec: &StoreSpec) -> Result<StoreDescription>;

    /// Opens a store at exactly this snapshot.
    ///
    /// # Errors
    /// As [`Self::describe`], and `not_found` if the snapshot is gone.
    async fn open(&self, spec: &StoreSpec, snapshot: Snapshot) -> Result<Arc<dyn OpenStore>>;
}

/// What an open store bears; by default, all that it is asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Capabilities {
    /// The most keys of one request.
    pub(crate) max_keys: Option<NonZeroUsize>,
    /// The most requests at a time, of all tasks of the worker.
    pub(crate) requests_in_flight: Option<NonZeroUsize>,
    /// How long one request may take.
    pub(crate) deadline: Option<Duration>,
    /// Who makes a request again that failed though another attempt may help.
    pub(crate) retrying: Retrying,
    /// Whether rows that it answered are kept for later requests, because asking it costs more than
    /// memory does. Never those of a live store.
    pub(crate) keeps_answers: bool,
}

/// Who makes a request again that failed though another attempt may help.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Retrying {
    /// The attempts of tasks, unless the store's user says how often.
    #[default]
    Unsaid,
    /// Whoever bounds the store: it is made so often at most, as far as the worker allows.
    AtMost(NonZeroU32),
    /// The store itself, whatever its user says: to retry its retries would multiply them.
    ByItself,
}

impl Capabilities {
    /// The same, and no more than others.
    pub(super) fn within(self, others: Self) -> Self {
        Self {
            max_keys: least(self.max_keys, others.max_keys),
            requests_in_flight: least(self.requests_in_flight, others.requests_in_flight),
            deadline: least(self.deadline, others.deadline),
            retrying: self.retrying.within(others.retrying),
            keeps_answers: self.keeps_answers || others.keeps_answers,
        }
    }
}

impl Retrying {
    fn within(self, other: Self) -> Self {
        match (self, other) {
            (Self::ByItself, _) | (_, Self::ByItself) => Self::ByItself,
            (Self::Unsaid, said) | (said, Self::Unsaid) => said,
            (Self::AtMost(one), Self::AtMost(other)) => Self::AtMost(one.min(other)),
        }
    }
}

fn least<T: Ord>(one: Option<T>, other: Option<T>) -> Option<T> {
    one.into_iter().chain(other).min()
}

/// A store that is open, under no alias yet. It is closed when nobody holds it: what it binds holds
/// it, too.
pub(crate) trait OpenStore: fmt::Debug + Send + Sync {
    /// The store as a plan names it. Cheap. Requests count columns as the plan's description of the
    /// store lists them, which may be fewer than are open.
    ///
    /// # Errors
    /// `invalid` if the columns are not those that the plan was made for.
    fn bind(self: Arc<Self>, store: &ResolvedStore) -> Result<Arc<dyn Store>>;

    /// What it bears. Whoever binds it puts these bounds around what is bound.
    fn capabilities(&self) -> Capabilities {
        Capabilities::default()
    }

    /// The bytes of its content, if it is in memory.
    fn content_bytes(&self) -> u64 {
        0
    }

    /// Itself, for those who can do more with a store of one kind.
    fn into_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync>;
}

/// What a kind says that was given a snapshot that its stores do not have.
pub(super) fn no_such(spec: &StoreSpec, snapshot: Snapshot) -> Error {
    let kind = &spec.kind;
    Error::internal(format!("there is no store of the kind {kind} at snapshot {snapshot}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at_most(attempts: u32) -> Retrying {
        Retrying::AtMost(NonZeroU32::new(attempts).unwrap())
    }

    #[test]
    fn the_smaller_of_two_bounds_holds_and_any_is_smaller_than_none() {
        let of_kind = Capabilities {
            max_keys: NonZeroUsize::new(100),
            requests_in_flight: NonZeroUsize::new(2),
            retrying: at_most(4),
            keeps_answers: true,
            ..Capabilities::default()
        };
        let of_user = Capabilities {
            max_keys: NonZeroUsize::new(10),
            requests_in_flight: NonZeroUsize::new(5),
            deadline: Some(Duration::from_secs(1)),
            ..Capabilities::default()
        };
        let expected = Capabilities {
            max_keys: NonZeroUsize::new(10),
            requests_in_flight: NonZeroUsize::new(2),
            deadline: Some(Duration::from_secs(1)),
            retrying: at_most(4),
            keeps_answers: true,
        };
        assert_eq!((of_kind.within(of_user), of_user.within(of_kind)), (expected, expected));
    }

    #[test]
    fn what_retries_by_itself_is_not_retried_whatever_its_user_says() {
        let of = |retrying| Capabilities { retrying, ..Capabilities::default() };
        let check = |kind, user, expected| assert_eq!(of(kind).within(of(user)), of(expected));
        check(Retrying::ByItself, at_most(4), Retrying::ByItself);
        check(Retrying::ByItself, Retrying::Unsaid, Retrying::ByItself);
        check(Retrying::Unsaid, at_most(4), at_most(4));
        check(at_most(6), Retrying::Unsaid, at_most(6));
        check(at_most(6), at_most(1), at_most(1));
    }
}
