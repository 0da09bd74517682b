//! Where settings come from: each layer says it of all that it gives.

use std::fmt;

use figment::{
    Error, Metadata, Profile, Provider, Source,
    value::{Dict, Map},
};
use serde::Serialize;

/// What layers of variables are called.
const VARIABLES: &str = "environment";

/// What layers of one flag are called.
const FLAG: &str = "flag";

/// Where a setting comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", content = "name", rename_all = "lowercase")]
pub enum Origin {
    /// Nobody said anything.
    Default,
    /// A file, by its path.
    File(String),
    /// A variable of the environment.
    Environment(String),
    /// A flag.
    Flag(String),
}

impl Origin {
    /// That of a setting, by what is known of its layer.
    pub(super) fn of(layer: Option<&Metadata>, path: &[String]) -> Self {
        let Some(layer) = layer else { return Self::Default };
        if let Some(file) = layer.source.as_ref().and_then(Source::file_path) {
            return Self::File(file.display().to_string());
        }
        let name = || layer.interpolate(&Profile::Default, path);
        match &*layer.name {
            VARIABLES => Self::Environment(name()),
            FLAG => Self::Flag(name()),
            _ => Self::Default,
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(path) => write!(f, "file {path}"),
            Self::Environment(variable) => write!(f, "environment {variable}"),
            Self::Flag(flag) => write!(f, "flag {flag}"),
        }
    }
}

/// A layer of variables whose names begin so; what they give may stand in a section of its own,
/// which their names do not have.
pub(super) fn variables(prefix: &str, in_section: bool) -> Metadata {
    let prefix = prefix.to_owned();
    Metadata::named(VARIABLES).interpolater(move |_: &Profile, path: &[&str]| {
        let named = path.get(usize::from(in_section)..).unwrap_or_default();
        format!("{prefix}{}", named.join("__").to_ascii_uppercase())
    })
}

/// A layer of one variable, whatever the setting is called.
pub(super) fn variable(name: &'static str) -> Metadata {
    Metadata::named(VARIABLES).interpolater(move |_: &Profile, _: &[&str]| name.to_owned())
}

/// A layer of one flag.
pub(super) fn flag(name: &'static str) -> Metadata {
    Metadata::named(FLAG).interpolater(move |_: &Profile, _: &[&str]| name.to_owned())
}

/// A layer of which something else is known than it says itself.
pub(super) struct Known<P> {
    pub(super) layer: P,
    pub(super) metadata: Metadata,
}

impl<P: Provider> Provider for Known<P> {
    fn metadata(&self) -> Metadata {
        self.metadata.clone()
    }

    fn data(&self) -> Result<Map<Profile, Dict>, Error> {
        self.layer.data()
    }

    fn profile(&self) -> Option<Profile> {
        self.layer.profile()
    }
}
