//! What a worker keeps of datasets between requests: [`caches`], as long as nobody else needs the
//! memory, where columns share the [`room`], and in [`sessions`] what Lance keeps by itself.

pub(super) mod caches;
mod room;
pub(super) mod sessions;
