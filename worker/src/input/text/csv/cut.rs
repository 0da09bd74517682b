//! Where a CSV file may be cut: exactly where records start.
//!
//! Whether a line break ends a record depends on all quotes before it, so the file is read once. As
//! long as there are no quotes, any line break will do; from the first one on, csv-core tells.

use csv_core::{ReadRecordResult, Reader};
use futures::TryStreamExt;
use keyloom_common::{
    Result,
    input::{CsvOptions, Piece},
};
use object_store::{ObjectMeta, ObjectStore};

use super::records::{count_lines, parser};
use crate::input::text::source;

/// The pieces of a file: of about so many bytes, or longer if a record is.
///
/// # Errors
/// If the file cannot be read.
pub(in crate::input) async fn pieces(
    store: &dyn ObjectStore,
    file: &ObjectMeta,
    options: &CsvOptions,
    piece_bytes: u64,
) -> Result<Vec<Piece>> {
    if file.size == 0 {
        return Ok(Vec::new());
    }
    let whole = Piece { start: 0, rows: None, lines_before: 0 };
    if file.size <= piece_bytes {
        return Ok(vec![whole]);
    }
    let mut text = source::open(store, &file.location, 0..file.size).await?;
    if text.compressed {
        return Ok(vec![whole]);
    }
    let mut cutter = Cutter::new(options, file.size, piece_bytes.max(1), text.mark);
    while let Some(chunk) = text.chunks.try_next().await? {
        cutter.feed(&chunk);
    }
    Ok(cutter.pieces)
}

struct Cutter<'a> {
    options: &'a CsvOptions,
    size: u64,
    piece_bytes: u64,
    pieces: Vec<Piece>,
    /// The next piece starts at this byte of the file, or behind it.
    target: u64,
    /// Where the next chunk starts.
    at: u64,
    /// How many lines end before that.
    lines: u64,
    /// The byte before it.
    last: u8,
    machine: Option<Machine>,
}

impl<'a> Cutter<'a> {
    fn new(options: &'a CsvOptions, size: u64, piece_bytes: u64, mark: u64) -> Self {
        Self {
            options,
            size,
            piece_bytes,
            pieces: vec![Piece { start: 0, rows: None, lines_before: 0 }],
            target: piece_bytes,
            at: mark,
            lines: 0,
            last: b'\n',
            machine: options.comment.is_some().then(|| Machine::new(options, b'\n')),
        }
    }

    fn feed(&mut self, chunk: &[u8]) {
        if self.machine.is_none() && memchr::memchr(self.options.quote, chunk).is_some() {
            self.machine = Some(Machine::new(self.options, self.last));
        }
        // Lines are counted up to here.
        let mut counted = 0;
        let mut machine = self.machine.take();
        loop {
            let start = match &mut machine {
                Some(machine) => machine.next_start(chunk),
                None => self.next_line(chunk),
            };
            let Some(start) = start else { break };
            if self.at + start as u64 >= self.target {
                self.lines += count_lines(&chunk[counted..start]);
                counted = start;
                self.cut(self.at + start as u64);
            }
        }
        self.machine = machine.map(Machine::rewind);
        self.lines += count_lines(&chunk[counted..]);
        self.at += chunk.len() as u64;
        self.last = chunk.last().copied().unwrap_or(self.last);
    }

    /// The first start of a line in a chunk that may be cut at.
    fn next_line(&self, chunk: &[u8]) -> Option<usize> {
        let from = usize::try_from(self.target.saturating_sub(self.at)).ok()?.saturating_sub(1);
        let found = memchr::memchr(b'\n', chunk.get(from..)?)?;
        Some(from + found + 1)
    }

    fn cut(&mut self, start: u64) {
        if start < self.size {
            self.pieces.push(Piece { start, rows: None, lines_before: self.lines });
        }
        self.target = start + self.piece_bytes;
    }
}

/// csv-core's state machine, asked for nothing but where records end.
struct Machine {
    parser: Reader,
    /// Where it writes what is not asked for.
    values: Vec<u8>,
    ends: Vec<usize>,
    /// How much of the chunk was read.
    read: usize,
    /// The byte that ended a record, as long as it is not known where the next one starts.
    ended: Option<u8>,
}

impl Machine {
    /// The machine in the state that it has behind a byte in text without quotes and comments.
    fn new(options: &CsvOptions, last: u8) -> Self {
        let mut parser = parser(options);
        parser.read_record(&[last], &mut [0], &mut [0]);
        Self { parser, values: vec![0; 1 << 14], ends: vec![0; 1 << 8], read: 0, ended: None }
    }

    fn rewind(self) -> Self {
        Self { read: 0, ..self }
    }

    /// Where the next record starts in the chunk.
    fn next_start(&mut self, chunk: &[u8]) -> Option<usize> {
        while self.read < chunk.len() {
            if let Some(last) = self.ended.take() {
                let broken = last == b'\r' && chunk[self.read] == b'\n';
                return Some(self.read + usize::from(broken));
            }
            let rest = &chunk[self.read..];
            let (result, read, ..) =
                self.parser.read_record(rest, &mut self.values, &mut self.ends);
            self.read += read;
            if result == ReadRecordResult::Record {
                self.ended = Some(chunk[self.read - 1]);
            }
        }
        None
    }
}
