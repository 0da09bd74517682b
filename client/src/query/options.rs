//! How a job is run, beside what it computes.

use keyloom_common::{
    JobId,
    described::Output,
    misses::{MaxMisses, MissPolicy},
    rpc::JobTerms,
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
    /// Whether it is told which rows missed their keys: see [`super::Job::take_missed`]. Not of a
    /// job that is detached.
    pub keep_missed: bool,
    /// Where workers write its rows, if they do: then its result is one row, in the columns of
    /// [`crate::committed_schema`], once all of them can be seen.
    pub output: Option<Output>,
    /// Its id. A fresh one if not given. A job of an id that was submitted before, and is still
    /// remembered, does not run again: a program that does not know whether its last try came
    /// through draws an id before.
    pub id: Option<JobId>,
    /// A name that people know it by, in lists: a line of at most 256 bytes.
    pub name: Option<String>,
    /// The statement that it comes from, to be shown beside it.
    pub statement: Option<String>,
    /// Whether it goes on when its client is gone. Without an output, its rows wait for somebody to
    /// ask for them: see [`super::JobHandle::results`].
    pub detached: bool,
    /// Whether it goes on by itself when the coordinator was restarted. Only a job that is detached
    /// and has an output can, where the coordinator has a `state_folder`.
    pub resumes: bool,
}

impl JobOptions {
    pub(super) fn misses(&self, settings: &Settings) -> MissPolicy {
        MissPolicy { max: self.max_misses.or(settings.max_misses), keep: self.keep_missed }
    }

    pub(super) fn terms(&self) -> JobTerms {
        JobTerms {
            name: self.name.clone(),
            statement: self.statement.clone(),
            detached: self.detached,
            resumes: self.resumes,
        }
    }
}
