//! The rows of a job without an output: streamed once, as they are decoded, so that there are never
//! more than a few batches of them in memory. What breaks on the way breaks the connection off:
//! no reader takes a part for the whole.

use std::{mem::take, sync::Arc};

use axum::{
    Extension,
    body::Body,
    extract::{Path, Query, State, rejection::QueryRejection},
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
};
use futures::{StreamExt, TryStreamExt, stream};
use keyloom_client::{
    Job,
    datafusion::arrow::{array::RecordBatch, datatypes::Schema, ipc::writer::StreamWriter},
};
use keyloom_common::{
    Error, ErrorKind, Result,
    formats::{Columns, Lines, types},
    report::{JobInfo, JobState},
    rpc::Identity,
};
use keyloom_program::http::Refusal;
use serde::Deserialize;
use tokio::time::{Instant, timeout_at};
use utoipa::ToSchema;

use super::{
    Api,
    document::{Refusals, Row},
    jobs::parsed,
};

/// How rows are read.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RowsQuery {
    #[serde(default)]
    format: RowsFormat,
}

/// The formats of rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum RowsFormat {
    /// An array of objects, one a line.
    #[default]
    Json,
    /// Comma-separated values below a header line.
    Csv,
    /// A stream of Arrow IPC.
    Arrow,
}

/// Read a job's rows
///
/// Those of a job that is done and has no output. They are there once, and for a while.
#[utoipa::path(
    get,
    path = "/v1/jobs/{id}/results",
    tag = "jobs",
    params(
        ("id" = String, Path, description = "The job's id."),
        ("format" = Option<RowsFormat>, Query, description = "Default `json`.")
    ),
    responses(
        (status = 200, description = "The rows, in order.", content(
            (Vec<Row> = "application/json"),
            (String = "text/csv"),
            (Vec<u8> = "application/vnd.apache.arrow.stream")
        )),
        Refusals,
    )
)]
pub(super) async fn read_rows(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Identity>,
    Path(id): Path<String>,
    query: Result<Query<RowsQuery>, QueryRejection>,
) -> Result<Response, Refusal> {
    let Query(RowsQuery { format }) = query.map_err(|error| Error::invalid(error.body_text()))?;
    let session = api.session(&caller)?;
    let job = session.attach_job(parsed(&id)?).await?;
    check(&job.info().await?)?;
    let job = job.results().await?;
    let deadline = Instant::now() + api.settings.results_timeout();
    let writer = Writer::try_new(format, job.schema())?;
    let mut rows = Rows { job, writer, deadline, is_over: false };
    // What is wrong from the beginning has a status.
    let first = rows.piece().await?;
    let rest = stream::try_unfold(rows, async |mut rows| {
        Ok::<_, Error>(rows.piece().await?.map(|piece| (piece, rows)))
    });
    let rest = rest.inspect_err(|error| tracing::warn!(%error, "rows over HTTP were broken off"));
    let body = Body::from_stream(stream::iter(first.map(Ok::<_, Error>)).chain(rest));
    Ok(([(CONTENT_TYPE, format.media_type())], body).into_response())
}

/// Refuses to read the rows of a job that has none, or does not have all of them yet.
fn check(job: &JobInfo) -> Result<(), Refusal> {
    let id = job.id;
    let conflict =
        |message: String| Err(Refusal::new(StatusCode::CONFLICT, ErrorKind::Invalid, message));
    if let Some(output) = &job.output {
        return conflict(format!("the rows of job {id} are in {output}"));
    }
    match job.state {
        JobState::Done => Ok(()),
        JobState::Queued | JobState::Running => {
            conflict(format!("job {id} is {}: ask for its rows once it is done", job.state.name()))
        }
        JobState::Failed | JobState::Cancelled | JobState::Interrupted => {
            let why = job.error.as_ref().map(|error| format!(": {}", error.message()));
            let why = why.unwrap_or_default();
            conflict(format!("job {id} has no rows, it is {}{why}", job.state.name()))
        }
    }
}

impl RowsFormat {
    fn media_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Csv => "text/csv; charset=utf-8",
            Self::Arrow => "application/vnd.apache.arrow.stream",
        }
    }
}

/// Rows on their way.
struct Rows {
    job: Job,
    writer: Writer,
    deadline: Instant,
    is_over: bool,
}

impl Rows {
    /// The next piece of the text or the stream.
    async fn piece(&mut self) -> Result<Option<Vec<u8>>> {
        while !self.is_over {
            let batch = timeout_at(self.deadline, self.job.next_batch()).await;
            let batch = batch.map_err(|_| {
                Error::timeout("the rows were not read in http_jobs.results_timeout_ms")
            })?;
            let piece = match batch? {
                Some(batch) => self.writer.batch(batch)?,
                None => {
                    self.is_over = true;
                    self.writer.end()?
                }
            };
            if !piece.is_empty() {
                return Ok(Some(piece));
            }
        }
        Ok(None)
    }
}

/// What makes bytes of batches.
struct Writer {
    columns: Columns,
    form: Form,
}

enum Form {
    /// Lines, and what stands before the next ones.
    Lines(Lines, Vec<u8>),
    Arrow(Box<StreamWriter<Vec<u8>>>),
}

impl Writer {
    fn try_new(format: RowsFormat, schema: &Schema) -> Result<Self> {
        let lines = |lines: Lines| -> Result<Self> {
            let columns = Columns::try_new(schema, lines.rule())?;
            let before = match lines {
                Lines::Csv => lines.head(columns.written()),
                Lines::Json => b"[".to_vec(),
            };
            Ok(Self { columns, form: Form::Lines(lines, before) })
        };
        match format {
            RowsFormat::Json => lines(Lines::Json),
            RowsFormat::Csv => lines(Lines::Csv),
            RowsFormat::Arrow => {
                let columns = Columns::try_new(schema, types::arrow)?;
                let writer = StreamWriter::try_new(Vec::new(), columns.written())?;
                Ok(Self { columns, form: Form::Arrow(Box::new(writer)) })
            }
        }
    }

    fn batch(&mut self, batch: RecordBatch) -> Result<Vec<u8>> {
        let batch = self.columns.convert(batch)?;
        match &mut self.form {
            Form::Lines(..) if batch.num_rows() == 0 => Ok(Vec::new()),
            Form::Lines(lines, before) => {
                let mut text = Vec::new();
                lines.rows(&batch, &mut text)?;
                Ok(match lines {
                    Lines::Csv => [take(before), text].concat(),
                    Lines::Json => {
                        let before = std::mem::replace(before, b",\n".to_vec());
                        [before, listed(text)].concat()
                    }
                })
            }
            Form::Arrow(writer) => {
                writer.write(&batch)?;
                Ok(take(writer.get_mut()))
            }
        }
    }

    fn end(&mut self) -> Result<Vec<u8>> {
        match &mut self.form {
            Form::Lines(Lines::Csv, before) => Ok(take(before)),
            Form::Lines(Lines::Json, before) => {
                let opens = before.starts_with(b"[");
                Ok(if opens { b"[]\n".to_vec() } else { b"]\n".to_vec() })
            }
            Form::Arrow(writer) => {
                writer.finish()?;
                Ok(take(writer.get_mut()))
            }
        }
    }
}

/// Lines of objects as members of an array: within values, no line ends.
fn listed(lines: Vec<u8>) -> Vec<u8> {
    let lines = lines.strip_suffix(b"\n").unwrap_or(&lines);
    lines.split(|byte| *byte == b'\n').collect::<Vec<_>>().join(&b",\n"[..])
}

#[cfg(test)]
mod tests {
    use keyloom_client::datafusion::arrow::{
        array::{ArrayRef, Int64Array, StringArray},
        ipc::reader::StreamReader,
    };

    use super::*;

    fn batch(numbers: &[i64], texts: &[Option<&str>]) -> RecordBatch {
        let columns: [(&str, ArrayRef, bool); 2] = [
            ("n", Arc::new(Int64Array::from(numbers.to_vec())), true),
            ("text", Arc::new(StringArray::from(texts.to_vec())), true),
        ];
        RecordBatch::try_from_iter_with_nullable(columns).unwrap()
    }

    fn written(format: RowsFormat, batches: &[RecordBatch]) -> Vec<u8> {
        let mut writer = Writer::try_new(format, &batch(&[], &[]).schema()).unwrap();
        let pieces = batches.iter().map(|batch| writer.batch(batch.clone()).unwrap());
        let mut bytes = pieces.collect::<Vec<_>>().concat();
        bytes.extend(writer.end().unwrap());
        bytes
    }

    fn batches() -> [RecordBatch; 3] {
        [batch(&[1, 2], &[Some("a\nb"), None]), batch(&[], &[]), batch(&[3], &[Some("c,d")])]
    }

    #[test]
    fn json_is_one_array_of_all_rows() {
        let text = String::from_utf8(written(RowsFormat::Json, &batches())).unwrap();
        let lines =
            [r#"[{"n":1,"text":"a\nb"},"#, r#"{"n":2,"text":null},"#, r#"{"n":3,"text":"c,d"}]"#];
        assert_eq!(text, lines.join("\n") + "\n");
        assert_eq!(written(RowsFormat::Json, &[]), b"[]\n");
    }

    #[test]
    fn csv_has_its_head_once_and_without_rows() {
        let text = String::from_utf8(written(RowsFormat::Csv, &batches())).unwrap();
        assert_eq!(text, "n,text\n1,\"a\nb\"\n2,\n3,\"c,d\"\n");
        assert_eq!(written(RowsFormat::Csv, &[]), b"n,text\n");
    }

    #[test]
    fn arrow_is_one_stream() {
        for batches in [&batches()[..], &[]] {
            let bytes = written(RowsFormat::Arrow, batches);
            let read = StreamReader::try_new(bytes.as_slice(), None).unwrap();
            assert_eq!(read.schema(), batch(&[], &[]).schema());
            let rows: usize = read.map(|batch| batch.unwrap().num_rows()).sum();
            assert_eq!(rows, batches.iter().map(RecordBatch::num_rows).sum::<usize>());
        }
    }
}
