//! Keys that stores do not hold, where a row asked for one's values: how many may be missing, which
//! they were, and how many distinct ones there are over the tasks of a job.
//!
//! A miss is a key that a row asked for, or an element of its list; each counts by itself. A null
//! key is none, nor is one in a branch that the row does not take. `kv_exists` and joins have no
//! misses: that there is no such key is their answer.

mod limit;
mod sketch;
mod table;
mod tally;

use serde::{Deserialize, Serialize};

pub use limit::MaxMisses;
pub use sketch::{Distinct, KeySketch};
pub use table::{missed_rows, missed_schema};
pub use tally::{
    Counting, FetchTally, LimitTally, LookupTally, Missed, Tally, lookups, share, too_many,
};

/// What a job does about its misses, beside what its calls say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MissPolicy {
    /// The most misses of each store; more fail the job.
    pub max: Option<MaxMisses>,
    /// Whether it is told which rows missed their keys, and not only how many.
    pub keep: bool,
}
