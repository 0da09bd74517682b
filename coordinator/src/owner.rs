//! Who owns what a client leaves with the coordinator: while its connection is open it may take its
//! time; once that is closed, and no other took its place, its jobs and unfinished blobs go. Who
//! the client is says what of it others may have.

use std::sync::{Arc, Weak};

use keyloom_common::rpc::{Identity, Role};

/// A client's connection. What it owns holds an [`OwnedBy`].
#[derive(Clone, Debug)]
pub(crate) struct Owner {
    connection: Arc<()>,
    identity: Identity,
}

/// Whose something is.
#[derive(Clone, Debug)]
pub(crate) struct OwnedBy(Weak<()>);

impl Default for Owner {
    fn default() -> Self {
        Self::of(Identity::anybody())
    }
}

impl Owner {
    /// A connection of a client that has shown who it is.
    pub(crate) fn of(identity: Identity) -> Self {
        Self { connection: Arc::default(), identity }
    }

    pub(crate) fn owned(&self) -> OwnedBy {
        OwnedBy(Arc::downgrade(&self.connection))
    }

    /// Who it is.
    pub(crate) fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Whether it may have what belongs to somebody.
    pub(crate) fn may_have(&self, whose: &Identity) -> bool {
        self.identity == *whose || self.is_operator()
    }

    /// Whether it may have what belongs to anybody.
    pub(crate) fn is_operator(&self) -> bool {
        self.identity.role == Role::Operator
    }
}

/// Whether bounds of each client hold for somebody. Operators may have all that there is, as may
/// whoever connects where nothing is asked for.
pub(crate) fn is_bounded(identity: &Identity) -> bool {
    identity.role == Role::Client
}

impl OwnedBy {
    /// Whether the owner's connection is open.
    pub(crate) fn is_here(&self) -> bool {
        self.0.strong_count() > 0
    }
}
