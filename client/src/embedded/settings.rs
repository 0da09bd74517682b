//! The settings of a session that is its own cluster.

use serde::{Deserialize, Serialize};

use crate::settings::Settings;

/// The settings of a session that is its own cluster.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EmbeddedSettings {
    /// How many workers run in the process, each with one slot; one a core if absent.
    pub workers: Option<usize>,
    /// The session's own settings.
    pub session: Settings,
    /// The coordinator's settings.
    pub coordinator: keyloom_coordinator::Settings,
    /// The workers' settings.
    pub worker: keyloom_worker::Settings,
}
