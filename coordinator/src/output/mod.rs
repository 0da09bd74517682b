//! What a job writes: tasks write pieces that nobody sees, one attempt of each is accepted, and
//! then one worker makes all of them visible, or removes them.
//!
//! An output ends once, whoever waits for it. Until a worker is asked to commit, whatever ends the
//! job has what is written removed; from then on it only goes forward, though the job's client
//! cancels it or goes. The coordinator itself touches no storage, and knows pieces by their sizes.

mod check;
mod pieces;
mod places;
mod progress;
mod writing;

pub(crate) use check::{check_output, place_of};
pub(crate) use pieces::kept_pieces;
pub(crate) use places::{HeldPlace, Places};
pub(crate) use progress::{OutputProgress, OutputState};
pub(crate) use writing::{Means, Writing};
