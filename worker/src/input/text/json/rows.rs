//! Rows of JSON text, one by one, with the lines they stand in.

use super::nesting::{Nesting, is_space};

/// Reads rows from text that comes in chunks, without understanding them.
#[derive(Default)]
pub(super) struct RowReader {
    row: Vec<u8>,
    nesting: Nesting,
    /// Whether a row has started, and has not ended.
    within: bool,
    /// How many lines ended before what comes next.
    lines: u64,
    line: u64,
}

impl RowReader {
    /// A reader of text before which a number of lines stand.
    pub(super) fn new(lines: u64) -> Self {
        Self { lines, ..Self::default() }
    }

    /// Reads on, to the end of a row at most: how many bytes it took, and whether a row ended. No
    /// bytes stand for the end of the text.
    pub(super) fn read(&mut self, input: &[u8]) -> (usize, bool) {
        let mut start = 0;
        if !self.within {
            let first = input.iter().position(|byte| !is_space(*byte));
            start = first.unwrap_or(input.len());
            self.lines += memchr::memchr_iter(b'\n', &input[..start]).count() as u64;
            if first.is_none() {
                return (start, false);
            }
            self.row.clear();
            (self.within, self.line, self.nesting) = (true, self.lines + 1, Nesting::default());
        }
        let ended = self.end(&input[start..]).map(|length| start + length);
        let text = &input[start..ended.unwrap_or(input.len())];
        self.row.extend_from_slice(text);
        self.lines += memchr::memchr_iter(b'\n', text).count() as u64;
        let done = ended.is_some() || input.is_empty();
        self.within = !done;
        (start + text.len(), done)
    }

    /// Where the row ends that has started: what is no object or list ends with its line.
    fn end(&mut self, input: &[u8]) -> Option<usize> {
        let first = self.row.first().or(input.first()).copied();
        let nested = matches!(first, Some(b'{' | b'['));
        for (at, byte) in input.iter().enumerate() {
            self.nesting.step(*byte);
            let ended = if nested { matches!(byte, b'}' | b']') } else { *byte == b'\n' };
            if ended && self.nesting.is_outside() {
                return Some(at + 1);
            }
        }
        None
    }

    /// The text of the row that has ended.
    pub(super) fn row(&self) -> &[u8] {
        &self.row
    }

    /// The line in which it starts, from 1.
    pub(super) fn line(&self) -> u64 {
        self.line
    }
}
