//! The names of the columns of a key, as users write them.

use serde::Deserialize;

/// The columns of a key, or words that stand for one: a name, or a list of names.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged, expecting = "key is the name of a column or a list of names")]
pub enum KeyNames {
    /// One column; of a Lance dataset, `_rowid` or `_offset`, too.
    One(String),
    /// Several columns, which are a key together.
    Several(Vec<String>),
}

impl KeyNames {
    /// The names.
    pub fn names(&self) -> &[String] {
        match self {
            Self::One(name) => std::slice::from_ref(name),
            Self::Several(names) => names,
        }
    }
}

impl From<&str> for KeyNames {
    fn from(name: &str) -> Self {
        Self::One(name.to_owned())
    }
}

impl From<&String> for KeyNames {
    fn from(name: &String) -> Self {
        Self::One(name.clone())
    }
}

impl From<String> for KeyNames {
    fn from(name: String) -> Self {
        Self::One(name)
    }
}

impl<S: Into<String>, const N: usize> From<[S; N]> for KeyNames {
    fn from(names: [S; N]) -> Self {
        Self::Several(names.into_iter().map(Into::into).collect())
    }
}

impl<S: Into<String>> From<Vec<S>> for KeyNames {
    fn from(names: Vec<S>) -> Self {
        Self::Several(names.into_iter().map(Into::into).collect())
    }
}
