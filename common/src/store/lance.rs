//! Lance's own: the ways to a dataset's rows, the figures by which one is chosen, and the options
//! that force one.
//!
//! The planner's part of the kind chooses, the workers' part describes and takes, and programs read
//! options: they share these words. Others carry them as [`Access`](super::Access) and
//! [`Figures::own`](super::Figures::own), and do not look inside.

mod access;
mod figures;

pub use access::{ForcedAccess, KeyPath, LanceWay, RowPath};
pub use figures::{KEY_MAP_BYTES_A_ROW, KeyIndex, LanceFigures};

use super::{LANCE, ResolvedStore};
use crate::error::Result;

/// Refuses options that force ways which a dataset with such a key does not have, and figures that
/// are none. Nothing is known of other kinds; and without figures there is one way, and nothing to
/// force.
pub(super) fn check(store: &ResolvedStore) -> Result<()> {
    match &store.description.figures {
        Some(figures) if store.spec.kind == LANCE => {
            let figures = LanceFigures::of(figures)?;
            ForcedAccess::of(&store.spec.options)?.check(store.key(), &figures)
        }
        _ => Ok(()),
    }
}
