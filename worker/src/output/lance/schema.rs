//! Whether rows fit a dataset, column by column, and the columns in which they are written.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use keyloom_common::{Error, Result, store::column_names};
use lance::Dataset;
use lance_core::is_system_column;

use crate::store::lance::{Target, is_plain, stored_column, stored_columns};

/// What becomes of columns of the dataset that the rows do not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Missing {
    /// The rows are refused.
    Refused,
    /// They are left as they are, and are null in new rows.
    Left,
}

/// The columns of a dataset that is made of rows, or put in the place of another.
///
/// # Errors
/// `invalid` if there are none, if two have one name, or if a name is Lance's own.
pub(super) fn new(rows: &Schema) -> Result<SchemaRef> {
    check_names(rows)?;
    Ok(Arc::new(stored(rows, Field::is_nullable)))
}

/// Columns of rows that are added to a dataset, which may all be null: rows that others add at the
/// same time have none of them.
///
/// # Errors
/// As [`new`], and if the dataset has one of that name, naming it.
pub(super) fn added(target: &Target, dataset: &Dataset, rows: &Schema) -> Result<SchemaRef> {
    check_names(rows)?;
    let there = stored_columns(dataset);
    let names = |field: &&Arc<Field>| there.field_with_name(field.name()).is_ok();
    if let Some(field) = rows.fields().iter().find(names) {
        return Err(Error::invalid(format!(
            "the Lance dataset at {} has a column '{}' already; columns that are added have other \
             names",
            target.shown(),
            field.name()
        )));
    }
    Ok(Arc::new(stored(rows, |_| true)))
}

/// The columns of a dataset that rows fill, in its order.
///
/// # Errors
/// `invalid` if a column of the rows is not the dataset's, or has another type, or if one is
/// missing that may not; the message names it.
pub(super) fn filled(
    target: &Target,
    dataset: &Dataset,
    rows: &Schema,
    missing: Missing,
) -> Result<SchemaRef> {
    check_names(rows)?;
    let there = Arc::new(stored_columns(dataset));
    let of_dataset = || format!("the Lance dataset at {}", target.shown());
    let unknown = |field: &&Arc<Field>| there.field_with_name(field.name()).is_err();
    if let Some(field) = rows.fields().iter().find(unknown) {
        return Err(Error::invalid(format!(
            "{} has no column '{}'; it has {}",
            of_dataset(),
            field.name(),
            column_names(&there)
        )));
    }
    let mut filled = Vec::new();
    for stored in there.fields() {
        let name = stored.name();
        let Ok(row) = rows.field_with_name(name) else {
            match missing {
                Missing::Left if stored.is_nullable() => continue,
                Missing::Left => {
                    return Err(Error::invalid(format!(
                        "column '{name}' of {} needs a value in each row, and the rows have no \
                         such column",
                        of_dataset()
                    )));
                }
                Missing::Refused => {
                    return Err(Error::invalid(format!(
                        "the rows have no column '{name}', which {} has; write NULL AS {name} for \
                         nulls",
                        of_dataset()
                    )));
                }
            }
        };
        if !is_plain(stored) {
            return Err(Error::invalid(format!(
                "column '{name}' of {} holds blobs or JSON, which are not written",
                of_dataset()
            )));
        }
        if !fits(row.data_type(), stored.data_type()) {
            return Err(Error::invalid(format!(
                "column '{name}' of the rows has type {}, and that of {} has type {}",
                row.data_type(),
                of_dataset(),
                stored.data_type()
            )));
        }
        filled.push(Arc::clone(stored));
    }
    Ok(Arc::new(Schema::new(filled)))
}

fn check_names(rows: &Schema) -> Result<()> {
    if rows.fields().is_empty() {
        return Err(Error::invalid("rows without columns are not written to a Lance dataset"));
    }
    for (at, field) in rows.fields().iter().enumerate() {
        let name = field.name();
        if is_system_column(name) {
            return Err(Error::invalid(format!(
                "column '{name}' has a name that Lance keeps for itself; choose another"
            )));
        }
        if rows.fields()[..at].iter().any(|before| before.name() == name) {
            return Err(Error::invalid(format!("there are two columns '{name}'")));
        }
    }
    Ok(())
}

/// The columns in types that Lance stores.
fn stored(rows: &Schema, nullable: impl Fn(&Field) -> bool) -> Schema {
    let field =
        |field: &Arc<Field>| stored_column(field, &[]).with_nullable(nullable(field.as_ref()));
    Schema::new(rows.fields().iter().map(field).collect::<Vec<_>>())
}

/// Whether values are of a column's type. Views are another layout of the same values, and what the
/// items of lists are called is no matter.
fn fits(rows: &DataType, stored: &DataType) -> bool {
    use DataType::{
        Binary, BinaryView, FixedSizeList, LargeBinary, LargeList, LargeUtf8, List, Struct, Utf8,
        Utf8View,
    };
    let field = |row: &Field, stored: &Field| {
        (stored.is_nullable() || !row.is_nullable()) && fits(row.data_type(), stored.data_type())
    };
    match (rows, stored) {
        (Utf8View, Utf8 | LargeUtf8) | (BinaryView, Binary | LargeBinary) => true,
        (List(row), List(stored)) | (LargeList(row), LargeList(stored)) => field(row, stored),
        (FixedSizeList(row, size), FixedSizeList(stored, stored_size)) => {
            size == stored_size && field(row, stored)
        }
        (Struct(rows), Struct(stored)) => {
            let both = || rows.iter().zip(stored);
            rows.len() == stored.len()
                && both().all(|(row, stored)| row.name() == stored.name() && field(row, stored))
        }
        (rows, stored) => rows.equals_datatype(stored),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layouts_and_names_of_items_are_no_matter_but_types_are() {
        let list = |name: &str, item: DataType, nullable: bool| {
            DataType::List(Arc::new(Field::new(name, item, nullable)))
        };
        assert!(fits(&DataType::Utf8View, &DataType::Utf8));
        assert!(fits(&DataType::Int64, &DataType::Int64));
        assert!(!fits(&DataType::Int32, &DataType::Int64));
        assert!(!fits(&DataType::Utf8, &DataType::LargeUtf8));
        let given = list("element", DataType::Float32, false);
        assert!(fits(&given, &list("item", DataType::Float32, true)));
        assert!(!fits(&given, &list("item", DataType::Float64, true)));
        let nullable = list("item", DataType::Float32, true);
        assert!(!fits(&nullable, &list("item", DataType::Float32, false)));
    }

    #[test]
    fn names_that_cannot_be_are_refused() {
        let of = |names: &[&str]| {
            let field = |name: &&str| Field::new(*name, DataType::Int64, true);
            new(&Schema::new(names.iter().map(field).collect::<Vec<_>>()))
        };
        let refused = |names: &[&str]| of(names).unwrap_err().message().to_owned();
        assert_eq!(refused(&["a", "b", "a"]), "there are two columns 'a'");
        assert!(refused(&["_rowid"]).contains("keeps for itself"));
        assert!(refused(&[]).starts_with("rows without columns"));
        assert!(of(&["a", "b"]).is_ok());
    }
}
