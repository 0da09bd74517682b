//! Files that were not read before: for jobs that come again and read what has come meanwhile.
//!
//! A file is known again by its name and by what it was like. One that has changed is a new one.

use std::{collections::BTreeSet, sync::Arc};

use keyloom_common::{
    Error, Result,
    error::redact,
    input::{InputDescription, Layout},
};
use serde::{Deserialize, Serialize};

use super::{FileTable, Input};
use crate::session::Session;

/// A file as it was when it was looked at.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileMark {
    /// Its path, or its URL.
    pub file: String,
    /// Its size in bytes.
    pub size: u64,
    /// What its object store knows its content by, if it says so.
    pub e_tag: Option<String>,
    /// When it last changed, in nanoseconds since 1970.
    pub modified_ns: i64,
}

impl Session {
    /// As [`Self::register`], of the files alone that are not among those that were read before.
    /// Which these are is settled now: they are returned, and all queries over the table read them
    /// and no others, or fail if one of them has changed.
    ///
    /// # Errors
    /// As [`Self::register`]; `invalid` if it is a Lance dataset, which has versions and no files
    /// of its own.
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
        return Err(Error::invalid(
            "new files are told from those that were read before, and a Lance dataset has versions \
             instead",
        ));
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

#[cfg(test)]
mod tests {
    use arrow::datatypes::Schema;
    use keyloom_common::input::{Fingerprint, InputFile, Location};

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
}
