//! Text.

pub(super) mod csv;
pub(super) mod json;
