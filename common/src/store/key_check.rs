//! Refuses keys that cannot be compared with a store's, and says what to write instead.

use arrow::datatypes::{DataType, Field, Fields};

use super::{
    KeyOrigin, ResolvedStore,
    description::{column_names, quoted},
    key_type::{conversion, fits},
};
use crate::error::{Error, Result};

/// A key as a call asks it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AskedKey<'a> {
    /// The function that is called.
    pub(crate) function: &'a str,
    /// The key's name, if it is a plain column, or what the planner calls it.
    pub(crate) name: &'a str,
    /// The type of one key.
    pub(crate) data_type: &'a DataType,
}

impl AskedKey<'_> {
    /// Checks the key against a store's.
    ///
    /// # Errors
    /// `invalid`, naming the types or columns of both and what to write.
    pub(crate) fn check(&self, store: &ResolvedStore) -> Result<()> {
        let columns = store.key_fields();
        match (columns.as_slice(), self.data_type) {
            (_, DataType::Null) => Ok(()),
            ([column], DataType::Struct(parts)) => Err(self.not_a_struct(store, column, parts)),
            ([column], given) if fits(given, column) => Ok(()),
            ([column], given) => Err(self.misfit(store, column, given)),
            (columns, DataType::Struct(parts)) => self.check_parts(store, columns, parts),
            (columns, given) => Err(Error::invalid(format!(
                "a key of type {given} cannot be looked up in KV store '{}', whose keys are the \
                 columns {} together; write {}",
                store.alias,
                quoted(columns.iter().map(Field::name)),
                self.structs(columns)
            ))),
        }
    }

    /// The parts of a key of several columns, which are found by their names.
    fn check_parts(&self, store: &ResolvedStore, columns: &[Field], parts: &Fields) -> Result<()> {
        let mut given: Vec<&str> = parts.iter().map(|part| part.name().as_str()).collect();
        let mut wanted: Vec<&str> = columns.iter().map(|column| column.name().as_str()).collect();
        given.sort_unstable();
        wanted.sort_unstable();
        if given != wanted {
            return Err(Error::invalid(format!(
                "the keys of KV store '{}' are the columns {} together, and the key that is looked \
                 up has the fields {}; write {}",
                store.alias,
                quoted(columns.iter().map(Field::name)),
                quoted(parts.iter().map(|part| part.name())),
                self.structs(columns)
            )));
        }
        for column in columns {
            let part = parts.iter().find(|part| part.name() == column.name());
            if let Some(part) = part.filter(|part| !fits(part.data_type(), column)) {
                return Err(self.misfit_part(store, column, part.data_type()));
            }
        }
        Ok(())
    }

    fn misfit(&self, store: &ResolvedStore, column: &Field, given: &DataType) -> Error {
        let alias = &store.alias;
        let held = column.data_type();
        let advice = match conversion(self.shown(), given, column) {
            Some(converted) => format!("; write {}({converted}, …)", self.function),
            None => "; look up a key of that type".to_owned(),
        };
        let of_columns = match store.key_origin() {
            KeyOrigin::Given => String::new(),
            KeyOrigin::Declared => {
                format!(" (its dataset declares the primary key {})", store.key())
            }
            KeyOrigin::SameName | KeyOrigin::Singular => format!(
                " (its column '{}', by the name of the column looked up; key = \"…\" names \
                 another of {})",
                column.name(),
                column_names(store.schema())
            ),
        };
        Error::invalid(format!(
            "a key of type {given} cannot be looked up in KV store '{alias}', whose keys are of \
             type {held}{of_columns}{advice}"
        ))
    }

    fn misfit_part(&self, store: &ResolvedStore, column: &Field, given: &DataType) -> Error {
        let name = column.name();
        let advice = match conversion(name, given, column) {
            Some(converted) => {
                let shown = |field: &String| {
                    let value = if field == name { converted.as_str() } else { field };
                    format!("'{field}', {value}")
                };
                let parts: Vec<_> = store.key().columns().iter().map(shown).collect();
                format!("; write {}(named_struct({}), …)", self.function, parts.join(", "))
            }
            None => "; look up a key of that type".to_owned(),
        };
        Error::invalid(format!(
            "the part '{name}' of a key is of type {given} and cannot be looked up in KV store \
             '{}', whose column '{name}' is of type {}{advice}",
            store.alias,
            column.data_type()
        ))
    }

    fn not_a_struct(&self, store: &ResolvedStore, column: &Field, parts: &Fields) -> Error {
        let name = column.name();
        let several = match parts.iter().any(|part| part.name() == name) {
            true => format!("; write {}({}['{name}'], …)", self.function, self.shown()),
            false => "; for a key of several columns, say key = [\"…\", \"…\"] where the store is \
                 described"
                .to_owned(),
        };
        Error::invalid(format!(
            "a struct of {} cannot be looked up in KV store '{}', whose keys are its {} \
             alone{several}",
            quoted(parts.iter().map(|part| part.name())),
            store.alias,
            match store.key().columns() {
                [] => format!("{}s", store.key()),
                _ => format!("column '{name}'"),
            }
        ))
    }

    /// The call with a struct of the store's columns.
    fn structs(&self, columns: &[Field]) -> String {
        let parts = |part: &dyn Fn(&Field) -> String| -> String {
            columns.iter().map(part).collect::<Vec<_>>().join(", ")
        };
        format!(
            "{0}(struct({1}), …) if these are columns of the input, or {0}(named_struct({2}), …)",
            self.function,
            parts(&|column| column.name().clone()),
            parts(&|column| format!("'{}', …", column.name()))
        )
    }

    /// The key as advice shows it: its name, if that is a word.
    fn shown(&self) -> &str {
        let word = |name: &&str| {
            let of_word = |letter: char| letter.is_alphanumeric() || letter == '_';
            name.starts_with(|first: char| first.is_alphabetic() || first == '_')
                && name.chars().all(of_word)
        };
        Some(self.name).filter(word).unwrap_or("key")
    }
}
