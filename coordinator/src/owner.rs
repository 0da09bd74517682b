//! Who owns what a client leaves with the coordinator: while its connection is open it may take its
//! time; once that is closed, and no other took its place, its jobs and unfinished blobs go.

use std::sync::{Arc, Weak};

/// A client's connection. What it owns holds an [`OwnedBy`].
#[derive(Clone, Debug, Default)]
pub(crate) struct Owner(Arc<()>);

/// Whose something is.
#[derive(Clone, Debug)]
pub(crate) struct OwnedBy(Weak<()>);

impl Owner {
    pub(crate) fn owned(&self) -> OwnedBy {
        OwnedBy(Arc::downgrade(&self.0))
    }
}

impl OwnedBy {
    /// Whether the owner's connection is open.
    pub(crate) fn is_here(&self) -> bool {
        self.0.strong_count() > 0
    }
}
