//! Traces over several processes: the name of a span, which travels with jobs and tasks, so that
//! what is done for them elsewhere is part of the same trace.
//!
//! Whoever takes traces is a layer of the process's subscriber (OpenTelemetry's). Where there is
//! none, spans have no names, and none travel.

#[cfg(test)]
mod tests;

use std::fmt;

use opentelemetry::{
    Context,
    trace::{SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState},
};
use serde::{Deserialize, Serialize};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

/// A span of a trace, as W3C's `traceparent` names it: for what is done for it in other processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TraceParent {
    trace: [u8; 16],
    span: [u8; 8],
    /// W3C's: the lowest bit says whether the trace is taken.
    flags: u8,
}

impl TraceParent {
    /// The span, if somebody takes traces.
    pub fn of(span: &Span) -> Option<Self> {
        let context = span.context();
        let span = context.span();
        let names = span.span_context();
        names.is_valid().then(|| Self {
            trace: names.trace_id().to_bytes(),
            span: names.span_id().to_bytes(),
            flags: names.trace_flags().to_u8(),
        })
    }

    /// The span in which the caller runs.
    pub fn current() -> Option<Self> {
        Self::of(&Span::current())
    }

    /// Makes a span, which has not been entered yet, a child of this one. A name that is none,
    /// which a peer may send, makes it the first of a trace.
    pub fn adopt(self, child: &Span) {
        let flags = TraceFlags::new(self.flags) & TraceFlags::SAMPLED;
        let (trace, span) = (TraceId::from_bytes(self.trace), SpanId::from_bytes(self.span));
        let names = SpanContext::new(trace, span, flags, true, TraceState::default());
        if names.is_valid() {
            // It fails where nobody takes traces, and then there is nothing to name.
            let _ = child.set_parent(Context::new().with_remote_span_context(names));
        }
    }
}

impl fmt::Display for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("00-")?;
        self.trace.iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
        f.write_str("-")?;
        self.span.iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
        write!(f, "-{:02x}", self.flags)
    }
}
