//! From pieces of files to the partitions of a scan: large files are cut, small ones put together.
//!
//! The number of workers plays no part: the same files give the same tasks everywhere.

use keyloom_common::{
    input::{InputDescription, InputFile},
    plan::{FileSlice, ScanPartition},
};

use crate::settings::Settings;

/// How much makes a partition.
#[derive(Clone, Copy, Debug)]
struct Measure {
    rows: u64,
    bytes: u64,
    files: usize,
}

/// A partition under construction.
#[derive(Debug, Default)]
struct Open {
    slices: Vec<FileSlice>,
    rows: u64,
    bytes: u64,
}

/// The partitions, in the order of the rows. None if there is nothing to read.
pub(super) fn partitions(
    description: &InputDescription,
    settings: &Settings,
) -> Vec<ScanPartition> {
    let measure = Measure::of(description, settings);
    let mut done = Vec::new();
    let mut open = Open::default();
    for file in &description.files {
        for slice in slices(file) {
            if !open.has_room(&slice, measure) {
                done.push(std::mem::take(&mut open));
            }
            open.add(slice);
        }
    }
    done.push(open);
    let filled = done.into_iter().filter(|partition| !partition.slices.is_empty());
    filled.map(|Open { slices, .. }| ScanPartition { slices, rows: None }).collect()
}

/// The pieces of a file.
fn slices(file: &InputFile) -> impl Iterator<Item = FileSlice> {
    file.pieces.iter().enumerate().map(|(index, piece)| FileSlice {
        path: file.path.clone(),
        size: file.size,
        e_tag: file.e_tag.clone(),
        modified_ns: file.modified_ns,
        partition_values: file.partition_values.clone(),
        bytes: piece.start..file.pieces.get(index + 1).map_or(file.size, |next| next.start),
        rows: piece.rows,
        lines_before: piece.lines_before,
    })
}

impl Measure {
    /// What the settings say, or more where there would be too many tasks.
    fn of(description: &InputDescription, settings: &Settings) -> Self {
        let most = settings.max_tasks.max(1) as u64;
        let files = description.files.iter();
        let pieces = || description.files.iter().flat_map(|file| &file.pieces);
        let rows: u64 = pieces().filter_map(|piece| piece.rows).sum();
        let bytes: u64 = files.map(|file| file.size).sum();
        Self {
            rows: (settings.task_rows as u64).max(rows.div_ceil(most)),
            bytes: settings.task_bytes.max(bytes.div_ceil(most)),
            files: settings.task_files.max(description.files.len().div_ceil(most as usize)),
        }
    }
}

impl Open {
    /// Whether a slice fits, too. An empty partition has room for any.
    fn has_room(&self, slice: &FileSlice, measure: Measure) -> bool {
        if self.slices.is_empty() {
            return true;
        }
        let same_file = self.slices.last().is_some_and(|last| last.path == slice.path);
        let files = self.slices.len() < measure.files || same_file;
        files
            && match slice.rows {
                Some(rows) => self.rows + rows <= measure.rows,
                None => self.bytes + (slice.bytes.end - slice.bytes.start) <= measure.bytes,
            }
    }

    /// Adds a slice, to the one before if it is the next of the same file.
    fn add(&mut self, slice: FileSlice) {
        self.rows += slice.rows.unwrap_or(0);
        self.bytes += slice.bytes.end - slice.bytes.start;
        match self.slices.last_mut() {
            Some(last) if last.path == slice.path && last.bytes.end == slice.bytes.start => {
                last.bytes.end = slice.bytes.end;
                last.rows = last.rows.zip(slice.rows).map(|(before, more)| before + more);
            }
            _ => self.slices.push(slice),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::datatypes::Schema;
    use keyloom_common::input::{Fingerprint, Layout, Location, Piece};

    use super::*;

    fn file(path: &str, size: u64, pieces: &[(u64, Option<u64>)]) -> InputFile {
        let piece =
            |&(start, rows): &(u64, Option<u64>)| Piece { start, rows, lines_before: start };
        InputFile {
            path: path.to_owned(),
            size,
            e_tag: None,
            modified_ns: 0,
            partition_values: Vec::new(),
            pieces: pieces.iter().map(piece).collect(),
        }
    }

    /// The partitions as paths and bytes.
    fn cut(files: Vec<InputFile>, settings: &Settings) -> Vec<Vec<(String, u64, u64)>> {
        let schema = Arc::new(Schema::empty());
        let description = InputDescription {
            layout: Layout::Parquet,
            file_schema: Arc::clone(&schema),
            partition_schema: schema,
            location: Location { url: "file:///".to_owned(), profile: None },
            files,
            fragments: Vec::new(),
            fingerprint: Fingerprint([0; 32]),
        };
        let slice = |slice: FileSlice| (slice.path, slice.bytes.start, slice.bytes.end);
        let partitions = partitions(&description, settings).into_iter();
        partitions.map(|partition| partition.slices.into_iter().map(slice).collect()).collect()
    }

    fn settings() -> Settings {
        Settings { task_rows: 10, task_bytes: 100, task_files: 3, ..Settings::default() }
    }

    fn whole(path: &str, end: u64) -> (String, u64, u64) {
        (path.to_owned(), 0, end)
    }

    #[test]
    fn pieces_of_a_file_are_put_together_up_to_their_measure() {
        let rows = vec![file("a", 90, &[(0, Some(4)), (30, Some(6)), (60, Some(1))])];
        let part = |start, end| ("a".to_owned(), start, end);
        assert_eq!(cut(rows, &settings()), [vec![part(0, 60)], vec![part(60, 90)]]);
        let bytes = vec![file("a", 250, &[(0, None), (60, None), (100, None), (180, None)])];
        let expected = [vec![part(0, 100)], vec![part(100, 180)], vec![part(180, 250)]];
        assert_eq!(cut(bytes, &settings()), expected);
    }

    #[test]
    fn small_files_are_put_together_by_bytes_and_number() {
        let names = ["a", "b", "c", "d"];
        let small = names.map(|name| file(name, 10, &[(0, None)])).to_vec();
        let expected = [vec![whole("a", 10), whole("b", 10), whole("c", 10)], vec![whole("d", 10)]];
        assert_eq!(cut(small, &settings()), expected);
        let larger = names.map(|name| file(name, 60, &[(0, None)])).to_vec();
        assert_eq!(cut(larger, &settings()), names.map(|name| vec![whole(name, 60)]));
    }

    #[test]
    fn the_measure_grows_where_there_would_be_too_many_tasks() {
        let settings = Settings { max_tasks: 2, ..settings() };
        let many: Vec<_> = (0..9).map(|n| file(&n.to_string(), 100, &[(0, None)])).collect();
        let lengths: Vec<_> = cut(many, &settings).iter().map(Vec::len).collect();
        assert_eq!(lengths, [4, 4, 1]);
    }

    #[test]
    fn nothing_to_read_makes_no_partition() {
        assert!(cut(vec![file("a", 0, &[])], &settings()).is_empty());
    }
}
