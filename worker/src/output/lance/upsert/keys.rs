//! The keys of rows that replace others: values in each row, and none of them twice.

use std::{collections::HashSet, sync::Arc};

use arrow::{
    array::{Array, ArrayRef, RecordBatch},
    datatypes::{Schema, SchemaRef},
    row::{RowConverter, SortField},
    util::display::array_value_to_string,
};
use keyloom_common::{
    Error, Result,
    store::{KEY_TYPES, KeyClass, KeyColumns, column_names},
};

/// Refuses a key that the rows do not have, or whose values are not compared.
///
/// # Errors
/// `invalid`, naming the column.
pub(super) fn check(key: &KeyColumns, rows: &SchemaRef, filled: &Schema) -> Result<()> {
    for name in key.names() {
        let Ok(field) = filled.field_with_name(name) else {
            return Err(Error::invalid(format!(
                "key column '{name}' not found among those of the rows, which are {}",
                column_names(rows)
            )));
        };
        if KeyClass::of(field.data_type()).is_none() {
            return Err(Error::invalid(format!(
                "key column '{name}' has type {}; keys are {KEY_TYPES}",
                field.data_type()
            )));
        }
    }
    Ok(())
}

/// Refuses rows without a key.
///
/// # Errors
/// `invalid`, naming the column.
pub(super) fn check_nulls(rows: &RecordBatch, key: &KeyColumns) -> Result<()> {
    for (name, values) in key.names().iter().zip(columns(rows, key)?) {
        if values.logical_null_count() > 0 {
            return Err(Error::invalid(format!(
                "key column '{name}' is null in a row; rows that replace others need a key"
            )));
        }
    }
    Ok(())
}

/// Refuses rows of which several have the same key.
///
/// # Errors
/// `invalid`, with one such key.
pub(super) fn check_distinct(rows: &[RecordBatch], key: &KeyColumns) -> Result<()> {
    let Some(first) = rows.first() else { return Ok(()) };
    let first = columns(first, key)?;
    let fields = first.iter().map(|column| column.data_type().clone());
    let converter = RowConverter::new(fields.map(SortField::new).collect())?;
    // A hash of so many bits stands for the key: rows need not be kept as keys beside the rows.
    let mut seen = HashSet::<[u8; 16]>::new();
    for batch in rows {
        let columns = columns(batch, key)?;
        for (at, row) in converter.convert_columns(&columns)?.iter().enumerate() {
            let mut hash = [0; 16];
            blake3::Hasher::new().update(row.as_ref()).finalize_xof().fill(&mut hash);
            if !seen.insert(hash) {
                return Err(Error::invalid(format!(
                    "several rows have the key {}, and which of them is to replace what is there \
                     is not said; nothing was written",
                    shown(key, &columns, at)
                )));
            }
        }
    }
    Ok(())
}

fn columns(rows: &RecordBatch, key: &KeyColumns) -> Result<Vec<ArrayRef>> {
    let column = |name: &String| {
        let missing = || Error::internal(format!("staged rows without key column '{name}'"));
        rows.column_by_name(name).map(Arc::clone).ok_or_else(missing)
    };
    key.names().iter().map(column).collect()
}

/// A key as messages say it.
fn shown(key: &KeyColumns, columns: &[ArrayRef], at: usize) -> String {
    let part = |(name, values): (&String, &ArrayRef)| {
        let value = array_value_to_string(values, at).unwrap_or_else(|_| "?".to_owned());
        format!("{name} = {value}")
    };
    key.names().iter().zip(columns).map(part).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use arrow::array::{Int64Array, StringArray};

    use super::*;

    fn rows(ids: &[i64], names: &[Option<&str>]) -> RecordBatch {
        let columns: [(&str, ArrayRef); 2] = [
            ("id", Arc::new(Int64Array::from(ids.to_vec()))),
            ("name", Arc::new(StringArray::from(names.to_vec()))),
        ];
        RecordBatch::try_from_iter(columns).unwrap()
    }

    #[test]
    fn a_key_that_stands_twice_is_told() {
        let both = KeyColumns::try_new(vec!["id".to_owned(), "name".to_owned()]).unwrap();
        let batches = [rows(&[1, 2], &[Some("a"), Some("b")]), rows(&[1], &[Some("b")])];
        assert_eq!(check_distinct(&batches, &both), Ok(()));
        let error = check_distinct(&batches, &KeyColumns::one("id")).unwrap_err();
        assert!(error.message().starts_with("several rows have the key id = 1, "), "{error}");
        let again = [batches[0].clone(), rows(&[2], &[Some("b")])];
        let error = check_distinct(&again, &both).unwrap_err();
        assert!(error.message().contains("the key id = 2, name = b, "), "{error}");
    }

    #[test]
    fn a_row_without_a_key_is_told() {
        let batch = rows(&[1, 2], &[Some("a"), None]);
        assert_eq!(check_nulls(&batch, &KeyColumns::one("id")), Ok(()));
        let error = check_nulls(&batch, &KeyColumns::one("name")).unwrap_err();
        assert!(error.message().starts_with("key column 'name' is null in a row"), "{error}");
    }
}
