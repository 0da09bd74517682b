//! How a job is run, beside what it computes.

use keyloom_common::{
    described::Output,
    misses::{MaxMisses, MissPolicy},
};

use crate::settings::Settings;

/// How a job is run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JobOptions {
    /// Whether its rows are computed to the last one and dropped: for measuring.
    pub discard: bool,
    /// The most rows, for each store, that may miss their keys where that gives null; more fail the
    /// job. The session's setting if not given.
    pub max_misses: Option<MaxMisses>,
    /// Whether it is told which rows missed their keys: see [`super::Job::take_missed`].
    pub keep_missed: bool,
    /// Where workers write its rows, if they do: then its result is one row, in the columns of
    /// [`crate::committed_schema`], once all of them can be seen.
    pub output: Option<Output>,
}

impl JobOptions {
    pub(super) fn misses(&self, settings: &Settings) -> MissPolicy {
        MissPolicy { max: self.max_misses.or(settings.max_misses), keep: self.keep_missed }
    }
}
