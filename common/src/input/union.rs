//! The columns of many files: by name, each of a type that holds all its values.

use std::{collections::HashMap, sync::Arc};

use arrow::{
    compute::can_cast_types,
    datatypes::{Field, FieldRef, Schema},
};

use super::widen::widen_field;
use crate::error::{Error, Result};

/// A column, and the file that its type comes from.
struct Column<'a> {
    field: FieldRef,
    file: &'a str,
    /// In how many files it is.
    files: usize,
}

/// The columns of all files by name, in the order in which they first appear. A column that a file
/// does not have is null there. The types of `given` stand, whatever the files say; columns of
/// `given` that no file has are passed over (see [`unknown_columns`]).
///
/// What writers note in a schema's metadata, such as pandas' index, is of their file alone and left
/// out.
///
/// # Errors
/// `invalid` if a column has types that no type holds, or cannot be cast to the given one, or if a
/// file has two columns of one name.
pub fn union_schemas<'a>(
    files: impl IntoIterator<Item = (&'a str, &'a Schema)>,
    given: &Schema,
) -> Result<Schema> {
    let mut columns: Vec<Column<'a>> = Vec::new();
    let mut places: HashMap<&'a str, usize> = HashMap::new();
    let mut count = 0;
    for (file, schema) in files {
        count += 1;
        for field in schema.fields() {
            check_given(file, field, given)?;
            let Some(place) = places.get(field.name().as_str()) else {
                places.insert(field.name(), columns.len());
                columns.push(Column { field: Arc::clone(field), file, files: 1 });
                continue;
            };
            let column = &mut columns[*place];
            column.files += 1;
            if column.field != *field && given.column_with_name(field.name()).is_none() {
                column.widen(file, field)?;
            }
        }
        check_names(file, schema)?;
    }
    let fields = columns.into_iter().map(|column| {
        let nullable = column.field.is_nullable() || column.files < count;
        match given.column_with_name(column.field.name()) {
            Some((_, given)) => given.clone().with_nullable(true),
            None => column.field.as_ref().clone().with_nullable(nullable),
        }
    });
    Ok(Schema::new(fields.collect::<Vec<_>>()))
}

/// Refuses types that were given for columns that do not exist.
///
/// # Errors
/// `invalid`, naming the column and those there are.
pub fn unknown_columns(given: &Schema, columns: &Schema) -> Result<()> {
    let unknown = given.fields().iter().find(|g| columns.column_with_name(g.name()).is_none());
    let Some(unknown) = unknown else { return Ok(()) };
    let names: Vec<_> = columns.fields().iter().map(|field| field.name().as_str()).collect();
    Err(Error::invalid(format!(
        "`columns` gives a type to '{}', which is no column; there are '{}'",
        unknown.name(),
        names.join("', '")
    )))
}

impl<'a> Column<'a> {
    fn widen(&mut self, file: &'a str, field: &Field) -> Result<()> {
        let Some(wide) = widen_field(&self.field, field) else {
            return Err(Error::invalid(format!(
                "column '{name}' is {} in {} and {} in {file}, which no type holds both; give one: \
                 columns = {{ {name} = \"text\" }}",
                kind(&self.field),
                self.file,
                kind(field),
                name = field.name(),
            )));
        };
        if wide.data_type() != self.field.data_type() {
            self.file = file;
        }
        self.field = Arc::new(wide);
        Ok(())
    }
}

/// The type of a field, with what its values mean beyond it.
fn kind(field: &Field) -> String {
    match field.extension_type_name() {
        Some(extension) => format!("{} ({extension})", field.data_type()),
        None => field.data_type().to_string(),
    }
}

fn check_given(file: &str, field: &Field, given: &Schema) -> Result<()> {
    match given.column_with_name(field.name()) {
        Some((_, given)) if !can_cast_types(field.data_type(), given.data_type()) => {
            Err(Error::invalid(format!(
                "column '{}' is {} in {file}, which cannot become {}; give it another type in \
                 `columns`",
                field.name(),
                field.data_type(),
                given.data_type()
            )))
        }
        _ => Ok(()),
    }
}

fn check_names(file: &str, schema: &Schema) -> Result<()> {
    let mut seen = HashMap::with_capacity(schema.fields().len());
    for field in schema.fields() {
        if seen.insert(field.name(), ()).is_some() {
            return Err(Error::invalid(format!(
                "{file} has two columns with the name '{}'",
                field.name()
            )));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::DataType;

    use super::*;
    use crate::input::parse_type;

    fn schema<const N: usize>(columns: [(&str, &str); N]) -> Schema {
        let field = |(name, kind): (&str, &str)| {
            let nullable = !kind.ends_with('!');
            Field::new(name, parse_type(kind.trim_end_matches('!')).unwrap(), nullable)
        };
        Schema::new(columns.map(field).to_vec())
    }

    fn union(files: &[(&str, Schema)], given: &Schema) -> std::result::Result<Schema, String> {
        let files = files.iter().map(|(name, schema)| (*name, schema));
        union_schemas(files, given).map_err(|error| error.message().to_owned())
    }

    #[test]
    fn columns_are_united_by_name_in_order_of_appearance() {
        let files = [
            ("a", schema([("code", "int16!"), ("name", "text!")])),
            ("b", schema([("extra", "date!"), ("name", "large_utf8!"), ("code", "int64!")])),
        ];
        let expected = schema([("code", "int64!"), ("name", "large_utf8!"), ("extra", "date")]);
        assert_eq!(union(&files, &Schema::empty()), Ok(expected));
    }

    #[test]
    fn given_types_stand_if_the_files_can_be_cast() {
        let files = [("a", schema([("code", "int16!")])), ("b", schema([("code", "text")]))];
        let given = schema([("code", "text"), ("other", "text")]);
        assert_eq!(union(&files, &given), Ok(schema([("code", "text")])));
        let given = schema([("code", "struct<a: int8, b: int8>")]);
        let error = union(&files, &given).unwrap_err();
        assert!(error.starts_with("column 'code' is Int16 in a, which cannot become"), "{error}");
    }

    #[test]
    fn types_that_nothing_holds_are_named_with_their_files() {
        let files = [
            ("a.parquet", schema([("code", "int16")])),
            ("b.parquet", schema([("code", "int64")])),
            ("c.parquet", schema([("code", "text")])),
        ];
        let expected = "column 'code' is Int64 in b.parquet and Utf8 in c.parquet, which no type \
                        holds both; give one: columns = { code = \"text\" }";
        assert_eq!(union(&files, &Schema::empty()), Err(expected.to_owned()));
    }

    #[test]
    fn a_name_that_stands_twice_is_refused() {
        let files = [("a", schema([("code", "int16"), ("code", "int16")]))];
        let expected = "a has two columns with the name 'code'";
        assert_eq!(union(&files, &Schema::empty()), Err(expected.to_owned()));
    }

    #[test]
    fn a_type_for_a_column_that_does_not_exist_is_refused() {
        let columns = schema([("code", "text"), ("day", "date")]);
        assert_eq!(unknown_columns(&schema([("day", "text")]), &columns), Ok(()));
        let error = unknown_columns(&schema([("dya", "text")]), &columns).unwrap_err();
        let expected =
            "`columns` gives a type to 'dya', which is no column; there are 'code', 'day'";
        assert_eq!(error.message(), expected);
    }

    #[test]
    fn extension_types_must_agree() {
        let field = |kind: DataType, extension: Option<&str>| {
            let mut metadata = HashMap::from([("note".to_owned(), format!("{extension:?}"))]);
            let extension = extension.map(|name| ("ARROW:extension:name".to_owned(), name.into()));
            metadata.extend(extension);
            Field::new("id", kind, true).with_metadata(metadata)
        };
        let one = |kind, extension| Schema::new(vec![field(kind, extension)]);
        let (binary, uuid) = (DataType::FixedSizeBinary(16), Some("arrow.uuid"));
        let none = Schema::empty();
        let check = |first: Schema, second: Schema| union(&[("a", first), ("b", second)], &none);

        let same = check(one(binary.clone(), uuid), one(binary.clone(), uuid));
        assert_eq!(same, Ok(one(binary.clone(), uuid)));
        let nulls = check(one(DataType::Null, None), one(binary.clone(), uuid));
        assert_eq!(nulls, Ok(one(binary.clone(), uuid)));
        let plain = check(one(binary.clone(), uuid), one(binary.clone(), None)).unwrap();
        assert_eq!(plain.field(0).metadata().get("ARROW:extension:name"), None);
        assert_eq!(plain.field(0).metadata()["note"], "Some(\"arrow.uuid\")");
        let other = check(one(binary.clone(), uuid), one(binary, Some("my.hash"))).unwrap_err();
        assert!(other.contains("FixedSizeBinary(16) (arrow.uuid) in a and"), "{other}");
    }
}
