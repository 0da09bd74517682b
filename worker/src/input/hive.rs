//! Columns that the names of folders give, as Hive, Spark and pandas write them: `name=value`, both
//! percent-encoded where they have to be.

use std::{collections::HashSet, sync::Arc};

use arrow::{
    array::StringArray,
    compute::{CastOptions, cast_with_options},
    datatypes::{DataType, Field, Schema, SchemaRef},
};
use chrono::NaiveDate;
use datafusion::scalar::ScalarValue;
use keyloom_common::{Error, Result, plan::FileSlice};
use object_store::{ObjectMeta, path::Path};
use percent_encoding::percent_decode_str;

use crate::object_stores::hive::NULL;

/// The columns, and for each file their values as text; none is null. The types are those of
/// `given`, or those that all values fit: whole numbers, dates, or else text.
///
/// # Errors
/// `invalid` if the files do not have the same columns in the same order, or a value does not fit
/// its given type.
pub(super) fn partitions(
    base: &Path,
    files: &[ObjectMeta],
    given: &Schema,
) -> Result<(SchemaRef, Vec<Vec<Option<String>>>)> {
    let Some((first, rest)) = files.split_first() else {
        return Ok((Arc::new(Schema::empty()), Vec::new()));
    };
    let (names, values) = split(base, &first.location)?;
    check_names(&first.location, &names)?;
    let mut all = Vec::with_capacity(files.len());
    all.push(values);
    for file in rest {
        let (others, values) = split(base, &file.location)?;
        if others != names {
            return Err(Error::invalid(format!(
                "{} has {}, but {} has {}; name files that agree with a pattern, or set \
                 hive_partitioning = false",
                first.location,
                folders(&names),
                file.location,
                folders(&others)
            )));
        }
        all.push(values);
    }
    let fields = names.into_iter().enumerate().map(|(column, name)| {
        let data_type = match given.field_with_name(&name) {
            Ok(given) => {
                check_values(files, &all, column, given)?;
                given.data_type().clone()
            }
            Err(_) => infer(all.iter().filter_map(|values| values[column].as_deref())),
        };
        Ok(Field::new(name, data_type, true))
    });
    let fields = fields.collect::<Result<Vec<_>>>()?;
    Ok((Arc::new(Schema::new(fields)), all))
}

/// The value of each partition column for a slice.
///
/// # Errors
/// `invalid` if a value is none of its column's type.
pub(super) fn scalars(schema: &Schema, slice: &FileSlice) -> Result<Vec<ScalarValue>> {
    let values = schema.fields().iter().zip(&slice.partition_values);
    values.map(|(field, value)| scalar(field, value.as_deref(), &slice.path)).collect()
}

/// The names and values in a path below the base.
fn split(base: &Path, file: &Path) -> Result<(Vec<String>, Vec<Option<String>>)> {
    let parts: Vec<_> = file.prefix_match(base).into_iter().flatten().collect();
    let folders = parts.split_last().map_or(&[][..], |(_, folders)| folders);
    let (mut names, mut values) = (Vec::new(), Vec::new());
    for folder in folders {
        let Some((name, value)) =
            folder.as_ref().split_once('=').filter(|(name, _)| !name.is_empty())
        else {
            continue;
        };
        names.push(decode(name, file)?);
        values.push(match value {
            "" | NULL => None,
            value => Some(decode(value, file)?),
        });
    }
    Ok((names, values))
}

fn decode(text: &str, file: &Path) -> Result<String> {
    let decoded = percent_decode_str(text).decode_utf8();
    let decoded = decoded.map_err(|_| {
        Error::invalid(format!("'{text}' in the path {file} is not UTF-8 when decoded"))
    });
    Ok(decoded?.into_owned())
}

fn check_names(file: &Path, names: &[String]) -> Result<()> {
    let mut seen = HashSet::with_capacity(names.len());
    match names.iter().find(|name| !seen.insert(name.as_str())) {
        Some(twice) => Err(Error::invalid(format!("{file} has two folders with '{twice}='"))),
        None => Ok(()),
    }
}

/// A list of names as a message has it.
fn folders(names: &[String]) -> String {
    match names {
        [] => "no folders called name=value".to_owned(),
        names => format!("the folders {}=", names.join("=, ")),
    }
}

/// The narrowest type that all values fit.
fn infer<'a>(values: impl Iterator<Item = &'a str> + Clone) -> DataType {
    let mut any = values.clone().peekable();
    if any.peek().is_none() {
        DataType::Utf8
    } else if values.clone().all(is_integer) {
        DataType::Int64
    } else if values.clone().all(is_date) {
        DataType::Date32
    } else {
        DataType::Utf8
    }
}

/// Whether a number's text is the one in which it would be written: `007` is a code.
fn is_integer(text: &str) -> bool {
    text.parse::<i64>().is_ok_and(|number| number.to_string() == text)
}

fn is_date(text: &str) -> bool {
    text.len() == "2020-01-01".len() && NaiveDate::parse_from_str(text, "%Y-%m-%d").is_ok()
}

fn check_values(
    files: &[ObjectMeta],
    values: &[Vec<Option<String>>],
    column: usize,
    field: &Field,
) -> Result<()> {
    let mut checked = HashSet::new();
    for (file, values) in files.iter().zip(values) {
        let value = values[column].as_deref();
        if checked.insert(value) {
            scalar(field, value, file.location.as_ref())?;
        }
    }
    Ok(())
}

fn scalar(field: &Field, value: Option<&str>, file: &str) -> Result<ScalarValue> {
    let text = StringArray::from(vec![value]);
    let options = CastOptions { safe: false, ..CastOptions::default() };
    let cast = cast_with_options(&text, field.data_type(), &options);
    let value = cast.and_then(|array| Ok(ScalarValue::try_from_array(&array, 0)?));
    value.map_err(|_| {
        Error::invalid(format!(
            "column '{}' is '{}' in the path {file}, which is no {}",
            field.name(),
            value_text(&text),
            field.data_type()
        ))
    })
}

fn value_text(text: &StringArray) -> &str {
    text.iter().flatten().next().unwrap_or("null")
}

#[cfg(test)]
mod tests {
    use keyloom_common::input::parse_type;

    use super::*;

    fn files(paths: &[&str]) -> Vec<ObjectMeta> {
        let file = |path: &&str| ObjectMeta {
            location: Path::parse(path).unwrap(),
            last_modified: chrono::DateTime::UNIX_EPOCH,
            size: 1,
            e_tag: None,
            version: None,
        };
        paths.iter().map(file).collect()
    }

    fn schema(columns: &[(&str, &str)]) -> Schema {
        let field =
            |(name, kind): &(&str, &str)| Field::new(*name, parse_type(kind).unwrap(), true);
        Schema::new(columns.iter().map(field).collect::<Vec<_>>())
    }

    fn check(paths: &[&str], columns: &[(&str, &str)], expected: &[&[Option<&str>]]) {
        let found = partitions(&Path::from("base"), &files(paths), &Schema::empty()).unwrap();
        let owned = |values: &&[Option<&str>]| {
            values.iter().map(|value| value.map(str::to_owned)).collect::<Vec<_>>()
        };
        assert_eq!(found.0.as_ref(), &schema(columns));
        assert_eq!(found.1, expected.iter().map(owned).collect::<Vec<_>>());
    }

    fn refused(paths: &[&str], given: &[(&str, &str)]) -> String {
        let error = partitions(&Path::from("base"), &files(paths), &schema(given)).unwrap_err();
        error.message().to_owned()
    }

    #[test]
    fn folders_become_columns_of_the_type_that_all_values_fit() {
        check(
            &[
                "base/year=2020/day=2020-02-29/zip=01234/a=1/x.parquet",
                "base/year=-1/day=2021-01-01/zip=12345/a=x/y.parquet",
            ],
            &[("year", "int64"), ("day", "date"), ("zip", "text"), ("a", "text")],
            &[
                &[Some("2020"), Some("2020-02-29"), Some("01234"), Some("1")],
                &[Some("-1"), Some("2021-01-01"), Some("12345"), Some("x")],
            ],
        );
        let odd = ["base/a=2020-02-30/b=9223372036854775808/c=-0/d=2020-1-1/x"];
        let text = [("a", "text"), ("b", "text"), ("c", "text"), ("d", "text")];
        let values =
            [Some("2020-02-30"), Some("9223372036854775808"), Some("-0"), Some("2020-1-1")];
        check(&odd, &text, &[&values]);
        check(&["base/x.parquet"], &[], &[&[]]);
        check(&["base/plain/=x/x.parquet"], &[], &[&[]]);
        // What stands above the base, or in the name of the file, is none.
        check(&["base/y=1/a=b.parquet"], &[("y", "int64")], &[&[Some("1")]]);
    }

    #[test]
    fn nulls_and_encoded_names_are_read() {
        check(
            &[
                "base/a%20b=x%2Fy%3Dz/n=__HIVE_DEFAULT_PARTITION__/x",
                "base/a%20b=100%/n=5/x",
                "base/a%20b=/n=6/x",
            ],
            &[("a b", "text"), ("n", "int64")],
            &[&[Some("x/y=z"), None], &[Some("100%"), Some("5")], &[None, Some("6")]],
        );
        check(&["base/n=__HIVE_DEFAULT_PARTITION__/x"], &[("n", "text")], &[&[None]]);
    }

    #[test]
    fn files_must_agree_on_the_folders() {
        assert_eq!(
            refused(&["base/a=1/b=2/x", "base/b=2/a=1/y"], &[]),
            "base/a=1/b=2/x has the folders a=, b=, but base/b=2/a=1/y has the folders b=, a=; name \
             files that agree with a pattern, or set hive_partitioning = false"
        );
        assert_eq!(
            refused(&["base/a=1/x", "base/y"], &[]),
            "base/a=1/x has the folders a=, but base/y has no folders called name=value; name files \
             that agree with a pattern, or set hive_partitioning = false"
        );
        assert_eq!(refused(&["base/a=1/a=2/x"], &[]), "base/a=1/a=2/x has two folders with 'a='");
        assert_eq!(
            refused(&["base/a=%FF/x"], &[]),
            "'%FF' in the path base/a=%FF/x is not UTF-8 when decoded"
        );
    }

    #[test]
    fn given_types_stand_and_must_fit() {
        let base = Path::from("base");
        let paths = files(&["base/n=1/x", "base/n=__HIVE_DEFAULT_PARTITION__/x"]);
        let (found, _) = partitions(&base, &paths, &schema(&[("n", "text")])).unwrap();
        assert_eq!(found.as_ref(), &schema(&[("n", "text")]));
        assert_eq!(
            refused(&["base/n=1/x", "base/n=300/y"], &[("n", "int8")]),
            "column 'n' is '300' in the path base/n=300/y, which is no Int8"
        );
    }

    #[test]
    fn values_are_of_the_types_of_their_columns() {
        let slice = FileSlice {
            path: "base/x".to_owned(),
            size: 1,
            e_tag: None,
            modified_ns: 0,
            partition_values: vec![Some("7".to_owned()), Some("1970-01-03".to_owned()), None],
            bytes: 0..1,
            rows: None,
            lines_before: 0,
        };
        let columns = [("n", "int64"), ("d", "date"), ("t", "text")];
        let values = scalars(&schema(&columns), &slice).unwrap();
        let expected =
            [ScalarValue::Int64(Some(7)), ScalarValue::Date32(Some(2)), ScalarValue::Utf8(None)];
        assert_eq!(values, expected);
    }
}
