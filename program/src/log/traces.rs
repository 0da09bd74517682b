//! Traces, sent to a collector by OpenTelemetry's protocol (gRPC): spans of jobs and of attempts at
//! their tasks, as the processes of a cluster send them, are one trace a job.
//!
//! The environment says where to, by the names that OpenTelemetry has for it; where it does not,
//! nothing is traced, and it costs nothing.

use std::{io::Stderr, time::Duration};

use anyhow::{Context, Result};
use keyloom_common::background::Background;
use opentelemetry::trace::TracerProvider;
use opentelemetry_otlp::SpanExporter;
use opentelemetry_sdk::{Resource, trace::SdkTracerProvider};
use tracing_subscriber::{EnvFilter, Layer, layer::SubscriberExt, util::SubscriberInitExt};

use super::{collector, layer::Lines};

/// The variable that says which spans are sent, and which lines with them, as `KEYLOOM_LOG` does.
const VARIABLE: &str = "KEYLOOM_TRACES";

/// What is sent otherwise: jobs and tasks. Calls between processes are a span for each chunk.
const USUAL: &str = "keyloom=info";

/// How long the end of a program may take to send what is left. How much waits at most, and how
/// long, is said by OpenTelemetry's variables `OTEL_BSP_*`.
const FLUSH: Duration = Duration::from_secs(5);

/// What sends traces, if any are wanted.
#[derive(Debug)]
pub(super) struct Traces {
    _sending: Option<Sending>,
}

impl Traces {
    /// Starts the log, and the sending of traces if the environment names a collector.
    pub(super) fn start(
        program: &'static str,
        filter: EnvFilter,
        lines: Lines<fn() -> Stderr>,
    ) -> Result<Self> {
        let Some(variable) = collector() else {
            tracing_subscriber::registry().with(filter).with(lines).init();
            return Ok(Self { _sending: None });
        };
        let traced = std::env::var(VARIABLE).unwrap_or_else(|_| USUAL.to_owned());
        let traced = EnvFilter::try_new(&traced).with_context(|| format!("{VARIABLE}={traced}"))?;
        let sending = Sending::start(program).context(variable)?;
        // What is entered and left with each step of a task is not worth its time.
        let spans = tracing_opentelemetry::layer()
            .with_tracer(sending.provider.tracer(program))
            .with_context_activation(false)
            .with_location(false)
            .with_threads(false)
            .with_tracked_inactivity(false)
            .with_filter(traced);
        tracing_subscriber::registry().with(lines.with_filter(filter)).with(spans).init();
        Ok(Self { _sending: Some(sending) })
    }
}

/// Sends spans in batches, from threads of its own.
#[derive(Debug)]
struct Sending {
    provider: SdkTracerProvider,
    /// Where connections to the collector live: longer than the program's own runtime.
    _threads: Background,
}

impl Sending {
    fn start(program: &'static str) -> Result<Self> {
        let threads = Background::start("keyloom-traces", 1)?;
        let exporter = {
            let _within = threads.handle().enter();
            SpanExporter::builder().with_tonic().build()?
        };
        let mut resource = Resource::builder();
        if std::env::var_os("OTEL_SERVICE_NAME").is_none() {
            resource = resource.with_service_name(program);
        }
        let provider = SdkTracerProvider::builder()
            .with_batch_exporter(exporter)
            .with_resource(resource.build())
            .build();
        Ok(Self { provider, _threads: threads })
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        if let Err(error) = self.provider.shutdown_with_timeout(FLUSH) {
            tracing::warn!(%error, "traces that were left were not sent");
        }
    }
}
