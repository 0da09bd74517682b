//! A program without traces, which says so where they are wanted.

use std::io::Stderr;

use anyhow::Result;
use tracing_subscriber::{EnvFilter, layer::SubscriberExt, util::SubscriberInitExt};

use super::{collector, layer::Lines};

/// No traces.
#[derive(Debug)]
pub(super) struct Traces;

impl Traces {
    /// Starts the log alone, which does not fail.
    pub(super) fn start(
        program: &'static str,
        filter: EnvFilter,
        lines: Lines<fn() -> Stderr>,
    ) -> Result<Self> {
        tracing_subscriber::registry().with(filter).with(lines).init();
        if let Some(variable) = collector() {
            tracing::warn!(
                "{variable} is set, and this {program} is built without the feature otel: it sends \
                 no traces"
            );
        }
        Ok(Self)
    }
}
