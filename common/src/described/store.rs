//! Stores as job files, catalogs and flags describe them: a kind, and options by name.

use serde::Deserialize;
use toml::{Table, Value};

use super::{Input, KeyNames, LanceOptions, OtherOptions, OwnKind};
use crate::units;

/// The time among the bounds that stores of all kinds take.
const TIMEOUT: &str = "request_timeout_ms";

/// A store, of whatever kind.
#[derive(Clone, Debug)]
pub enum Store {
    /// A Lance dataset.
    Lance(LanceOptions),
    /// Rows that are read when the session opens.
    Memory {
        /// The rows.
        input: Input,
        /// The columns that are their key.
        key: KeyNames,
    },
    /// A store of a kind that the workers may know.
    Other(OtherOptions),
}

impl Store {
    /// Reads a store's kind and options, as users write them.
    ///
    /// # Errors
    /// What is wrong with them, in words.
    pub fn read(mut options: Table) -> Result<Self, String> {
        match options.remove("kind") {
            Some(Value::String(kind)) => match OwnKind::of(&kind) {
                Some(OwnKind::Lance) => Self::lance(options),
                Some(OwnKind::Memory) => Self::memory(options),
                None => Self::other(kind, options),
            },
            Some(other) => {
                Err(format!("the kind of a store is a word, as `lance` or `memory`, not {other}"))
            }
            None => Err("a store needs kind, as `lance` or `memory`".to_owned()),
        }
    }

    fn lance(mut options: Table) -> Result<Self, String> {
        call_place(&mut options, "path", "uri")?;
        if !options.contains_key("uri") {
            return Err("a lance store needs uri".to_owned());
        }
        if options.contains_key("version") && options.contains_key("tag") {
            return Err("a lance store is read at a version or at a tag; give one".to_owned());
        }
        LanceOptions::deserialize(options)
            .map(Self::Lance)
            .map_err(|error| told("a lance store", &error))
    }

    /// All but the key are the options of an input.
    fn memory(mut options: Table) -> Result<Self, String> {
        call_place(&mut options, "uri", "path")?;
        let key = options.remove("key");
        let key =
            key.ok_or("a memory store needs key, the column or columns that hold its keys")?;
        if !options.contains_key("path") {
            return Err("a memory store needs path".to_owned());
        }
        let told = |error: toml::de::Error| told("a memory store", &error);
        let (input, key) = (Input::deserialize(options).map_err(told)?, KeyNames::deserialize(key));
        Ok(Self::Memory { input, key: key.map_err(told)? })
    }

    /// What the options mean, and whether there is such a kind, the workers say.
    fn other(kind: String, mut options: Table) -> Result<Self, String> {
        if !OtherOptions::is_kind(&kind) {
            return Err(format!("'{kind}' is no kind of store, which is a word, as `lance`"));
        }
        let told = |error: toml::de::Error| told(&format!("a {kind} store"), &error);
        let Some(Value::String(uri)) = options.remove("uri") else {
            return Err(format!("a {kind} store needs uri, as text"));
        };
        let key = options.remove("key").map(KeyNames::deserialize).transpose().map_err(told)?;
        let words = options.into_iter().map(|(name, value)| match value {
            Value::String(time) if name == TIMEOUT => {
                in_milliseconds(time).map(|time| (name, time))
            }
            Value::String(text) => Ok((name, text)),
            Value::Integer(_) | Value::Float(_) | Value::Boolean(_) => {
                Ok((name, value.to_string()))
            }
            _ => Err(format!("{name} of a {kind} store is text, a number, true or false")),
        });
        let options = words.collect::<Result<_, _>>()?;
        Ok(Self::Other(OtherOptions { kind, uri, key, options }))
    }
}

/// The bound on a request in milliseconds, if it has a unit; a plain number as it is.
fn in_milliseconds(time: String) -> Result<String, String> {
    if time.bytes().all(|digit| digit.is_ascii_digit()) {
        return Ok(time);
    }
    match units::number(TIMEOUT, &time) {
        Some(Ok(time)) => Ok(time.to_string()),
        Some(Err(why)) => Err(format!("{TIMEOUT}: {why}")),
        None => Ok(time),
    }
}

/// Calls the place of a store by the one name that its kind has for it: a path is a URI.
fn call_place(options: &mut Table, given: &str, name: &str) -> Result<(), String> {
    match options.remove(given) {
        Some(_) if options.contains_key(name) => {
            Err(format!("{name} and {given} both say where the store is; give one"))
        }
        Some(place) => {
            options.insert(name.to_owned(), place);
            Ok(())
        }
        None => Ok(()),
    }
}

/// What is wrong with options, in the words of messages.
pub fn told(what: &str, error: &toml::de::Error) -> String {
    let unknown = error.message().strip_prefix("unknown field ");
    match unknown.and_then(|rest| rest.split_once(", expected one of ")) {
        Some((option, choices)) => {
            let quoted = |text: &str| text.replace('`', "'");
            let (option, choices) = (quoted(option), quoted(choices));
            format!("{option} is no option of {what}; the options are {choices}")
        }
        None => format!("options of {what}: {}", error.message()),
    }
}
