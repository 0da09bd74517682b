//! What a store is looked up by: the values of columns, row ids or offsets.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// The columns that together are a key, in the store's words: at least one, none of them twice.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct KeyColumns(Vec<String>);

/// What the keys of a store are.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum StoreKey {
    /// The values of a column, or of several together.
    Columns(KeyColumns),
    /// Lance's row ids (`_rowid`).
    RowId,
    /// Positions in the snapshot, from 0, deleted rows not counted (`_offset`).
    Offset,
}

/// Who said what a store's key is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum KeyOrigin {
    /// The user, where the store is described.
    Given,
    /// The dataset, which declares a primary key.
    Declared,
    /// The call, which looks up columns of these names.
    SameName,
    /// It is the column of the name, in the singular, of the column of lists that is looked up.
    Singular,
}

impl KeyOrigin {
    /// What is to be noted beside a key that the user did not give.
    pub fn note(self) -> &'static str {
        match self {
            Self::Given => "",
            Self::Declared => " (the primary key)",
            Self::SameName => " (of that name)",
            Self::Singular => " (of that name in the singular)",
        }
    }
}

impl KeyColumns {
    /// A key of one column.
    pub fn one(name: impl Into<String>) -> Self {
        Self(vec![name.into()])
    }

    /// A key of these columns.
    ///
    /// # Errors
    /// `invalid` if there are none, or one stands there twice.
    pub fn try_new(names: Vec<String>) -> Result<Self> {
        if names.is_empty() {
            return Err(Error::invalid("a key has at least one column"));
        }
        let twice = |(at, name): &(usize, &String)| names[..*at].contains(name);
        if let Some((_, name)) = names.iter().enumerate().find(twice) {
            return Err(Error::invalid(format!("the key names the column '{name}' twice")));
        }
        Ok(Self(names))
    }

    /// Their names.
    pub fn names(&self) -> &[String] {
        &self.0
    }

    /// The only one, if there are no others.
    pub fn single(&self) -> Option<&str> {
        match self.0.as_slice() {
            [only] => Some(only),
            _ => None,
        }
    }
}

impl StoreKey {
    /// A key of one column.
    pub fn column(name: impl Into<String>) -> Self {
        Self::Columns(KeyColumns::one(name))
    }

    /// Reads the words that users write: `_rowid`, `_offset` or names of columns.
    ///
    /// # Errors
    /// `invalid` if there are none, one stands there twice, or `_rowid` or `_offset` is one of
    /// several.
    pub fn parse<S: Into<String>>(words: impl IntoIterator<Item = S>) -> Result<Self> {
        let words: Vec<String> = words.into_iter().map(Into::into).collect();
        match words.as_slice() {
            [word] if word == "_rowid" => return Ok(Self::RowId),
            [word] if word == "_offset" => return Ok(Self::Offset),
            words => {
                let alone = |word: &&String| matches!(word.as_str(), "_rowid" | "_offset");
                if let Some(word) = words.iter().find(alone) {
                    return Err(Error::invalid(format!(
                        "{word} is a key by itself and no part of one"
                    )));
                }
            }
        }
        KeyColumns::try_new(words).map(Self::Columns)
    }

    /// The names of its columns; none for row ids and offsets.
    pub fn columns(&self) -> &[String] {
        match self {
            Self::Columns(columns) => columns.names(),
            Self::RowId | Self::Offset => &[],
        }
    }
}

impl fmt::Display for KeyColumns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_slice() {
            [only] => f.write_str(only),
            several => write!(f, "({})", several.join(", ")),
        }
    }
}

impl fmt::Display for StoreKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Columns(columns) => columns.fmt(f),
            Self::RowId => f.write_str("_rowid"),
            Self::Offset => f.write_str("_offset"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &[&str]) -> std::result::Result<String, String> {
        let key = StoreKey::parse(words.iter().copied());
        key.map(|key| key.to_string()).map_err(|error| error.message().to_owned())
    }

    #[test]
    fn words_are_columns_row_ids_or_offsets() {
        assert_eq!(StoreKey::parse(["_rowid"]).ok(), Some(StoreKey::RowId));
        assert_eq!(StoreKey::parse(["_offset"]).ok(), Some(StoreKey::Offset));
        assert_eq!(StoreKey::parse(["id"]).ok(), Some(StoreKey::column("id")));
        assert_eq!(parse(&["id"]), Ok("id".to_owned()));
        assert_eq!(parse(&["store", "article"]), Ok("(store, article)".to_owned()));
    }

    #[test]
    fn words_that_are_no_key_are_refused() {
        assert_eq!(parse(&[]), Err("a key has at least one column".to_owned()));
        assert_eq!(parse(&["a", "b", "a"]), Err("the key names the column 'a' twice".to_owned()));
        let mixed = "_rowid is a key by itself and no part of one";
        assert_eq!(parse(&["a", "_rowid"]), Err(mixed.to_owned()));
    }
}
