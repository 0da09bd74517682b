//! What becomes of the columns of each version.

pub(super) const FIRST: &str = "";
pub(super) const V2_0: &str = "";
pub(super) const V2_1: &str = "";
pub(super) const V2_2: &str = "";
pub(super) const V2_3: &str = "";
