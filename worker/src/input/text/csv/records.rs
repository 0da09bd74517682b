//! Records of CSV text, one by one, with the lines they stand in.
//!
//! csv-core tells values and records apart, as it does within Arrow's reader.

use csv_core::{ReadRecordResult, Reader, ReaderBuilder};
use keyloom_common::input::CsvOptions;

/// A state machine at the start of a record.
pub(super) fn parser(options: &CsvOptions) -> Reader {
    let mut parser = ReaderBuilder::new()
        .delimiter(options.delimiter)
        .quote(options.quote)
        .escape(options.escape)
        .comment(options.comment)
        .build();
    pass_over_mark(&mut parser);
    parser
}

/// It would take a mark of the byte order away wherever it starts.
fn pass_over_mark(parser: &mut Reader) {
    parser.read_record(b"\n", &mut [0], &mut [0]);
}

/// How many lines end within some bytes.
pub(super) fn count_lines(bytes: &[u8]) -> u64 {
    memchr::memchr_iter(b'\n', bytes).count() as u64
}

/// Reads records from text that comes in chunks.
pub(super) struct RecordReader {
    parser: Reader,
    comment: Option<u8>,
    values: Vec<u8>,
    filled: usize,
    ends: Vec<usize>,
    fields: usize,
    /// How many lines ended before what comes next.
    lines: u64,
    line: u64,
    place: Place,
}

/// What comes next.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Between,
    InComment,
    InRecord,
}

impl RecordReader {
    /// A reader of text before which a number of lines stand.
    pub(super) fn new(options: &CsvOptions, lines: u64) -> Self {
        Self {
            parser: parser(options),
            comment: options.comment,
            values: vec![0; 1024],
            filled: 0,
            ends: vec![0; 64],
            fields: 0,
            lines,
            line: lines + 1,
            place: Place::Between,
        }
    }

    /// The same reader for other text: to make one takes longer than to read a small file. (Clones
    /// of csv-core's state machine do not know its delimiter.)
    pub(super) fn restart(&mut self, lines: u64) {
        self.parser.reset();
        pass_over_mark(&mut self.parser);
        (self.filled, self.fields) = (0, 0);
        (self.lines, self.line) = (lines, lines + 1);
        self.place = Place::Between;
    }

    /// Reads on, to the end of a record at most: how many bytes it took, and whether a record
    /// ended. No bytes stand for the end of the text.
    pub(super) fn read(&mut self, input: &[u8]) -> (usize, bool) {
        let mut used = 0;
        if self.place != Place::InRecord {
            used = self.skip(input);
            if self.place != Place::InRecord {
                return (used, false);
            }
            (self.filled, self.fields, self.line) = (0, 0, self.lines + 1);
        }
        loop {
            let values = &mut self.values[self.filled..];
            let ends = &mut self.ends[self.fields..];
            let (result, read, written, ended) =
                self.parser.read_record(&input[used..], values, ends);
            self.lines += count_lines(&input[used..used + read]);
            (used, self.filled, self.fields) =
                (used + read, self.filled + written, self.fields + ended);
            match result {
                ReadRecordResult::InputEmpty | ReadRecordResult::End => return (used, false),
                ReadRecordResult::OutputFull => self.values.resize(2 * self.values.len(), 0),
                ReadRecordResult::OutputEndsFull => self.ends.resize(2 * self.ends.len(), 0),
                ReadRecordResult::Record => {
                    self.place = Place::Between;
                    return (used, true);
                }
            }
        }
    }

    /// Passes over what stands between records: line breaks and comments.
    fn skip(&mut self, input: &[u8]) -> usize {
        for (at, byte) in input.iter().enumerate() {
            match byte {
                b'\n' => {
                    self.lines += 1;
                    self.place = Place::Between;
                }
                _ if self.place == Place::InComment || *byte == b'\r' => {}
                _ if self.comment == Some(*byte) => self.place = Place::InComment,
                _ => {
                    self.place = Place::InRecord;
                    return at;
                }
            }
        }
        input.len()
    }

    /// How many lines ended before what comes next.
    pub(super) fn lines(&self) -> u64 {
        self.lines
    }

    /// Whether a record has started, and has not ended.
    pub(super) fn is_within(&self) -> bool {
        self.place == Place::InRecord
    }

    /// The line in which the last record starts, from 1.
    pub(super) fn line(&self) -> u64 {
        self.line
    }

    /// The values of the record that has ended, or of its beginning.
    pub(super) fn values(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        (0..self.fields).map(|index| {
            let start = if index == 0 { 0 } else { self.ends[index - 1] };
            &self.values[start..self.ends[index]]
        })
    }
}
