//! The section `catalog` of the settings.

use std::collections::BTreeMap;

use keyloom_common::described::Written;
use serde::{Deserialize, Serialize};

/// Stores and inputs by name, for all clients of the cluster or for some.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CatalogSettings {
    /// Stores by alias: the kind and the options of job files, and `clients`, the names of those
    /// who may use it (`["alice", "team-*"]`; all if absent). At most 4,096.
    pub stores: BTreeMap<String, Written>,
    /// Inputs by the table's name: the options of job files, and `clients`. At most 4,096.
    pub inputs: BTreeMap<String, Written>,
    /// Where clients may have workers write that may use nothing but the catalog: absolute paths
    /// and URLs, and all that is below them. At most 4,096; default none.
    pub outputs: Vec<String>,
    /// Whether clients may use what the catalog offers them alone, beside tables and stores in
    /// memory. Operators may use everything. Default false: then anybody may name any place that
    /// the workers read from, and `clients` says only to whom a name is offered.
    pub only: bool,
}
