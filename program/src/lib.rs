//! How Keyloom's three programs begin and end, the same for all: what they are told ([`settings`]),
//! what they tell ([`log`]), how they are asked to stop ([`signals`]), and what both daemons do
//! beside that ([`daemon`]).
//!
//! Whoever embeds Keyloom needs none of this.

pub mod daemon;
pub mod log;
pub mod settings;
pub mod signals;
