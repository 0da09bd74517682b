use std::sync::{Arc, Mutex};

use bytes::Bytes;
use opentelemetry::trace::TracerProvider;
use opentelemetry_sdk::{
    error::OTelSdkResult,
    trace::{SdkTracerProvider, SpanData, SpanExporter},
};
use tracing::{Dispatch, dispatcher::with_default};
use tracing_subscriber::layer::SubscriberExt;

use super::*;
use crate::{
    AttemptId, JobId, StageId, TaskId,
    misses::MissPolicy,
    rpc::{Assignment, JobTerms, Order, Submission, Work, bincode},
    store::{MEMORY, StoreSpec},
};

/// The spans that have ended, as a collector gets them.
#[derive(Clone, Debug, Default)]
struct Taken(Arc<Mutex<Vec<SpanData>>>);

impl SpanExporter for Taken {
    async fn export(&self, spans: Vec<SpanData>) -> OTelSdkResult {
        self.0.lock().unwrap().extend(spans);
        Ok(())
    }
}

impl Taken {
    /// A process whose traces are taken.
    fn process(&self) -> Dispatch {
        let provider = SdkTracerProvider::builder().with_simple_exporter(self.clone()).build();
        let spans = tracing_opentelemetry::layer().with_tracer(provider.tracer("test"));
        Dispatch::new(tracing_subscriber::registry().with(spans))
    }

    /// The names of a span and of its parent.
    fn span(&self, name: &str) -> (SpanContext, SpanId) {
        let spans = self.0.lock().unwrap();
        let mut named = spans.iter().filter(|span| span.name == name);
        let (Some(span), None) = (named.next(), named.next()) else { panic!("{name}: {spans:?}") };
        (span.span_context.clone(), span.parent_span_id)
    }
}

fn submission(trace: Option<TraceParent>) -> Submission {
    let plan = Bytes::from_static(b"plan").into();
    let (id, misses) = (JobId::from_u128(1), MissPolicy::default());
    let terms = JobTerms::default();
    Submission { id, plan, batch_rows: 8192, discard: false, misses, terms, trace }
}

fn order(trace: Option<TraceParent>) -> Order {
    let stage = StageId { job: JobId::from_u128(1), index: 0 };
    let attempt = AttemptId { task: TaskId { stage, index: 2 }, number: 1 };
    let work = Work::DescribeStore(StoreSpec::new("s", MEMORY, "s.csv"));
    Order::Start(Box::new(Assignment { attempt, work, trace }))
}

/// What the job of a client becomes: a span in each of three processes, which know each other by
/// what travels.
fn run(client: &Dispatch, coordinator: &Dispatch, worker: &Dispatch) {
    let submitted = with_default(client, || {
        let span = tracing::error_span!("asked");
        bincode::encode(&submission(TraceParent::of(&span))).unwrap()
    });
    let ordered = with_default(coordinator, || {
        let submission: Submission = bincode::decode(&submitted).unwrap();
        let span = tracing::error_span!("planned");
        if let Some(trace) = submission.trace {
            trace.adopt(&span);
        }
        let trace = span.in_scope(TraceParent::current);
        bincode::encode(&order(trace)).unwrap()
    });
    with_default(worker, || {
        let order: Order = bincode::decode(&ordered).unwrap();
        let Order::Start(assignment) = order else { panic!("{order:?}") };
        let span = tracing::error_span!("done");
        if let Some(trace) = assignment.trace {
            trace.adopt(&span);
        }
        span.in_scope(|| ());
    });
}

#[test]
fn a_job_is_one_trace_over_client_coordinator_and_worker() {
    let taken = Taken::default();
    run(&taken.process(), &taken.process(), &taken.process());
    let ((asked, first), (planned, second), (done, third)) =
        (taken.span("asked"), taken.span("planned"), taken.span("done"));
    assert_eq!((planned.trace_id(), done.trace_id()), (asked.trace_id(), asked.trace_id()));
    assert_eq!((first, second, third), (SpanId::INVALID, asked.span_id(), planned.span_id()));
}

#[test]
fn where_nobody_takes_traces_none_travel_and_others_begin_their_own() {
    let (nobody, taken) = (Dispatch::none(), Taken::default());
    with_default(&nobody, || {
        let span = tracing::error_span!("asked");
        assert_eq!((TraceParent::of(&span), TraceParent::current()), (None, None));
    });
    run(&nobody, &taken.process(), &taken.process());
    let ((planned, first), (done, second)) = (taken.span("planned"), taken.span("done"));
    assert_eq!((first, second), (SpanId::INVALID, planned.span_id()));
    assert_eq!(done.trace_id(), planned.trace_id());
}

#[test]
fn a_name_that_is_none_begins_a_trace() {
    let taken = Taken::default();
    with_default(&taken.process(), || {
        for (trace, span) in [([0; 16], [1; 8]), ([1; 16], [0; 8])] {
            let child = tracing::error_span!("child");
            TraceParent { trace, span, flags: 0xff }.adopt(&child);
            assert_ne!(TraceParent::of(&child).unwrap().trace, trace);
        }
    });
}

#[test]
fn it_is_written_as_w3c_says() {
    let trace = u128::to_be_bytes(0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c);
    let span = u64::to_be_bytes(0xb7ad_6b71_6920_3331);
    let expected = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    assert_eq!(TraceParent { trace, span, flags: 1 }.to_string(), expected);
}
