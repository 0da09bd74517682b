//! Which data files are read directly: those of which everything is known here. All others are for
//! Lance's own reader, which knows every version and every shape of a fragment.

use std::collections::BTreeMap;

use keyloom_common::Result;
use lance_file::{
    reader::ReaderProjection,
    version::ConcreteFileVersion,
    versions::{reader_projection_from_field_ids, reader_projection_from_whole_schema},
};
use lance_table::format::{DataFile, Fragment};

use crate::store::lance::{
    column::{Column, projection},
    error::from_lance,
};

/// The file in which a column of a fragment is read directly, and how it holds the column. `None`
/// if Lance reads it. `local` says whether the dataset's files are.
pub(super) fn directly_readable<'a>(
    column: &Column,
    fragment: &'a Fragment,
    local: bool,
) -> Result<Option<(&'a DataFile, ReaderProjection)>> {
    // Bytes of blobs beside the data file are Lance's to find.
    if !local || column.has_bytes_apart() {
        return Ok(None);
    }
    let Some(file) = sole_file(fragment, column.ids()) else { return Ok(None) };
    // A file with a base is in another folder.
    let DataFile {
        path: _,
        fields,
        column_indices,
        file_major_version: _,
        file_minor_version: _,
        file_size_bytes: _,
        base_id: None,
    } = file
    else {
        return Ok(None);
    };
    let Some(version) = known_version(file) else { return Ok(None) };
    let columns = fields.iter().zip(column_indices.iter());
    let known =
        |(field, at): (&i32, &i32)| Some(((*field).try_into().ok()?, (*at).try_into().ok()?));
    let columns: BTreeMap<u32, u32> = columns.filter_map(known).collect();
    let schema = projection([column]);
    let held = reader_projection_from_field_ids(version, &schema, &columns).map_err(from_lance)?;
    let whole = reader_projection_from_whole_schema(&schema, version);
    // Of a part that is in no file, such as a struct's field that was added later, Lance knows what
    // stands for it.
    let complete = held.column_indices.len() == whole.column_indices.len();
    Ok(complete.then_some((file, held)))
}

/// The file that alone holds fields of a fragment, and that no later file overlays.
///
/// All parts of a fragment are named, so that one which is new to Lance is not passed over.
pub(in crate::store::lance) fn sole_file<'a>(
    fragment: &'a Fragment,
    fields: &[i32],
) -> Option<&'a DataFile> {
    let Fragment {
        id: _,
        files,
        overlays,
        // Rows stand where their offsets say, deleted or not, whatever ids and versions they have.
        deletion_file: _,
        row_id_meta: _,
        physical_rows: _,
        last_updated_at_version_meta: _,
        created_at_version_meta: _,
    } = fragment;
    if !overlays.is_empty() {
        return None;
    }
    let mut holding = files.iter().filter(|file| file.fields.iter().any(|id| fields.contains(id)));
    holding.next().filter(|_| holding.next().is_none())
}

/// The file's version, if it is one that is read directly.
pub(in crate::store::lance) fn known_version(file: &DataFile) -> Option<ConcreteFileVersion> {
    // Of a version that Lance does not know either, it says so itself.
    match file.file_version().ok()? {
        version @ (ConcreteFileVersion::V2_0
        | ConcreteFileVersion::V2_1
        | ConcreteFileVersion::V2_2) => Some(version),
        // The first has a reader of its own, and the last may yet change.
        ConcreteFileVersion::V1 | ConcreteFileVersion::V2_3 => None,
    }
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::{DataType, Field};
    use lance::datatypes::Schema;

    use super::*;

    const CURRENT: (u32, u32) = (2, 2);

    /// A file that holds the first field.
    fn file(version: (u32, u32)) -> DataFile {
        DataFile {
            file_major_version: version.0,
            file_minor_version: version.1,
            ..DataFile::new("a.lance", vec![0], vec![0], ConcreteFileVersion::V2_2, None, None)
        }
    }

    fn fragment(files: Vec<DataFile>) -> Fragment {
        Fragment { files, physical_rows: Some(10), ..Fragment::new(0) }
    }

    fn column(field: Field) -> Column {
        let schema = arrow::datatypes::Schema::new(vec![field]);
        Column::new(&Schema::try_from(&schema).unwrap().fields[0])
    }

    fn is_direct(fragment: &Fragment, local: bool) -> bool {
        let column = column(Field::new("word", DataType::Utf8, true));
        directly_readable(&column, fragment, local).unwrap().is_some()
    }

    #[test]
    fn files_of_known_versions_are_read_directly_and_of_no_others() {
        let versions = [
            ((0, 1), false),
            ((0, 2), false),
            ((0, 3), true),
            ((2, 0), true),
            ((2, 1), true),
            ((2, 2), true),
            ((2, 3), false),
            ((2, 4), false),
            ((3, 0), false),
        ];
        for (version, direct) in versions {
            assert_eq!(is_direct(&fragment(vec![file(version)]), true), direct, "{version:?}");
        }
    }

    #[test]
    fn fragments_of_known_shapes_are_read_directly_and_of_no_others() {
        let alone = fragment(vec![file(CURRENT)]);
        assert!(is_direct(&alone, true));
        assert!(!is_direct(&alone, false));
        let others = DataFile { fields: vec![7].into(), ..file(CURRENT) };
        assert!(is_direct(&fragment(vec![others.clone(), file(CURRENT)]), true));
        assert!(!is_direct(&fragment(vec![others]), true));
        assert!(!is_direct(&fragment(vec![file(CURRENT), file(CURRENT)]), true));
        let elsewhere = DataFile { base_id: Some(1), ..file(CURRENT) };
        assert!(!is_direct(&fragment(vec![elsewhere]), true));
        let nowhere = DataFile { column_indices: vec![-1].into(), ..file(CURRENT) };
        assert!(!is_direct(&fragment(vec![nowhere]), true));
    }

    #[test]
    fn blobs_that_may_lie_apart_are_not_read_directly() {
        let fragment = fragment(vec![file(CURRENT)]);
        let blob = column(lance::blob_field("blob", true));
        assert!(directly_readable(&blob, &fragment, true).unwrap().is_none());
    }
}
