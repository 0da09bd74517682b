//! What writes the log: it keeps what spans say, and writes a line of each event within them.

use std::io::Write;

use keyloom_common::log::LogFormat;
use tracing::{
    Event, Subscriber,
    span::{Attributes, Id, Record},
};
use tracing_subscriber::{
    Layer,
    fmt::MakeWriter,
    layer::Context,
    registry::{LookupSpan, Scope},
};

use super::{fields::Fields, line::Line};

/// Writes lines, each at once.
#[derive(Debug)]
pub(super) struct Lines<W> {
    pub(super) writer: W,
    pub(super) is_colored: bool,
    /// How lines are written from now on.
    pub(super) format: fn() -> LogFormat,
}

impl<S, W> Layer<S> for Lines<W>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    W: for<'a> MakeWriter<'a> + 'static,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        if let Some(span) = context.span(id) {
            span.extensions_mut().replace(fields);
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        if let Some(fields) = span.extensions_mut().get_mut::<Fields>() {
            values.record(fields);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut said = Fields::default();
        event.record(&mut said);
        let scope = context.event_scope(event).into_iter().flat_map(Scope::from_root);
        let spans: Vec<Fields> =
            scope.filter_map(|span| span.extensions().get::<Fields>().cloned()).collect();
        let metadata = event.metadata();
        let target = said.target.as_deref().unwrap_or(metadata.target());
        let line = Line { level: *metadata.level(), target, said: &said, spans: &spans };
        let line = line.write((self.format)(), self.is_colored);
        // Without a stderr there is nobody to tell.
        let _ = self.writer.make_writer().write_all(line.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io,
        sync::{Arc, Mutex},
    };

    use tracing::{Instrument, dispatcher::with_default, field::Empty};
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    /// What was written.
    #[derive(Clone, Debug, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// The lines of JSON that something logs.
    fn logged(log: impl FnOnce()) -> Vec<serde_json::Value> {
        let written = Written::default();
        let (kept, format) = (written.clone(), || LogFormat::Json);
        let lines = Lines { writer: move || kept.clone(), is_colored: false, format };
        with_default(&tracing_subscriber::registry().with(lines).into(), log);
        let bytes = written.0.lock().unwrap().clone();
        let text = String::from_utf8(bytes).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    #[test]
    fn lines_have_the_fields_of_the_spans_around_them() {
        let lines = logged(|| {
            let job = tracing::error_span!("job", job = 7, otel.kind = "server");
            let _job = job.enter();
            let attempt = tracing::error_span!("attempt", attempt = "7/0/1", tries = Empty);
            attempt.record("tries", 2);
            attempt.in_scope(|| tracing::warn!(rows = 3, "failed"));
            tracing::info!("done");
        });
        let [failed, done] = lines.as_slice() else { panic!("{lines:?}") };
        assert_eq!(failed["job"], 7);
        assert_eq!(failed["attempt"], "7/0/1");
        assert_eq!(failed["tries"], 2);
        assert_eq!(failed["rows"], 3);
        assert_eq!(failed["level"], "WARN");
        assert_eq!(failed["message"], "failed");
        assert_eq!(failed["target"], module_path!());
        assert_eq!(done["job"], 7);
        assert_eq!((done.get("attempt"), done.get("otel.kind")), (None, None));
    }

    #[test]
    fn what_runs_elsewhere_within_a_span_has_its_fields() {
        let lines = logged(|| {
            let span = tracing::error_span!("attempt", worker = "w");
            let work = async { tracing::info!("read") }.instrument(span);
            tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(work);
        });
        assert_eq!(lines.iter().map(|line| &line["worker"]).collect::<Vec<_>>(), [&"w"]);
    }
}
