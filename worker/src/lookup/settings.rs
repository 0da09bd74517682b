//! Bounds of the lookup operator.

use serde::{Deserialize, Serialize};

/// How much a lookup does at once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LookupSettings {
    /// How many batches of a task are looked up at once. Default 4.
    pub batches_in_flight: usize,
    /// How many requests of one batch to one store are under way at once, where `batch_size` makes
    /// several of them. Default 8.
    pub requests_in_flight: usize,
    /// How many missing keys an error names. Default 5.
    pub missing_keys_named: usize,
}

impl Default for LookupSettings {
    fn default() -> Self {
        Self { batches_in_flight: 4, requests_in_flight: 8, missing_keys_named: 5 }
    }
}
