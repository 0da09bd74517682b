//! The rows of a slice of a CSV file.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use arrow::{
    array::{RecordBatch, RecordBatchOptions, new_null_array},
    csv::{ReaderBuilder, reader::Decoder, reader::Format},
    datatypes::{DataType, Field, Schema, SchemaRef},
    error::ArrowError,
};
use bytes::Bytes;
use futures::{
    StreamExt, TryStreamExt,
    stream::{self, BoxStream},
};
use keyloom_common::{Error, Result, input::CsvOptions, plan::FileSlice};
use object_store::{ObjectStore, path::Path};

use super::{
    convert::{convert, decoded},
    header,
    misfit::{self, Wanted},
    nulls,
    records::{RecordReader, count_lines},
    unproven::{self, Decoded},
};
use crate::input::text::{
    chunks::Chunks,
    error::{at_line, parse_path},
    source::{self, Text},
};

/// Reads a slice that starts where a record does. The schema has all columns of the table; a column
/// that the file does not have is null. At most `batch_rows` rows come at once.
///
/// # Errors
/// If the file cannot be read, or its header names a column that the table does not have. The
/// stream fails at the first row that does not fit, with its line.
pub(in crate::input) async fn open(
    store: Arc<dyn ObjectStore>,
    slice: FileSlice,
    options: CsvOptions,
    schema: SchemaRef,
    projection: Vec<usize>,
    batch_rows: usize,
) -> Result<BoxStream<'static, Result<RecordBatch>>> {
    let path = parse_path(&slice.path)?;
    let bytes = slice.bytes.start..slice.bytes.end.min(slice.size);
    let length = bytes.end.saturating_sub(bytes.start);
    let Text { mut chunks, compressed, .. } = source::open(&*store, &path, bytes).await?;
    let mut records = RecordReader::new(&options, 0);
    let (mut chunk, mut lines) = (Bytes::new(), slice.lines_before);
    let names = if !options.header {
        schema.fields().iter().map(|field| field.name().clone()).collect()
    } else if slice.bytes.start == 0 {
        let Some(header) = header::take(&mut chunks, &mut records, &path).await? else {
            return Ok(stream::empty().boxed());
        };
        (chunk, lines) = (header.rest, header.lines);
        header.names
    } else {
        header::look(&*store, &path, slice.size, &mut records).await?.unwrap_or_default()
    };
    let columns = Columns::new(&names, &schema, &projection, &path)?;
    let most = if compressed { usize::MAX } else { columns.most_rows(length) };
    let decoder = columns.decoder(&options, batch_rows.min(most))?;
    let reader = SliceReader {
        path,
        options,
        columns,
        chunks,
        chunk,
        ended: false,
        decoder,
        records,
        held: Vec::new(),
        lines,
    };
    Ok(stream::try_unfold(reader, |mut reader| async move {
        Ok(reader.next().await?.map(|batch| (batch, reader)))
    })
    .boxed())
}

/// Where the projected columns are in the records of a file.
struct Columns {
    /// The columns of the file, with types that Arrow's reader gives.
    file: SchemaRef,
    /// The projected columns of the file.
    wanted: Vec<Wanted>,
    /// For each projected column, which of the wanted ones it is, if the file has it.
    sources: Vec<Option<usize>>,
    /// What comes of it.
    projected: SchemaRef,
}

impl Columns {
    fn new(names: &[String], schema: &Schema, projection: &[usize], path: &Path) -> Result<Self> {
        let known: HashSet<_> = schema.fields().iter().map(|field| field.name()).collect();
        if let Some(name) = names.iter().find(|name| !known.contains(name)) {
            return Err(misfit::unknown(path, name));
        }
        let places: HashMap<_, _> =
            names.iter().enumerate().map(|(place, name)| (name.as_str(), place)).collect();
        let projected = Arc::new(schema.project(projection)?);
        let mut types = vec![DataType::Utf8; names.len()];
        let (mut wanted, mut sources) = (Vec::new(), Vec::new());
        for field in projected.fields() {
            let Some(place) = places.get(field.name().as_str()).copied() else {
                sources.push(None);
                continue;
            };
            let (name, data_type) = (field.name().clone(), field.data_type().clone());
            types[place] = decoded(&data_type).ok_or_else(|| {
                Error::invalid(format!("columns: '{name}' cannot be of type {data_type} in CSV"))
            })?;
            sources.push(Some(wanted.len()));
            wanted.push(Wanted { place, name, data_type });
        }
        let fields = names.iter().zip(types).map(|(name, of)| Field::new(name, of, true));
        let file = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        Ok(Self { file, wanted, sources, projected })
    }

    /// The most rows that some bytes of text hold: the decoder makes room for a whole batch.
    fn most_rows(&self, bytes: u64) -> usize {
        let columns = self.file.fields().len().max(1);
        usize::try_from(bytes).unwrap_or(usize::MAX) / columns + 1
    }

    fn decoder(&self, options: &CsvOptions, batch_rows: usize) -> Result<Decoder> {
        let mut format =
            Format::default().with_delimiter(options.delimiter).with_quote(options.quote);
        if let Some(escape) = options.escape {
            format = format.with_escape(escape);
        }
        if let Some(comment) = options.comment {
            format = format.with_comment(comment);
        }
        if let Some(nulls) = nulls::pattern(options)? {
            format = format.with_null_regex(nulls);
        }
        let mut decoder = ReaderBuilder::new(Arc::clone(&self.file))
            .with_format(format)
            .with_batch_size(batch_rows.max(1))
            .with_projection(self.wanted.iter().map(|column| column.place).collect())
            .build_decoder();
        // It would take a mark of the byte order away wherever a slice starts.
        decoder.decode(b"\n")?;
        Ok(decoder)
    }

    /// A batch of the projected columns from one of the wanted ones.
    fn project(&self, batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
        let rows = batch.num_rows();
        let columns =
            self.sources.iter().zip(self.projected.fields()).map(|(source, field)| match source {
                Some(index) => convert(batch.column(*index), field.data_type()),
                None => Ok(new_null_array(field.data_type(), rows)),
            });
        let columns = columns.collect::<Result<_, _>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        RecordBatch::try_new_with_options(Arc::clone(&self.projected), columns, &options)
    }
}

/// A slice that is being read.
struct SliceReader {
    path: Path,
    options: CsvOptions,
    columns: Columns,
    chunks: Chunks,
    /// What is left of the last chunk.
    chunk: Bytes,
    ended: bool,
    decoder: Decoder,
    records: RecordReader,
    /// The text of the rows that are in the decoder.
    held: Vec<Bytes>,
    /// How many lines stand before it.
    lines: u64,
}

impl SliceReader {
    async fn next(&mut self) -> Result<Option<RecordBatch>> {
        loop {
            while self.chunk.is_empty() && !self.ended {
                match self.chunks.try_next().await? {
                    Some(chunk) => self.chunk = chunk,
                    // csv-core takes a comment that the text ends with for a row, unless its line
                    // ends, too.
                    None => (self.ended, self.chunk) = (true, Bytes::from_static(b"\n")),
                }
            }
            // To the decoder, no bytes are the end of the text.
            let used = match self.decoder.decode(&self.chunk) {
                Ok(used) => used,
                Err(error) => {
                    self.held.push(self.chunk.clone());
                    return Err(self.misfit(&error));
                }
            };
            self.held.push(self.chunk.split_to(used));
            let at_end = self.ended && self.chunk.is_empty();
            if at_end {
                let (quote, records) = (self.options.quote, &mut self.records);
                misfit::check_end(&self.held, self.lines, &self.path, quote, records)?;
            }
            if at_end || self.decoder.capacity() == 0 {
                return self.flush();
            }
        }
    }

    fn flush(&mut self) -> Result<Option<RecordBatch>> {
        let decoded = self.decoder.flush().map_err(|error| self.misfit(&error))?;
        if let Some(batch) = &decoded {
            let decoded = Decoded { text: &self.held, lines: self.lines, batch };
            unproven::check(&decoded, &self.path, &self.options, &self.columns.wanted)?;
        }
        let batch = decoded.map(|batch| self.columns.project(&batch)).transpose();
        let batch = batch.map_err(|error| self.misfit(&error))?;
        self.lines += self.held.drain(..).map(|text| count_lines(&text)).sum::<u64>();
        Ok(batch)
    }

    /// Where the text that the decoder failed at is wrong.
    fn misfit(&self, error: &ArrowError) -> Error {
        let text = self.held.concat();
        let Columns { file, wanted, .. } = &self.columns;
        let columns = file.fields().len();
        misfit::find(&text, self.lines, &self.path, &self.options, columns, wanted)
            .unwrap_or_else(|| at_line(&self.path, self.lines + 1, format!("or later: {error}")))
    }
}
