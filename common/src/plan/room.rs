//! Room for rows on their way from one part of a plan to others, and what ends where it is full.
//!
//! DataFusion's repartitioning writes rows to files where it is refused memory, and may then stand
//! still for ever. So whoever counts its memory refuses nothing, but says here that it was too
//! much: then no part of the plan gives another row.

use std::sync::OnceLock;

use crate::error::{Error, Result};

/// Whether rows have room, of all parts that run in one session: an extension of its configuration.
#[derive(Debug, Default)]
pub struct Room(OnceLock<Error>);

impl Room {
    /// Says that there is none any more, and why. The first reason stays.
    pub fn give_up(&self, why: Error) {
        self.0.get_or_init(|| why);
    }

    /// Whether there is some.
    ///
    /// # Errors
    /// Why not.
    pub fn check(&self) -> Result<()> {
        self.0.get().map_or(Ok(()), |why| Err(why.clone()))
    }
}
