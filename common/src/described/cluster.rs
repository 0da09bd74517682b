//! What a cluster offers by name.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{input::InputSpec, store::StoreSpec};

/// The stores and inputs that a client may use by their names alone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterCatalog {
    /// Stores by alias.
    pub stores: BTreeMap<String, StoreSpec>,
    /// Inputs by the table's name.
    pub inputs: BTreeMap<String, InputSpec>,
    /// Whether the client may use no others.
    pub only: bool,
}
