//! What a port has read of files that may change.

use std::sync::Arc;

use keyloom_common::rpc::{BearerTokens, Gate, Reloads};

/// The files of a port. Clones are the same; by default there are none.
#[derive(Clone, Debug, Default)]
pub struct Files {
    /// What knows the certificate, and what knows those who connect.
    pub(super) gates: Vec<Gate>,
    /// The tokens of operators.
    pub(super) tokens: Option<Arc<BearerTokens>>,
}

impl Files {
    /// Whether there are any.
    pub fn is_empty(&self) -> bool {
        self.gates.is_empty() && self.tokens.is_none()
    }

    /// Reads all again, whether they have changed or not. Where they are not what they should be,
    /// what was read before stays, and a warning says so.
    pub fn reload(&self) {
        self.gates.iter().for_each(Gate::reload);
        if let Some(tokens) = &self.tokens {
            tokens.reload();
        }
    }

    /// How often they were read again, each for itself.
    pub fn reloads(&self) -> Reloads {
        let gates = self.gates.iter().map(Gate::reloads);
        gates.chain(self.tokens.iter().map(|tokens| tokens.reloads())).sum()
    }
}
