//! The words for the ports that certificates and tokens are for.

use std::fmt;

/// A port that certificates and tokens are for, as logs and metrics call it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PortName {
    /// The coordinator's, for workers and clients; where they dial, what they show there.
    Rpc,
    /// What a daemon tells of itself, and jobs over HTTP.
    Http,
    /// A worker's, for other workers.
    Shuffle,
}

impl PortName {
    /// The word for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Rpc => "rpc",
            Self::Http => "http",
            Self::Shuffle => "shuffle",
        }
    }
}

impl fmt::Display for PortName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
