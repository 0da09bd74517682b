//! From batches of rows to bytes: JSON, CSV or Arrow, piece by piece.

use std::mem::take;

use keyloom_client::datafusion::arrow::{
    array::RecordBatch, datatypes::Schema, ipc::writer::StreamWriter,
};
use keyloom_common::{
    Result,
    formats::{Columns, Lines, types},
};

/// The formats of rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RowsFormat {
    /// An array of objects, one a line.
    Json,
    /// Comma-separated values below a header line.
    Csv,
    /// A stream of Arrow IPC.
    Arrow,
}

impl RowsFormat {
    pub(super) fn media_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Csv => "text/csv; charset=utf-8",
            Self::Arrow => "application/vnd.apache.arrow.stream",
        }
    }
}

/// What makes bytes of batches.
pub(super) struct Writer {
    columns: Columns,
    form: Form,
}

enum Form {
    /// Lines, and what stands before the next ones.
    Lines(Lines, Vec<u8>),
    Arrow(Box<StreamWriter<Vec<u8>>>),
}

impl Writer {
    pub(super) fn try_new(format: RowsFormat, schema: &Schema) -> Result<Self> {
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

    pub(super) fn batch(&mut self, batch: RecordBatch) -> Result<Vec<u8>> {
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

    pub(super) fn end(&mut self) -> Result<Vec<u8>> {
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
    use std::sync::Arc;

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
