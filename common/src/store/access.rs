//! How a store's rows are reached, as plans and requests carry it.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// The way to the rows of a fetch. Which ways there are only the store's kind knows: the planner's
/// part of it chooses one, the workers' part takes it, and nobody between them looks inside.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Access {
    /// Keys that the job is expected to look up in all, if the planner knows.
    pub expected_keys: Option<u64>,
    /// The way, in the kind's own bytes; none if there is nothing to choose.
    pub way: Arc<[u8]>,
    /// The same for people, as EXPLAIN shows it; none where nothing was chosen.
    pub says: Option<String>,
}
