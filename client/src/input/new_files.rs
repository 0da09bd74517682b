//! Files that were not read before: for jobs that come again and read what has come meanwhile.
//!
//! A file is known again by its name and by what it was like. One that has changed is a new one. Of
//! a Lance dataset, rows that are added come as fragments behind those that are there; where these
//! are not what they were, nobody can tell which rows are new.

use std::{collections::BTreeSet, sync::Arc};

use keyloom_common::{
    Error, Result,
    error::redact,
    input::{FragmentMark, InputDescription, Layout, Piece},
};
use serde::{Deserialize, Serialize};

use super::{FileTable, Input};
use crate::session::Session;

/// A file as it was when it was looked at, or a fragment of a Lance dataset.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileMark {
    /// Its path, or its URL; of a fragment, that of its dataset.
    pub file: String,
    /// Its size in bytes, or rows of a fragment.
    pub size: u64,
    /// What its object store knows its content by, if it says so; of a fragment, its files.
    pub e_tag: Option<String>,
    /// When it last changed, in nanoseconds since 1970; 0 of a fragment, which does not.
    pub modified_ns: i64,
}

impl Session {
    /// As [`Self::register`], of the files alone that are not among those that were read before.
    /// Which these are is settled now: they are returned, and all queries over the table read them
    /// and no others, or fail if one of them has changed.
    ///
    /// # Errors
    /// As [`Self::register`]; `invalid` if it is a Lance dataset of which rows that were read before
    /// were changed, deleted or moved.
    pub async fn register_new(
        &self,
        name: &str,
        input: impl Into<Input>,
        read: &BTreeSet<FileMark>,
    ) -> Result<Vec<FileMark>> {
        let input = input.into();
        let context = |error: Error| error.context(format!("input {}", redact(&input.path)));
        let spec = input.spec(self.link().settings.task_bytes).map_err(context)?;
        let table = FileTable::open(spec, self.link()).await?;
        let (table, new) = table.only_new(read).map_err(context)?;
        self.register_table(name, Arc::new(table))?;
        Ok(new)
    }
}

/// What there is without what was read before, and the marks of what is left.
pub(super) fn without(
    mut description: InputDescription,
    read: &BTreeSet<FileMark>,
) -> Result<(InputDescription, Vec<FileMark>)> {
    if matches!(description.layout, Layout::Lance(_)) {
        return appended(description, read);
    }
    let (mut files, mut marks) = (Vec::new(), Vec::new());
    for file in std::mem::take(&mut description.files) {
        let mark = FileMark {
            file: description.location.shown(&file.path),
            size: file.size,
            e_tag: file.e_tag.clone(),
            modified_ns: file.modified_ns,
        };
        if !read.contains(&mark) {
            files.push(file);
            marks.push(mark);
        }
    }
    Ok((InputDescription { files, ..description }, marks))
}

/// The fragments of a dataset behind those that were read before, which must all be there as they
/// were.
fn appended(
    mut description: InputDescription,
    read: &BTreeSet<FileMark>,
) -> Result<(InputDescription, Vec<FileMark>)> {
    let url = description.location.url.clone();
    let mark = |(piece, mark): (&Piece, &FragmentMark)| FileMark {
        file: url.clone(),
        size: piece.rows.unwrap_or_default(),
        e_tag: Some(mark.to_string()),
        modified_ns: 0,
    };
    let (files, fragments) = (&mut description.files, &description.fragments);
    let file = files.first_mut().filter(|file| file.pieces.len() == fragments.len());
    let file = file.ok_or_else(|| Error::internal("fragments of a Lance dataset have no names"))?;
    let mut marks: Vec<_> = file.pieces.iter().zip(fragments).map(mark).collect();
    let read: BTreeSet<_> = read.iter().filter(|mark| mark.file == url).collect();
    let are_there = marks.iter().take(read.len()).collect::<BTreeSet<_>>() == read;
    if !are_there {
        return Err(Error::invalid(
            "rows of this Lance dataset that were read before were changed, deleted, compacted or \
             given columns since, and only rows that were added can be told from them; without the \
             job's state, all of it is read again",
        ));
    }
    let new = marks.split_off(read.len());
    file.pieces = file.pieces.split_off(read.len());
    description.fragments = description.fragments.split_off(read.len());
    Ok((description, new))
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::Schema;
    use keyloom_common::{
        input::{Fingerprint, InputFile, Location},
        store::{ManifestId, Snapshot},
    };

    use super::*;

    fn described(layout: Layout, files: &[(&str, u64, i64)]) -> InputDescription {
        let schema = Arc::new(Schema::empty());
        let file = |&(path, size, modified_ns): &(&str, u64, i64)| InputFile {
            path: path.to_owned(),
            size,
            e_tag: None,
            modified_ns,
            partition_values: Vec::new(),
            pieces: Vec::new(),
        };
        InputDescription {
            layout,
            file_schema: Arc::clone(&schema),
            partition_schema: schema,
            location: Location { url: "s3://bucket/".to_owned(), profile: None },
            files: files.iter().map(file).collect(),
            fragments: Vec::new(),
            fingerprint: Fingerprint([0; 32]),
        }
    }

    #[test]
    fn files_that_were_read_as_they_are_are_left_out() {
        let first = described(Layout::Parquet, &[("a", 1, 7), ("b", 2, 7)]);
        let (all, marks) = without(first.clone(), &BTreeSet::new()).unwrap();
        assert_eq!(all, first);
        let read = BTreeSet::from_iter(marks);
        let next = described(Layout::Parquet, &[("a", 1, 7), ("b", 2, 8), ("c", 3, 7)]);
        let (left, marks) = without(next, &read).unwrap();
        let paths: Vec<_> = left.files.iter().map(|file| file.path.as_str()).collect();
        assert_eq!(paths, ["b", "c"]);
        let names: Vec<_> = marks.iter().map(|mark| mark.file.as_str()).collect();
        assert_eq!(names, ["s3://bucket/b", "s3://bucket/c"]);
        let (none, marks) = without(first, &read).unwrap();
        assert_eq!((none.files, marks), (Vec::new(), Vec::new()));
    }

    /// A dataset of fragments of ten rows that are known by these.
    fn dataset(fragments: &[u8]) -> InputDescription {
        let manifest = ManifestId::of(1, None);
        let layout = Layout::Lance(Snapshot::Version { number: 1, manifest });
        let mut description = described(layout, &[("/visits.lance", fragments.len() as u64, 0)]);
        let piece = |start| Piece { start, rows: Some(10), lines_before: 0 };
        description.files[0].pieces = (0..fragments.len() as u64).map(piece).collect();
        description.fragments = fragments.iter().map(|mark| FragmentMark([*mark; 16])).collect();
        description
    }

    #[test]
    fn of_a_dataset_the_fragments_are_read_that_were_added() {
        let (all, marks) = without(dataset(&[1, 2]), &BTreeSet::new()).unwrap();
        assert_eq!((all, marks.len()), (dataset(&[1, 2]), 2));
        let mut read = BTreeSet::from_iter(marks);
        // What was read of something else is no matter.
        read.insert(FileMark {
            file: "s3://bucket/a".to_owned(),
            size: 1,
            e_tag: None,
            modified_ns: 7,
        });
        let (left, marks) = without(dataset(&[1, 2, 3, 4]), &read).unwrap();
        let pieces: Vec<_> = left.files[0].pieces.iter().map(|piece| piece.start).collect();
        assert_eq!((pieces, left.files[0].size, marks.len()), (vec![2, 3], 4, 2));
        assert_eq!(marks[0].e_tag.as_deref(), Some("03".repeat(16).as_str()));
        let (none, marks) = without(dataset(&[1, 2]), &read).unwrap();
        assert!(none.files[0].pieces.is_empty() && marks.is_empty());
    }

    #[test]
    fn a_dataset_whose_rows_have_changed_is_refused() {
        let (_, marks) = without(dataset(&[1, 2]), &BTreeSet::new()).unwrap();
        let read = BTreeSet::from_iter(marks);
        for changed in [vec![1, 5], vec![1, 3, 2], vec![1], vec![]] {
            let error = without(dataset(&changed), &read).unwrap_err();
            assert!(error.message().contains("were changed, deleted"), "{changed:?}: {error}");
        }
    }
}
