//! An Arrow IPC stream from its chunks, with nothing allocated that the chunks do not hold.
//!
//! Messages are told apart here, since Arrow's own decoder does not let anybody look at them before
//! it reads them.

use std::{
    collections::HashMap,
    fmt, mem,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use arrow::{
    array::{ArrayRef, RecordBatch},
    buffer::{Buffer, MutableBuffer},
    datatypes::SchemaRef,
};
use arrow_ipc::{
    Message, MessageHeader,
    convert::fb_to_schema,
    reader::{read_dictionary, read_record_batch},
};
use bytes::{Buf, Bytes};

use super::check::{check_dictionary, check_rows, check_schema, check_type, parse};
use crate::error::{Error, Result};

/// The bytes before the head of a message, in numbers of 4 bytes, little endian: a marker of ones,
/// and the length of the head.
const START_BYTES: usize = 8;

/// The longest head of a message.
const MAX_HEAD_BYTES: usize = 256 << 20;

/// Reads one Arrow IPC stream from chunks. Bad bytes are an error, never a panic.
#[derive(Debug, Default)]
pub struct Decoder {
    part: Part,
    /// What there is of the part, if it does not stand in one chunk.
    pending: MutableBuffer,
    schema: Option<SchemaRef>,
    dictionaries: HashMap<i64, ArrayRef>,
}

/// How a stream goes on.
#[derive(Debug, Default)]
enum Part {
    /// With the start of a message, or the end.
    #[default]
    Start,
    /// With the head of a message, which is of so many bytes.
    Head(usize),
    /// With the body of a message, of which this is the head. It is of so many bytes.
    Body(Buffer, usize),
    /// It does not: it has ended, or an error was found in it.
    End,
}

/// What a message held.
enum Read {
    Rows(RecordBatch),
    /// The schema, or values of a dictionary.
    Other,
}

impl Decoder {
    /// A decoder at the start of a stream.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next chunk and returns the batches that it completes. After an error, no more are
    /// taken.
    ///
    /// # Errors
    /// `internal` if the bytes are not Arrow IPC as it is written here.
    pub fn push(&mut self, chunk: Bytes) -> Result<Vec<RecordBatch>> {
        let mut chunk = Buffer::from(chunk);
        let mut batches = Vec::new();
        while let Some(read) = self.next(&mut chunk)? {
            if let Read::Rows(batch) = read {
                batches.push(batch);
            }
        }
        Ok(batches)
    }

    /// The schema, once its message has come.
    pub fn schema(&self) -> Option<SchemaRef> {
        self.schema.clone()
    }

    /// Whether the stream may end where it is.
    fn is_complete(&self) -> bool {
        match self.part {
            Part::Start => self.pending.is_empty(),
            Part::Head(_) | Part::Body(..) => false,
            Part::End => true,
        }
    }

    /// Reads the next message, unless the chunk ends before it does.
    fn next(&mut self, chunk: &mut Buffer) -> Result<Option<Read>> {
        while let Some(bytes) = self.take(chunk)? {
            // It stays at its end if there is an error.
            self.part = match mem::replace(&mut self.part, Part::End) {
                Part::Start => after_start(&bytes)?,
                Part::Head(_) => after_head(bytes)?,
                Part::Body(head, _) => {
                    let read = self.read(&head, &bytes)?;
                    self.part = Part::Start;
                    return Ok(Some(read));
                }
                Part::End => Part::End,
            };
        }
        Ok(None)
    }

    /// Takes the part at hand from the chunk, once it is whole.
    fn take(&mut self, chunk: &mut Buffer) -> Result<Option<Buffer>> {
        let length = match self.part {
            Part::Start => START_BYTES,
            Part::Head(length) | Part::Body(_, length) => length,
            Part::End if chunk.is_empty() => return Ok(None),
            Part::End => return Err(bad("it goes on after its end")),
        };
        if self.pending.is_empty() && chunk.len() >= length {
            let part = chunk.slice_with_length(0, length);
            chunk.advance(length);
            return Ok(Some(part));
        }
        let taken = (length - self.pending.len()).min(chunk.len());
        self.pending.extend_from_slice(&chunk.as_slice()[..taken]);
        chunk.advance(taken);
        if self.pending.len() < length {
            return Ok(None);
        }
        Ok(Some(mem::take(&mut self.pending).into()))
    }

    fn read(&mut self, head: &[u8], body: &Buffer) -> Result<Read> {
        let message = parse(head)?;
        // Arrow panics at types that there are not, and at parts that a peer has left out.
        let read = || match message.header_type() {
            MessageHeader::Schema => self.read_schema(&message, head.len()),
            MessageHeader::RecordBatch => self.read_rows(&message, body).map(Read::Rows),
            MessageHeader::DictionaryBatch => self.read_dictionary(&message, body),
            _ => Err(bad("a message that is neither a schema nor rows")),
        };
        catch_unwind(AssertUnwindSafe(read)).unwrap_or_else(|_| Err(bad("malformed message")))
    }

    fn read_schema(&mut self, message: &Message<'_>, head_bytes: usize) -> Result<Read> {
        if self.schema.is_some() {
            return Err(bad("a second schema"));
        }
        let schema = message.header_as_schema().ok_or_else(no_header)?;
        check_schema(schema, head_bytes)?;
        let schema = fb_to_schema(schema);
        schema.fields().iter().try_for_each(|field| check_type(field.data_type()))?;
        self.schema = Some(Arc::new(schema));
        Ok(Read::Other)
    }

    fn read_rows(&self, message: &Message<'_>, body: &Buffer) -> Result<RecordBatch> {
        let rows = message.header_as_record_batch().ok_or_else(no_header)?;
        check_rows(rows, body.len())?;
        let (schema, version) = (self.known_schema()?, message.version());
        read_record_batch(body, rows, Arc::clone(schema), &self.dictionaries, None, &version)
            .map_err(bad)
    }

    fn read_dictionary(&mut self, message: &Message<'_>, body: &Buffer) -> Result<Read> {
        let dictionary = message.header_as_dictionary_batch().ok_or_else(no_header)?;
        check_dictionary(dictionary, body.len())?;
        let (schema, version) = (Arc::clone(self.known_schema()?), message.version());
        read_dictionary(body, dictionary, &schema, &mut self.dictionaries, &version)
            .map_err(bad)?;
        Ok(Read::Other)
    }

    fn known_schema(&self) -> Result<&SchemaRef> {
        self.schema.as_ref().ok_or_else(|| bad("rows before their schema"))
    }
}

fn after_start(mut bytes: &[u8]) -> Result<Part> {
    let (marker, length) = (bytes.get_u32_le(), bytes.get_u32_le() as usize);
    match length {
        _ if marker != u32::MAX => Err(bad("no message where one should be")),
        0 => Ok(Part::End),
        1..=MAX_HEAD_BYTES => Ok(Part::Head(length)),
        _ => Err(bad(format_args!("a message whose head is of {length} bytes"))),
    }
}

fn after_head(head: Buffer) -> Result<Part> {
    let length = parse(&head)?.bodyLength();
    let body = usize::try_from(length);
    let body = body.map_err(|_| bad(format_args!("a message whose body is of {length} bytes")))?;
    Ok(Part::Body(head, body))
}

fn no_header() -> Error {
    bad("a message without what it is of")
}

pub(super) fn bad(what: impl fmt::Display) -> Error {
    Error::internal(format!("bad Arrow IPC from a peer: {what}"))
}

/// Reads a whole stream that is in one piece.
///
/// # Errors
/// `internal` if the bytes are not a complete Arrow IPC stream.
pub fn decode_all(stream: Bytes) -> Result<(SchemaRef, Vec<RecordBatch>)> {
    let mut decoder = Decoder::new();
    let batches = decoder.push(stream)?;
    if !decoder.is_complete() {
        return Err(bad("it breaks off"));
    }
    Ok((decoder.schema.ok_or_else(no_schema)?, batches))
}

/// Reads the schema of a stream and no rows.
///
/// # Errors
/// `internal` if the bytes do not begin with one.
pub fn decode_schema(stream: Bytes) -> Result<SchemaRef> {
    let mut decoder = Decoder::new();
    let mut stream = Buffer::from(stream);
    while decoder.schema.is_none() && decoder.next(&mut stream)?.is_some() {}
    decoder.schema.ok_or_else(no_schema)
}

fn no_schema() -> Error {
    bad("it has no schema")
}

#[cfg(test)]
mod tests;
