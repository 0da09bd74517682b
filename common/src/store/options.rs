//! Options of a store by name, and how whoever opens it reads those of its kind.
//!
//! Values are text, as users write them: what it means only the kind knows, and stores of which the
//! same is said are equal to all who compare them.

mod read;

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use self::read::Own;
use crate::error::{Error, Result, shown_option};

/// The name of a profile in the workers' settings that holds what the storage needs to be told.
pub const STORAGE_OPTIONS: &str = "storage_options";

/// Options by name. Never secrets: those stand in a profile on the workers.
#[derive(Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Options(BTreeMap<String, String>);

/// Prints no value that may be a secret: a peer may have sent one all the same.
impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self.entries().map(|(name, value)| (name, shown_option(name, value)));
        f.debug_map().entries(shown).finish()
    }
}

impl Options {
    /// What an option says, if it is there.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// All options and what they say, by their names.
    pub fn entries(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// The number that an option says, if it is there.
    ///
    /// # Errors
    /// `invalid`, naming the option, if it says something else.
    pub fn number(&self, name: &str) -> Result<Option<u64>> {
        let shown = |text: &str| shown_option(name, text);
        let number = |text: &str| {
            text.parse::<u64>()
                .map_err(|_| Error::invalid(format!("{name} is a number, not '{}'", shown(text))))
        };
        self.text(name).map(number).transpose()
    }

    /// Says something of an option, if there is something to say.
    pub fn set(&mut self, name: &str, value: Option<impl fmt::Display>) {
        if let Some(value) = value {
            self.0.insert(name.to_owned(), value.to_string());
        }
    }

    /// Reads the options of a kind, which are the fields of `T`. Others stand beside them, for
    /// somebody else to read.
    ///
    /// # Errors
    /// `invalid` if there is no such option, with those that there are, or if one says what it
    /// cannot say, with its name.
    pub fn read<T: DeserializeOwned>(&self, kind: &str, beside: &[&str]) -> Result<T> {
        let own = Own { options: &self.0, kind, beside };
        T::deserialize(own).map_err(|refused| Error::invalid(refused.to_string()))
    }
}

impl FromIterator<(String, String)> for Options {
    fn from_iter<I: IntoIterator<Item = (String, String)>>(options: I) -> Self {
        Self(options.into_iter().collect())
    }
}

#[cfg(test)]
mod tests;
